"""Whether somebody who looks at a screen wants to leave it: the key q.

Owns the modes of the terminal at standard input while it is entered, and reads what is typed there;
waits for nothing.
"""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from types import TracebackType
from typing import Any

__all__ = ["Keyboard"]

#: What is read in one go.
MOST_BYTES = 64


class Keyboard:
    """The terminal's, if it is ours to read. Use as a context manager, on the main thread."""

    def __init__(self) -> None:
        self._fd = -1
        self._modes: list[Any] = []

    def wants_to_leave(self) -> bool:
        """Whether q was typed since the last call. What else was typed is dropped."""
        if self._fd < 0 or not select.select([self._fd], [], [], 0)[0]:
            return False
        typed = os.read(self._fd, MOST_BYTES)
        if not typed:  # the terminal is gone, and with it whoever looked at it
            self._fd = -1
            return True
        return b"q" in typed.lower()

    def __enter__(self) -> Keyboard:
        # One that runs in the background would be stopped for touching the terminal.
        if sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp():
            self._fd = sys.stdin.fileno()
            self._modes = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd >= 0:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._modes)
