"""The I/O loop: one thread that waits for sockets, descriptors, timers and calls.

Owns every socket of its process. Other threads reach it through `call`, which takes no lock and may
be used from a finalizer. What it runs must not block. No unbounded wait: it wakes twice a second.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from .sockets import Poller, Source, WakeUp

__all__ = ["Loop"]

#: The longest sleep, in seconds: bounds what a lost wake-up could cost.
LONGEST_WAIT = 0.5
#: Between two ticks, in seconds, unless told otherwise.
TICK_SECONDS = 0.25
#: Messages of one source that are handled before the others get their turn.
BURST = 64


class Loop:
    """Runs callbacks on the thread that calls `run`."""

    def __init__(self) -> None:
        self._poller = Poller()
        self._handlers: dict[Any, Callable[[], bool]] = {}
        self._ticks: list[Callable[[float], None]] = []
        self._calls: deque[Callable[[], None]] = deque()
        self._wake_up = WakeUp()
        self._stopping = False
        self._waking = False
        self._next_tick = 0.0
        self.on_signal: Callable[[int], None] | None = None
        self._poller.add(self._wake_up.reader)
        #: Seconds; ``hurry`` shortens the next wait.
        self.tick_every = TICK_SECONDS
        self._hurry_at = float("inf")

    def call(self, function: Callable[[], None]) -> None:
        """Run ``function`` on the loop's thread soon. Any thread, any time; takes no lock."""
        self._calls.append(function)
        self.wake()

    def wake(self) -> None:
        """End the current wait. Any thread; a full one means that a wake-up is under way."""
        # The loop clears the mark before it looks at the calls, so a call that came before is
        # seen. Writing costs the caller a turn of the interpreter's lock.
        if self._waking:
            return
        self._waking = True
        self._wake_up.wake()

    def later(self, function: Callable[[], None]) -> None:
        """Like `call`, without waking the loop: at its next wake-up, half a second at most."""
        self._calls.append(function)

    def add(self, source: Source, handler: Callable[[], bool]) -> None:
        """Call ``handler`` when ``source`` is readable, again while it returns True."""
        self._handlers[source if isinstance(source, int) else source.raw] = handler
        self._poller.add(source)

    def remove(self, source: Source) -> None:
        """Forget a source; its owner closes it."""
        if self._handlers.pop(source if isinstance(source, int) else source.raw, None) is not None:
            self._poller.remove(source)

    def every_tick(self, function: Callable[[float], None]) -> None:
        """Call ``function(now)`` at every tick."""
        self._ticks.append(function)

    def drop_tick(self, function: Callable[[float], None]) -> None:
        self._ticks.remove(function)

    def hurry(self, at: float) -> None:
        """Tick at this monotonic time at the latest. Loop's thread only."""
        self._hurry_at = min(self._hurry_at, at)

    def stop(self) -> None:
        """Return from `run` soon. Any thread."""
        self._stopping = True
        self.wake()

    def close(self) -> None:
        """Nobody runs or calls it any more; its sources are their owners'."""
        self._wake_up.close()

    def forget_signals(self) -> None:
        """Signals that came while nobody ran concern nobody."""
        self._wake_up.drain()
        self._waking = False

    def run(self) -> None:
        """Serve until `stop`; what was called before it still runs. May be called again."""
        while not self._stopping:
            self._once()
        self._run_calls()
        self._stopping = False

    @property
    def wake_fd(self) -> int:
        """Where Python may write the numbers of signals (`signal.set_wakeup_fd`)."""
        return self._wake_up.writer

    def _once(self) -> None:
        now = time.monotonic()
        due = min(self._next_tick, self._hurry_at)
        for ready in self._poller.wait(min(LONGEST_WAIT, max(0.0, due - now))):
            if ready == self._wake_up.reader:
                self._drain()
            elif ready in self._handlers:
                self._serve(ready)
        self._run_calls()
        now = time.monotonic()
        if now >= min(self._next_tick, self._hurry_at):
            self._hurry_at = float("inf")
            self._next_tick = now + self.tick_every
            for tick in list(self._ticks):
                tick(now)

    def _serve(self, ready: Any) -> None:
        for _ in range(BURST):
            handler = self._handlers.get(ready)
            if handler is None or not handler():
                return

    def _drain(self) -> None:
        """Empty the wake-up. Python writes the numbers of signals into it (set_wakeup_fd)."""
        data = self._wake_up.drain()
        # In this order: whoever finds the mark set relies on the calls being run after this, and
        # with the mark cleared first, a byte written in between would be drained unnoticed, and
        # nobody would wake the loop any more.
        self._waking = False
        if self.on_signal is not None:
            for number in set(data) - {0}:
                self.on_signal(number)

    def _run_calls(self) -> None:
        for _ in range(len(self._calls)):
            self._calls.popleft()()
