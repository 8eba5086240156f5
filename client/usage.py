"""A clock of training steps, which tells better than a lane how a trainer spends its time.

Inside tf.data nobody knows how long a step takes: its buffers ask for the next element as soon as
they have room. So whoever watches the steps from outside tells this clock, and as long as somebody
does, the lanes' own times do not count. Owns nothing: what it counts in belongs to lanes.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterable, Iterator

from genserver.protocol.transport.usage import Usage

__all__ = ["STEPS_SECONDS", "StepClock", "clock"]

#: A clock that was not told of a step for so long (seconds) is over: an evaluation, a break.
STEPS_SECONDS = 10.0


class StepClock:
    """Told by the training loop's thread of its steps."""

    def __init__(self) -> None:
        #: Replaced as a whole: the loop goes over them while tf.data's threads add theirs.
        self._usages: tuple[weakref.ref[Usage], ...] = ()
        self._adding = threading.Lock()
        self._told = float("-inf")

    @property
    def running(self) -> bool:
        """Whether steps are being told. Any thread."""
        return time.monotonic() - self._told < STEPS_SECONDS

    def tell(self, usages: Iterable[Usage]) -> None:
        """Count for these servers, too: one of each. Any thread."""
        new = tuple(map(weakref.ref, usages))
        with self._adding:
            self._usages = (*(known for known in self._usages if known() is not None), *new)

    def _counted(self) -> Iterator[Usage]:
        return (usage for known in self._usages if (usage := known()) is not None)

    def asks(self) -> float:
        """The loop wants the next batch: until now it used the last one. Returns those seconds."""
        seconds = self._mark()
        for usage in self._counted():
            usage.using += seconds
            usage.steps = True
        return seconds

    def gets(self) -> float:
        """The loop has it: until now it waited. Returns those seconds."""
        seconds = self._mark()
        for usage in self._counted():
            usage.waiting += seconds
        return seconds

    def spent(self, waiting: float, using: float) -> None:
        """What some steps together took, for a loop that is told of neither. Seconds."""
        self._told = time.monotonic()
        for usage in self._counted():
            usage.waiting += waiting
            usage.using += using
            usage.steps = True

    def _mark(self) -> float:
        """Seconds since the last call, none behind a break."""
        now = time.monotonic()
        seconds = now - self._told if self.running else 0.0
        self._told = now
        return seconds


#: The process's, for it has one training loop.
clock = StepClock()
