"""What a worker prints, cut into lines that can be shown: `[worker 2] text`. Pure.

Bytes and time in, lines out. A line that rewrites itself with carriage returns (tqdm) is shown once
a second; more lines than the budget allows are counted instead of shown; nothing is kept without a
bound.
"""

from __future__ import annotations

import re
from collections import deque

__all__ = ["LONGEST_LINE", "LineCutter", "PARTIAL_AFTER", "PROGRESS_EVERY"]

#: A line is cut into pieces of this many bytes.
LONGEST_LINE = 8 * 1024
#: Seconds after which what has no end yet is shown: a prompt, or a `print(..., end="")`.
PARTIAL_AFTER = 1.0
#: Seconds between two states of a line that rewrites itself.
PROGRESS_EVERY = 1.0
#: Lines a second that one worker may print for long, and how many it may save up.
LINES_PER_SECOND, SAVED_LINES = 100.0, 1000.0
#: Of the lines left out, as many are shown after all when the worker has ended.
LAST_WORDS = 40

#: Moves of the cursor, which tqdm makes for nested bars; colours stay.
_CURSOR = re.compile(r"\x1b\[[0-9;?]*[A-HJKSTfhlsu]")


class LineCutter:
    """One worker's standard output or standard error."""

    def __init__(self, prefix: str, now: float) -> None:
        self._prefix = prefix
        #: What came since the last line end; of a line that rewrites itself, a carriage return and
        #: its newest state.
        self._rest = b""
        self._rest_since = now
        self._state_shown = b""
        self._state_shown_at = now - PROGRESS_EVERY
        self._allowance = SAVED_LINES
        self._counted = now
        self._left_out = 0
        #: The last of those: at the end of a worker they may say why it ended.
        self._last_words: deque[str] = deque(maxlen=LAST_WORDS)

    def feed(self, data: bytes, now: float) -> list[str]:
        """The lines that are complete with ``data``."""
        *whole, rest = (self._rest + data).split(b"\n")
        shown: list[str] = []
        for line in whole:
            if b"\r" not in line or line != self._state_shown:
                shown += self._allow(self._pieces(_newest(line)), now)
            self._state_shown = b""
        if rest != self._rest:
            self._rest_since = now
        self._rest = b"\r" + _newest(rest) if b"\r" in rest else rest
        while len(self._rest) > LONGEST_LINE:
            piece, self._rest = self._rest[:LONGEST_LINE], self._rest[LONGEST_LINE:]
            shown += self._allow([self._text(piece)], now)
        return shown + self.tick(now)

    def tick(self, now: float) -> list[str]:
        """What is due by now: a line's state, a line without an end, a count of lines left out."""
        shown: list[str] = []
        if self._rest.startswith(b"\r"):
            if now - self._state_shown_at >= PROGRESS_EVERY and self._rest != self._state_shown:
                shown += self._allow([self._text(self._rest[1:])], now)
                self._state_shown, self._state_shown_at = self._rest, now
        elif self._rest and now - self._rest_since >= PARTIAL_AFTER:
            shown += self._allow([self._text(self._rest)], now)
            self._rest = b""
        if self._left_out and self._may_print(now):
            shown.append(self._count_left_out())
        return shown

    def end(self, now: float) -> list[str]:
        """What is left when nothing more will come."""
        shown: list[str] = []
        if self._rest and self._rest != self._state_shown:
            shown += self._allow([self._text(_newest(self._rest))], now)
        self._rest = b""
        last_words = list(self._last_words)
        self._left_out -= len(last_words)
        return shown + ([self._count_left_out()] if self._left_out else []) + last_words

    def _pieces(self, line: bytes) -> list[str]:
        starts = range(0, max(1, len(line)), LONGEST_LINE)
        return [self._text(line[at : at + LONGEST_LINE]) for at in starts]

    def _text(self, line: bytes) -> str:
        return (self._prefix + _CURSOR.sub("", line.decode(errors="replace"))).rstrip()

    def _allow(self, lines: list[str], now: float) -> list[str]:
        shown: list[str] = []
        for line in lines:
            if self._may_print(now):
                self._allowance -= 1.0
                if self._left_out:
                    shown.append(self._count_left_out())
                shown.append(line)
            else:
                self._left_out += 1
                self._last_words.append(line)
        return shown

    def _may_print(self, now: float) -> bool:
        """Once the allowance is used up, a second's worth is saved before the next line."""
        earned = (now - self._counted) * LINES_PER_SECOND
        self._allowance = min(SAVED_LINES, self._allowance + earned)
        self._counted = now
        return self._allowance >= (LINES_PER_SECOND if self._left_out else 1.0)

    def _count_left_out(self) -> str:
        count, self._left_out = self._left_out, 0
        self._last_words.clear()
        return f"{self._prefix}({count} lines left out: more than {LINES_PER_SECOND:.0f} a second)"


def _newest(line: bytes) -> bytes:
    """Of a line that rewrites itself, the last state that is not blank: tqdm clears with blanks."""
    return next((state for state in reversed(line.split(b"\r")) if state.strip()), b"")
