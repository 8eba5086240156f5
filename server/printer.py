"""Shows what workers print: reads their pipes, writes to standard output and standard error.

Owns the thread that writes, and a bounded queue in front of it. A terminal that was stopped
(Ctrl-S) or a reader that sleeps blocks this thread, never the caller: what does not fit into the
queue is counted and left out.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
import time

from .output import LineCutter

__all__ = ["OutputReader", "Printer"]

#: Lines that may wait for a slow reader.
WAITING_LINES = 2000
_STDOUT, _STDERR = 1, 2
#: Bounds a wait of the thread, in seconds.
TURN_SECONDS = 0.5


class Printer:
    """Any thread may `say`; `close` writes what is waiting."""

    def __init__(self) -> None:
        self._lines: queue.Queue[tuple[int, str] | None] = queue.Queue(WAITING_LINES)
        self._left_out = 0
        self._closing = False
        self._thread = threading.Thread(target=self._write, name="genserver-print", daemon=True)
        self._thread.start()

    def say(self, line: str, *, error: bool = False) -> None:
        """Print ``line`` soon, on standard error if ``error``. Does not block."""
        try:
            self._lines.put_nowait((_STDERR if error else _STDOUT, line))
        except queue.Full:
            self._left_out += 1

    def close(self, seconds: float) -> None:
        """Write what is waiting, for ``seconds`` at most."""
        self._closing = True
        with contextlib.suppress(queue.Full):
            self._lines.put_nowait(None)  # ends the thread's wait
        self._thread.join(seconds)

    def _write(self) -> None:
        gone: set[int] = set()
        while not (self._closing and self._lines.empty()):
            try:
                waiting = self._lines.get(timeout=TURN_SECONDS)
            except queue.Empty:
                continue
            if waiting is None:
                continue
            descriptor, line = waiting
            left_out, self._left_out = self._left_out, 0
            if left_out:
                line += f"\n({left_out} lines left out: nobody read them)"
            if descriptor not in gone and not _write_whole(descriptor, line.encode() + b"\n"):
                gone.add(descriptor)  # whoever read it (head, less) has seen enough


class OutputReader:
    """Reads one pipe of a worker, which its owner closes. The loop's thread only."""

    def __init__(self, fd: int, name: str, printer: Printer, *, error: bool) -> None:
        self.fd = fd
        self._printer = printer
        self._error = error
        self._cutter = LineCutter(f"[{name}] ", time.monotonic())

    def read(self) -> bool:
        """Take what the pipe has; False once its other end is closed."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return True
        self._say(self._cutter.feed(data, time.monotonic()))
        return bool(data)

    def tick(self, now: float) -> None:
        """Show what waited for the rest of its line."""
        self._say(self._cutter.tick(now))

    def finish(self) -> None:
        """The worker has ended: show what is left, without waiting for what it started."""
        self.read()
        self._say(self._cutter.end(time.monotonic()))

    def _say(self, lines: list[str]) -> None:
        for line in lines:
            self._printer.say(line, error=self._error)


def _write_whole(descriptor: int, data: bytes) -> bool:
    """False when nobody can read it any more."""
    try:
        while data:
            try:
                data = data[os.write(descriptor, data) :]
            except BlockingIOError:  # who started us made it so, or shares a terminal that is
                select.select([], [descriptor], [], TURN_SECONDS)
    except (OSError, ValueError):
        return False
    return True
