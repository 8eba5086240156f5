"""Where elements wait for the trainer: filled by the I/O thread, emptied by whoever iterates.

Owns one lock. What it holds is bounded by the credit that was granted. Every wait has a bound:
TensorFlow can neither cancel nor delete a generator that blocks (design 3).
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field

from ..errors import GenserverError, Interrupted
from ..stream import Delivery

__all__ = ["Inbox"]

#: Seconds for which Ctrl-C is remembered: TensorFlow's threads may be on their way to the next wait
#: when it comes, and be held up on a busy machine.
INTERRUPT_LASTS = 1.0


@dataclass(slots=True)
class _Source:
    ready: deque[Delivery] = field(default_factory=deque)
    ended: bool = False


class Inbox:
    """Deliveries of ``sources`` streams. Any thread."""

    def __init__(self, sources: int) -> None:
        self._changed = threading.Condition()
        self._sources = [_Source() for _ in range(sources)]
        self._turn = 0
        self._finished: list[tuple[int, int, int]] = []
        self._error: GenserverError | None = None
        #: Whether the last `take` found nothing, or one is waiting now.
        self._starved = False
        self._interrupted_until = 0.0

    def put(self, source: int, delivery: Delivery) -> None:
        """More elements arrived."""
        with self._changed:
            self._sources[source].ready.append(delivery)
            self._changed.notify_all()

    def end(self, source: int) -> None:
        """A stream has no more elements."""
        with self._changed:
            self._sources[source].ended = True
            self._changed.notify_all()

    def finish(self, source: int, item: int, count: int) -> None:
        """An item that a stream was dealt is finished, where it had made ``count`` elements.

        Said before any element behind it is put, and once.
        """
        with self._changed:
            self._finished.append((source, item, count))

    def take_finished(self) -> list[tuple[int, int, int]]:
        """What was finished since: (source, item, count)."""
        with self._changed:
            finished, self._finished = self._finished, []
            return finished

    def fail(self, error: GenserverError) -> None:
        """What arrived is still handed out; then every `take` raises ``error``, for ever."""
        with self._changed:
            self._error = self._error or error
            self._changed.notify_all()

    def interrupt(self) -> None:
        """Ctrl-C: fail if somebody waits in vain, be it in several short waits, or is about to.

        Not what the main thread reads itself, which has its own KeyboardInterrupt.
        """
        with self._changed:
            lasts = math.inf if self._starved else INTERRUPT_LASTS
            self._interrupted_until = time.monotonic() + lasts
            self._changed.notify_all()

    def take_all(self) -> tuple[list[tuple[int, Delivery]], list[int]]:
        """Take all that has arrived; also which streams have ended, whose last delivery is then
        among it. Neither waits nor raises, and is no wait in vain."""
        with self._changed:
            taken = [(n, delivery) for n, s in enumerate(self._sources) for delivery in s.ready]
            for source, _ in taken:
                self._sources[source].ready.clear()
            if taken:
                self._starved = False
            return taken, [n for n, s in enumerate(self._sources) if s.ended]

    def take(self, seconds: float, source: int | None = None) -> tuple[int, Delivery] | None:
        """The next delivery of ``source``, or of whichever is ready, in turn.

        None after ``seconds`` without any, or when there will be none. Raises what `fail` was
        given once nothing that arrived before is left to take.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while True:
                found = self._find(source)
                self._starved = found is None and not _in_main_thread()
                if found is not None:
                    self._turn = found + 1
                    return found, self._sources[found].ready.popleft()
                if self._starved and time.monotonic() < self._interrupted_until:
                    self._error = self._error or Interrupted()
                if self._error is not None:
                    raise self._error
                left = deadline - time.monotonic()
                if left <= 0 or self._exhausted(source):
                    return None
                self._changed.wait(left)

    def _find(self, source: int | None) -> int | None:
        if source is not None:
            return source if self._sources[source].ready else None
        for step in range(len(self._sources)):
            index = (self._turn + step) % len(self._sources)
            if self._sources[index].ready:
                return index
        return None

    def _exhausted(self, source: int | None) -> bool:
        chosen = self._sources if source is None else [self._sources[source]]
        return all(s.ended for s in chosen)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
