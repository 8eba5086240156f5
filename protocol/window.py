"""The last snapshots of a server, and which two of them say most of now. Pure.

Each of the last seconds is kept, and of the last ten minutes one in ten seconds: a generator that
takes a minute for an element is measured as well, and hundreds of workers take no more room.
"""

from __future__ import annotations

from collections.abc import Sequence

from .telemetry import Snapshot, Span
from .verdict import LEAST_ELEMENTS

__all__ = ["SECONDS", "Window", "recent"]

#: What is said is about the last so many seconds, where enough happened in them.
SECONDS = 10
#: In microseconds: so far back each is kept (one comes every second, not to the millisecond), so
#: far one of each step is.
_EACH, _STEP, _LONGEST = 10_900_000, 10_000_000, 600_000_000


class Window:
    """Of one life of a server."""

    def __init__(self) -> None:
        self._kept: list[Snapshot] = []

    def add(self, snapshot: Snapshot) -> None:
        """The latest one. Counters that went back are those of another life."""
        if self._kept and snapshot.at < self._kept[-1].at:
            self.clear()
        self._kept.append(snapshot)
        kept: list[Snapshot] = []
        for one in self._kept:
            age = snapshot.at - one.at
            first = not kept or one.at // _STEP != kept[-1].at // _STEP
            if age <= _EACH or (first and age <= _LONGEST):
                kept.append(one)
        self._kept = kept  # as a whole: others may be reading

    def clear(self) -> None:
        """What is known is of another life."""
        self._kept = []

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """The latest last. Any thread."""
        return tuple(self._kept)


def recent(snapshots: Sequence[Snapshot]) -> Span | None:
    """What these of one server say of now, the latest last; None where that is nothing yet.

    It is about the last seconds, or where a verdict would take more elements than they had, about
    as many more as that takes. It begins when each trainer that reads now had its first element:
    until then it was waiting for processes to start and for connections, of which more workers
    would make no less.
    """
    if len(snapshots) < 2:
        return None
    last, readers = snapshots[-1], _readers(snapshots[-1])
    usable = [one for one in snapshots[:-1] if _readers(one) >= readers]
    if not usable:
        return None
    fresh = [one for one in usable if last.at - one.at <= _EACH] or usable[-1:]
    span = Span.between(fresh[0], last)
    for older in reversed(usable[: len(usable) - len(fresh)]):
        if not readers or span.given >= LEAST_ELEMENTS:
            break
        span = Span.between(older, last)
    return span


def _readers(snapshot: Snapshot) -> set[int]:
    """The sessions that were given elements."""
    return {trainer.session for trainer in snapshot.trainers if trainer.elements}
