"""Draws lines on a terminal, with the library rich, which only `top` needs.

Owns the terminal's other screen while it is entered: what was there before is there again at the
end, with the last lines below it. Starts no thread; decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .figures import Line

__all__ = ["STYLES", "Screen", "drawn"]

#: Of the pieces of a line. None is told by its colour alone: the words say it, too.
STYLES = {
    "": "", "head": "bold", "dim": "dim", "good": "green", "warn": "bold yellow",
    "bad": "bold red", "trend": "cyan",
}  # fmt: skip


def drawn(lines: Sequence[Line]) -> Text:
    """As rich has it; wider than the terminal is cut, not wrapped."""
    text = Text(no_wrap=True, overflow="crop", end="")
    for number, line in enumerate(lines):
        text.append("\n" if number else "")
        for piece in line:
            text.append(piece.text, style=STYLES[piece.style])
    return text


class Screen:
    """The terminal at standard output. Use as a context manager."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=False)
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._lines: Sequence[Line] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Its columns and lines, now."""
        return self._console.width, self._console.height

    def show(self, lines: Sequence[Line]) -> None:
        """In the place of what is there."""
        self._lines = lines
        self._live.update(drawn(lines), refresh=True)

    def __enter__(self) -> Screen:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()
        if self._lines:
            self._console.print(drawn(self._lines))
