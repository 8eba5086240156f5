"""Whether a worker's process that ended is followed by another, and when. Pure.

Time and chance come as arguments. The first restart is immediate; then the waits double, until the
worker has been well for a minute. Two things end it: more restarts within a minute than allowed,
and an element that kills every process which makes it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

__all__ = [
    "DEFAULT_RESTARTS", "Death", "FIRST_WAIT", "GiveUp", "LONGEST_WAIT", "Lives", "Making",
    "POISON_DEATHS", "Restart", "STABLE", "WINDOW",
]  # fmt: skip

#: Restarts of one worker that are allowed within `WINDOW` seconds, unless --max-restarts says.
DEFAULT_RESTARTS = 5
WINDOW = 60.0
#: Seconds to wait before the second restart in a row; doubled for each further one up to the
#: longest. Up to half of it is left out by chance, so that workers do not come in step.
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
#: A worker that has been ready for so many seconds without a death begins anew.
STABLE = 60.0
#: Deaths in a row of one cause at one element, after which that element is taken for the reason.
POISON_DEATHS = 3


@dataclass(frozen=True, slots=True)
class Making:
    """The element that a worker makes: its number in the generator's own count."""

    index: int
    epoch: int
    element: int

    def __str__(self) -> str:
        return f"element {self.element} of epoch {self.epoch} (worker.index {self.index})"


@dataclass(frozen=True, slots=True)
class Death:
    """A process that ended: ``cause`` in words, ``code`` as `subprocess` has it, ``making`` what it
    was at, if anything."""

    cause: str
    making: Making | None = None
    code: int = 1


@dataclass(frozen=True, slots=True)
class Restart:
    """Start the next process in ``wait`` seconds."""

    wait: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No further process; ``text`` says why, after "died:"."""

    text: str


@dataclass(slots=True)
class Lives:
    """The processes of one worker, one after the other."""

    budget: int = DEFAULT_RESTARTS
    #: How often it was started again.
    life: int = 0
    #: When the restarts of the last minute were decided.
    _restarts: deque[float] = field(default_factory=deque)
    _in_a_row: int = 0
    _well_since: float | None = None
    _last: Death | None = None
    _alike: int = 0

    def ready(self, now: float) -> None:
        """The process serves."""
        if self._well_since is None:
            self._well_since = now

    def left(self) -> Restart:
        """The process ended as planned, which neither counts nor waits."""
        self.life += 1
        return Restart(0.0)

    def died(self, death: Death, now: float, chance: float) -> Restart | GiveUp:
        """The process died. ``chance`` is a random number from 0 to 1."""
        if self._well_since is not None and now - self._well_since >= STABLE:
            self._in_a_row = 0
        self._well_since = None
        if self._is_poison(death):
            return GiveUp(
                f"{death.cause}, {POISON_DEATHS} times in a row while it made {death.making}; that "
                "element kills it, and with --workers 0 a debugger shows where"
            )
        while self._restarts and now - self._restarts[0] >= WINDOW:
            self._restarts.popleft()
        if len(self._restarts) >= self.budget:
            return GiveUp(self._too_often(death))
        self._restarts.append(now)
        wait = self._wait(chance)
        self._in_a_row += 1
        self.life += 1
        return Restart(wait)

    def _is_poison(self, death: Death) -> bool:
        again = death.making is not None and death == self._last
        self._alike = self._alike + 1 if again else 1
        self._last = death
        return death.making is not None and self._alike >= POISON_DEATHS

    def _too_often(self, death: Death) -> str:
        if not self.budget:
            return death.cause
        count = len(self._restarts)
        return (
            f"{death.cause}, after {count} restart{'s' * (count > 1)} within {WINDOW:.0f} s, "
            "which is all that --max-restarts allows"
        )

    def _wait(self, chance: float) -> float:
        if not self._in_a_row:
            return 0.0
        # Who allows many restarts a minute must be able to have them.
        longest = min(LONGEST_WAIT, WINDOW / self.budget)
        # Bounded before it is raised: a worker may die for weeks.
        doubled = FIRST_WAIT * 2.0 ** min(self._in_a_row - 1, 16)
        return min(longest, doubled) * (1.0 - chance / 2)
