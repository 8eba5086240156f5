"""What a server knows of its workers at a moment, from their pages and from the system.

Owns what it remembers of the last seconds. Reads files of the system; on the supervisor's thread.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from genserver.protocol.fields import cut_text
from genserver.protocol.messages import Status, WorkerStatus
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
from .settled import most_workers
from .stalls import StallWatch

__all__ = ["Vitals"]

#: Times of elements are those of the last so many seconds, or if those are few, of all lives.
TIMES_SECONDS, FEW = 10.0, 20
#: Who looks so soon after somebody else gets the same: trainers and --http both look once a second,
#: and of hundreds of workers a look takes a tenth of one.
FRESH_SECONDS = 0.9


@dataclass(slots=True)
class _Memory:
    """What was counted of one worker's elements, and when; what it is at, and what it was found to
    have spent in its generator, in microseconds."""

    watch: StallWatch = field(default_factory=StallWatch)
    making: int = 0
    times: deque[tuple[float, tuple[int, ...]]] = field(default_factory=deque)


class Vitals:
    """Of one server."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._memories: dict[int, _Memory] = {}
        self._last: tuple[float, Snapshot] | None = None

    def snapshot(
        self,
        status: Status,
        pages: Mapping[int, ProgressPage],
        trainers: Iterable[TrainerTotals],
    ) -> Snapshot:
        """Everything now, or as it was a moment ago."""
        now = time.monotonic()
        if self._last is not None and now - self._last[0] < FRESH_SECONDS:
            return self._last[1]
        known = [worker for worker in status.workers if worker.index in pages]
        room = min(MAX_ERROR, MAX_ERRORS // max(1, len(known)))
        snapshot = Snapshot(
            at=int((now - self._began) * 1e6), cores=usable_cores(), memory=memory_size(),
            most=most_workers(status.sharding, status.items),
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
        memory = self._memories.setdefault(status.index, _Memory())
        # An element that is not finished has taken its time, too. Counted once only: it is in the
        # page's own sum a moment before the page is at rest.
        inside = memory.watch.look(reading, now)
        memory.making = max(memory.making, int((reading.seconds + inside) * 1e6))
        recent = _recent(memory.times, counts.times, now)
        return WorkerTotals(
            index=status.index, elements=reading.made, nbytes=counts.sent,
            making=memory.making, blocked=counts.blocked // 1000,
            p50=_microseconds(percentile(recent, 0.5)),
            p99=_microseconds(percentile(recent, 0.99)),
            kept=counts.kept, room=counts.room, replayed=counts.replayed, lost=reading.lost,
            restarts=status.life, rss=rss, cpu=cpu,
            error=cut_text(status.cause or counts.error, room),
        )  # fmt: skip


def _recent(
    memory: deque[tuple[float, tuple[int, ...]]], times: tuple[int, ...], now: float
) -> list[int]:
    """What was counted of late."""
    while len(memory) > 1 and now - memory[1][0] >= TIMES_SECONDS:
        memory.popleft()
    memory.append((now, times))
    recent = [a - b for a, b in zip(times, memory[0][1], strict=True)]
    return recent if sum(recent) >= FEW else list(times)


def _microseconds(nanoseconds: float | None) -> int:
    return UNKNOWN if nanoseconds is None else max(0, round(nanoseconds / 1000))
