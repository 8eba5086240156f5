"""What a connection measures and is told: how its readers fare, and the server. On the I/O thread;
`snapshots` may be asked by any."""

from __future__ import annotations

import math

from ..link import BEAT_EVERY, SUSPECT_AFTER
from ..telemetry import Snapshot
from ..trainer_end import TrainerEnd
from ..window import Window
from .usage import Usage, totals

__all__ = ["Measures"]


class Measures:
    """Of one connection."""

    def __init__(self, session: int) -> None:
        self._session = session
        #: Those of the present, behind what those of the past counted.
        self._usages = [Usage()]
        self._told = 0.0
        self._window = Window()
        self._heard = -math.inf

    def follow(self, usage: Usage) -> None:
        """One reader more."""
        self._usages.append(usage)

    def follow_no_more(self, usage: Usage) -> None:
        """What it counted still counts."""
        if usage in self._usages:
            self._usages.remove(usage)
            self._usages[0].add(usage)

    def tell(self, end: TrainerEnd, now: float) -> None:
        """Tell the server how its readers fare, once a second."""
        if now - self._told >= BEAT_EVERY:
            self._told = now
            end.report(totals(self._session, self._usages), now)

    def remember(self, snapshot: Snapshot, now: float) -> None:
        """The server said this."""
        self._window.add(snapshot)
        self._heard = now

    def forget(self) -> None:
        """What it said is of another life."""
        self._window.clear()

    def snapshots(self, now: float) -> tuple[Snapshot, ...]:
        """Of the last seconds, the latest last; none of a server that is silent or away. Any
        thread."""
        return self._window.snapshots if now - self._heard < SUSPECT_AFTER else ()
