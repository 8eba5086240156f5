"""What `top` remembers: the figures of the last seconds, and the trends of the last minute. Pure.

Of another life of a server it begins with nothing, because that one's counters do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from genserver.protocol.telemetry import Snapshot, Span
from genserver.protocol.window import recent

__all__ = ["SECONDS", "History"]

#: Of a trend.
SECONDS = 60


class History:
    """Of one server."""

    def __init__(self) -> None:
        self._snapshots: tuple[Snapshot, ...] = ()
        #: By the second that they end in: elements a second of each worker and each trainer.
        self._trends: deque[tuple[int, dict[int, float], dict[int, float]]] = deque(maxlen=SECONDS)

    def add(self, snapshots: Sequence[Snapshot]) -> bool:
        """The last ones that are known, the latest last; whether any of them is new.

        They reach back further than any pause between two calls, so if the last one of the time
        before is not among them, they are of another life.
        """
        if not snapshots:
            return False
        known = [i for i, s in enumerate(snapshots) if self._snapshots and s == self._snapshots[-1]]
        if not known:
            self._trends.clear()
        new = snapshots[known[-1] + 1 :] if known else snapshots
        last = self._snapshots[-1] if known else None
        for snapshot in new:
            if last is not None:
                self._trends.append(_trend(last, snapshot))
            last = snapshot
        self._snapshots = tuple(snapshots)
        return bool(new)

    @property
    def span(self) -> Span | None:
        """The last seconds; None as long as they say nothing yet."""
        return recent(self._snapshots)

    @property
    def now(self) -> int:
        """The second of the latest snapshot."""
        return self._snapshots[-1].at // 1_000_000 if self._snapshots else 0

    def of_worker(self, index: int) -> dict[int, float]:
        """Elements a second, by the second."""
        return {second: rates[index] for second, rates, _ in self._trends if index in rates}

    def of_workers(self) -> dict[int, float]:
        """Of all together."""
        return {second: sum(rates.values()) for second, rates, _ in self._trends}

    def of_trainer(self, session: int) -> dict[int, float]:
        """Elements a second that it was given, by the second."""
        return {second: rates.get(session, 0.0) for second, _, rates in self._trends}


def _trend(first: Snapshot, last: Snapshot) -> tuple[int, dict[int, float], dict[int, float]]:
    span = Span.between(first, last)
    workers = {worker.index: max(0.0, worker.elements) for worker in span.workers}
    trainers = {trainer.session: max(0.0, trainer.elements) for trainer in span.trainers}
    return last.at // 1_000_000, workers, trainers
