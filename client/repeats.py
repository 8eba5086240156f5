"""The same error again and again: what `ignore_errors()` makes of a failure that stays.

A lane never takes a failure for the end of the data, so who skips errors would ask it for ever, at
full speed. From the fourth time on it answers slowly. It says why nothing comes to who still asks
after some seconds: TensorFlow prefetches a few times past an error that ended the loop.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from .waiting import REPORT_EVERY, say

__all__ = ["FREE", "Repeats"]

#: As often an error is raised at once.
FREE = 3


class Repeats:
    """Of one error. One thread at a time."""

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], object] | None = None,
        tell: Callable[[str], None] = say,
    ) -> None:
        """``clock``, ``wait`` and ``tell`` are for tests."""
        self._clock = clock
        # Nobody sets the event: who closes a lane may be a finalizer, which must take no lock.
        self._wait = wait or threading.Event().wait
        self._tell = tell
        self._count = 0
        #: When it was last said, at first when the error was first repeated.
        self._said = 0.0

    def again(self, error: Exception, seconds: float) -> None:
        """Before the error is raised once more: wait ``seconds`` if that was often, and say so."""
        self._count += 1
        now = self._clock()
        if self._count == 1:
            self._said = now
        if self._count <= FREE:
            return
        if now - self._said >= REPORT_EVERY:
            self._said = now
            first_line = str(error).partition("\n")[0]
            self._tell(
                f"raised {self._count} times, and it stays: {first_line} (a failed iterator gives "
                "no more elements and does not end; ignore_errors() hides that)"
            )
        self._wait(seconds)
