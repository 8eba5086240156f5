"""The items that one stream was dealt, between the worker's two threads.

The I/O thread puts them in, the thread that runs the generator takes them out; both under the lock
of the exchange. Owns nothing else. What waits here is bounded by what was asked for.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from ..dealing import MAX_AHEAD
from ..messages import NO_MORE, Work

__all__ = ["Dealt", "Gate"]

#: A worker asks for one item ahead of what it does, or so many that they last for so many seconds:
#: asking takes about 2 ms. The trainer gives none ahead where few are left (dealing.py).
AHEAD_SECONDS = 0.01
#: The same in items, at most.
MOST_AHEAD = 64


class Gate:
    """Whether a generator must wait for something before it can go on; then it has no turn."""

    def __init__(self, changed: threading.Condition, look: Callable[[], None]) -> None:
        """``look`` is called under the lock of ``changed`` when it was opened."""
        self.changed = changed
        self.waiting = False
        self._look = look

    def passes(self, there: Callable[[], bool]) -> bool:
        """The generator's thread: whether something is ``there``; if not, it waits for `open`."""
        with self.changed:
            self.waiting = not there()
            return not self.waiting

    def open(self) -> None:
        """What it waits for may be there. Any thread."""
        with self.changed:
            self.waiting = False
            self._look()
            self.changed.notify_all()

    def wait(self, seconds: float) -> None:
        """Until it is opened, or ``seconds``: for who has nothing else to do."""
        with self.changed:
            self.changed.wait_for(lambda: not self.waiting, seconds)


class Dealt:
    """One stream's items, in order."""

    def __init__(
        self, first: int, ahead: int, gate: Gate, notify: Callable[[bool], None]
    ) -> None:  # fmt: skip
        """``first`` is the first ordinal; so many items ``ahead`` are always asked for, or one.

        The generator waits at ``gate``. ``notify(now)`` has the I/O thread come for `news`.
        """
        self._gate = gate
        self._changed = gate.changed
        self._notify = notify
        self._least = min(max(1, ahead), MAX_AHEAD - 1)
        self._queue: deque[Work] = deque()
        self._next = first
        #: So many have ended, or more.
        self._ended = first
        #: What the I/O thread asked for, or shall.
        self._until = first + 1 + self._least
        self._asked = first
        self._done: list[tuple[int, int, int]] = []
        self._listener: Callable[[Work], None] | None = None
        self._pace = 0.0  # seconds that an item takes
        self._began = 0.0
        gate.waiting = True
        #: The number of the generator's next element; set by who runs it.
        self.position: Callable[[], int] = lambda: 0

    # The I/O thread, under the lock.

    def give(self, work: Work) -> None:
        """An item arrived."""
        self._queue.append(work)
        self._gate.waiting = False
        if self._listener is not None:
            self._listener(work)

    def news(self) -> tuple[int | None, Sequence[tuple[int, int, int]]]:
        """What to tell the trainer: TAKE's limit if it rose, and (ordinal, count, total) of the
        items that ended since."""
        until = self._until if self._until > self._asked else None
        self._asked = self._until
        done, self._done = self._done, []
        return until, done

    # The generator's thread.

    def next(self, *, wait: bool = True) -> Work | None:
        """The next item, `NO_MORE` for none ever; None where it is not there yet. Then the
        generator has no turn until it is, unless it has something else to do: not ``wait``."""
        with self._changed:
            now = time.monotonic()
            if self._queue:
                work = self._queue.popleft()
                self._measure(now)
                self._next += 1
            else:
                work, self._gate.waiting = None, wait
                self._began = 0.0
            idle = self._gate.waiting
            ask = self._want(work) or bool(idle and self._done)
        if ask:
            self._notify(idle)
        return work

    def head(self) -> Work | None:
        """The item that `next` will give, if it is there."""
        with self._changed:
            return self._queue[0] if self._queue else None

    def done(self, work: Work, total: int = NO_MORE) -> None:
        """An item ended, or with ``total`` there is none such."""
        with self._changed:
            self._done.append((work.ordinal, self.position(), total))
            self._ended += total == NO_MORE

    def listen(self, listener: Callable[[Work], None]) -> None:
        """Have each item told as soon as it is there, under the lock: those that are, too."""
        with self._changed:
            self._listener = listener
            for work in self._queue:
                listener(work)

    def _measure(self, now: float) -> None:
        if self._began:
            took = now - self._began
            self._pace = took if not self._pace else (self._pace + took) / 2
        self._began = now

    def _want(self, work: Work | None) -> bool:
        """Ask for more, where that is worth a message."""
        if work is not None and work.item == NO_MORE:
            return False
        ahead = self._least
        if self._pace:
            ahead = max(ahead, min(MOST_AHEAD, int(AHEAD_SECONDS / max(self._pace, 1e-6))))
        until = min(self._next + ahead + (work is None), self._ended + MAX_AHEAD)
        short = len(self._queue) * 2 <= ahead
        if until <= self._until or not short:
            return False
        self._until = until
        return True
