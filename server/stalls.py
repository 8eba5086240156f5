"""For how long a worker has been making one element. Pure.

Judged by what its progress page says at two looks, so the clock of one process counts alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from genserver.protocol.link import Pauses

from .lives import Making

__all__ = ["Reading", "StallWatch", "tick_for"]


def tick_for(limit: float | None, shortest: float, longest: float) -> float:
    """Seconds between two looks at a page, or two notes on it: four within the time limit of an
    element, if there is one, so that a worker which makes elements is seen to."""
    return longest if limit is None else min(longest, max(shortest, limit / 4))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a progress page said at one moment. Two that are equal: nothing happened in between."""

    #: Elements that the generators gave, in all lives, and the seconds that they took for them.
    made: int = 0
    seconds: float = 0.0
    #: Elements that were made and that no trainer got, as far as the lives found out.
    lost: int = 0
    making: Making | None = None


@dataclass(slots=True)
class StallWatch:
    """One worker's pages, one after the other."""

    _last: Reading | None = None
    _since: float = 0.0
    _pauses: Pauses = field(default_factory=lambda: Pauses(0.0))

    def look(self, reading: Reading, now: float) -> float:
        """Seconds for which the element has been in the making; 0 between elements."""
        slept = self._pauses.slept(now)  # a machine that was suspended slept with its workers
        if reading.making is None or reading != self._last:
            self._last, self._since = reading, now
        else:
            self._since += slept
        return now - self._since
