"""No lane is inside Python when the interpreter ends.

TensorFlow deletes an iterator by waiting for its threads. A thread that wants the interpreter while
it is being torn down never comes back, and then the process hangs in that wait: seen after Ctrl-C
in ``fit`` and after errors, with plain ``from_generator`` as well (TF 2.21, Python 3.11). So before
the teardown every lane ends, and TensorFlow gets the time to hear of it.
"""

from __future__ import annotations

import atexit
import threading
import time
import weakref

__all__ = ["Farewell"]

#: Longest wait, in seconds, for lanes that are inside Python; each returns after a poll.
INSIDE_SECONDS = 1.0
#: How long (seconds) TensorFlow's threads get to close what has ended. They cannot be waited for.
CLOSING_SECONDS = 0.1


class Farewell:
    """Counts the calls of TensorFlow's threads that are inside Python. Any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closing = False
        self._lanes: weakref.WeakSet[object] = weakref.WeakSet()
        atexit.register(self.wait)

    def add(self, lane: object) -> None:
        """A lane that TensorFlow will call; forgotten when it is deleted."""
        self._lanes.add(lane)

    def enter(self) -> bool:
        """A call begins; False when the lane must end. Pair with `leave`."""
        with self._changed:
            self._inside += 1
            return not self._closing

    def leave(self) -> None:
        """A call returns."""
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def wait(self) -> None:
        """At exit: have every lane end."""
        if not self._lanes:
            return
        deadline = time.monotonic() + INSIDE_SECONDS
        with self._changed:
            self._closing = True
            while self._inside and time.monotonic() < deadline:
                self._changed.wait(deadline - time.monotonic())
        threading.Event().wait(CLOSING_SECONDS)
