"""Who serves a pass, where servers come and go behind names. Pure.

Servers that are there when a pass begins serve it, those that come later the next one. Whoever was
in the pass before, and is still behind its name, is waited for, as is everybody in the first one; a
newcomer that is not ready yet is left for the next.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from genserver.protocol.endpoint import Endpoint

__all__ = ["FRESH", "LOOK_EVERY", "NEWCOMER_SECONDS", "Chosen", "RollCall", "Standing"]

#: Seconds between two looks at who is behind a name, as long as a pass cannot begin, and how old
#: the look may be with which it does.
LOOK_EVERY, FRESH = 0.5, 1.0
#: Seconds that a pass's beginning waits for a newcomer that is not ready.
NEWCOMER_SECONDS = 1.0


class Standing(enum.Enum):
    """How a server fares."""

    #: It did not answer, or went.
    SILENT = enum.auto()
    #: It answers, and its first element is being made.
    STARTING = enum.auto()
    READY = enum.auto()
    #: It cannot be used: other keys, another element spec.
    UNFIT = enum.auto()


@dataclass(frozen=True, slots=True)
class Chosen:
    """The servers of a pass, in the order of their workers' indices, and who is not ready."""

    members: tuple[Endpoint, ...]
    left_out: tuple[Endpoint, ...] = ()


@dataclass(slots=True)
class _Candidate:
    since: float
    standing: Standing = Standing.SILENT


class RollCall:
    """Of one pass. Times are seconds of any one clock."""

    def __init__(self, before: Collection[Endpoint], limits: dict[Standing, float]) -> None:
        """``before`` are the servers of the pass before, none for the first; ``limits`` for how
        long one that is waited for may be `SILENT` and `STARTING`."""
        self._before = frozenset(before)
        self._limits = limits
        self._candidates: dict[Endpoint, _Candidate] = {}
        self._looked: float | None = None

    @property
    def candidates(self) -> tuple[Endpoint, ...]:
        """Who was behind the names at the last look."""
        return tuple(self._candidates)

    @property
    def awaited(self) -> tuple[Endpoint, ...]:
        """Of these, without whom the pass does not begin: old members, or if there are none, all
        that may be of use."""
        fit = [e for e, c in self._candidates.items() if c.standing is not Standing.UNFIT]
        return tuple([e for e in self._candidates if e in self._before] or fit)

    @property
    def anybody(self) -> bool:
        """Whether somebody is ready: then the pass will begin, at the limit without the others."""
        return any(c.standing is Standing.READY for c in self._candidates.values())

    def look_due(self, now: float) -> bool:
        """Whether it is time to look who is behind the names."""
        return self._looked is None or now - self._looked >= LOOK_EVERY

    def found(self, endpoints: Iterable[Endpoint], now: float) -> None:
        """What a look found that ended ``now``."""
        known = self._candidates
        self._candidates = {e: known.get(e) or _Candidate(now) for e in endpoints}
        self._looked = now

    def stands(self, endpoint: Endpoint, standing: Standing) -> None:
        """How a candidate fares."""
        self._candidates[endpoint].standing = standing

    def decide(self, now: float) -> Chosen | None:
        """The servers of the pass, or None while somebody is waited for or nobody is there."""
        if self._looked is None or now - self._looked >= FRESH:
            return None
        awaited = self.awaited
        members, left_out = [], []
        for endpoint, candidate in self._candidates.items():
            limit = self._limits.get(candidate.standing, 0.0)
            if endpoint not in awaited:
                limit = min(limit, NEWCOMER_SECONDS)
            if candidate.standing is Standing.READY:
                members.append(endpoint)
            elif now - candidate.since < limit:
                return None
            elif candidate.standing is not Standing.UNFIT:
                left_out.append(endpoint)
        return Chosen(tuple(members), tuple(left_out)) if members else None
