"""What a server knows of its workers at a moment, from their pages and from the system.

Owns what it remembers of the last seconds. Reads files of the system; on the supervisor's thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from genserver.protocol.fields import cut_text
from genserver.protocol.messages import WorkerStatus
from genserver.protocol.telemetry import (
    MAX_ERROR,
    MAX_ERRORS,
    MAX_TRAINERS,
    UNKNOWN,
    Snapshot,
    TrainerTotals,
    WorkerTotals,
)
from genserver.protocol.transport.platform import memory_size, process_usage, usable_cores

from .meter import percentile
from .progress_page import ProgressPage

__all__ = ["Vitals"]

#: Times of elements are those of the last so many seconds, or if those are few, of more.
TIMES_SECONDS, FEW = 10.0, 20
#: Who looks so soon after somebody else gets the same: trainers and --http both look once a second,
#: and of hundreds of workers a look takes a tenth of one.
FRESH_SECONDS = 0.9


@dataclass(slots=True)
class _Memory:
    """What was counted of one worker's elements, and when."""

    times: deque[tuple[float, tuple[int, ...]]] = field(default_factory=deque)


class Vitals:
    """Of one server."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._memories: dict[int, _Memory] = {}
        self._last: tuple[float, Snapshot] | None = None

    def snapshot(
        self,
        workers: Iterable[WorkerStatus],
        pages: Mapping[int, ProgressPage],
        trainers: Iterable[TrainerTotals],
    ) -> Snapshot:
        """Everything now, or as it was a moment ago."""
        now = time.monotonic()
        if self._last is not None and now - self._last[0] < FRESH_SECONDS:
            return self._last[1]
        known = [worker for worker in workers if worker.index in pages]
        room = min(MAX_ERROR, MAX_ERRORS // max(1, len(known)))
        snapshot = Snapshot(
            at=int((now - self._began) * 1e6), cores=usable_cores(), memory=memory_size(),
            workers=tuple(self._worker(w, pages[w.index], now, room) for w in known),
            trainers=tuple(trainers)[-MAX_TRAINERS:],
        )  # fmt: skip
        self._last = now, snapshot
        return snapshot

    def _worker(
        self, status: WorkerStatus, page: ProgressPage, now: float, room: int
    ) -> WorkerTotals:
        reading, counts = page.read(), page.meter.read()
        rss, cpu = (0, 0) if status.between_lives else process_usage(status.pid)
        recent = self._recent(status.index, counts.times, now)
        return WorkerTotals(
            index=status.index, elements=reading.made, nbytes=counts.sent,
            making=int(reading.seconds * 1e6), blocked=counts.blocked // 1000,
            p50=_microseconds(percentile(recent, 0.5)),
            p99=_microseconds(percentile(recent, 0.99)),
            kept=counts.kept, room=counts.room, replayed=counts.replayed, lost=reading.lost,
            restarts=status.life, rss=rss, cpu=cpu,
            error=cut_text(status.cause or counts.error, room),
        )  # fmt: skip

    def _recent(self, index: int, times: tuple[int, ...], now: float) -> list[int]:
        """What was counted of late."""
        memory = self._memories.setdefault(index, _Memory()).times
        while len(memory) > 1 and now - memory[1][0] >= TIMES_SECONDS:
            memory.popleft()
        memory.append((now, times))
        recent = [a - b for a, b in zip(times, memory[0][1], strict=True)]
        return recent if sum(recent) >= FEW else list(times)


def _microseconds(nanoseconds: float | None) -> int:
    return UNKNOWN if nanoseconds is None else max(0, round(nanoseconds / 1000))
