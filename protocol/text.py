"""Text for a terminal, whoever wrote it: cleaned, measured, cut, padded. Pure."""

from __future__ import annotations

import unicodedata

__all__ = ["clean", "fit", "pad", "width_of"]


def clean(text: str) -> str:
    """One line without anything that a terminal would obey: others wrote it."""
    return "".join(c if c.isprintable() else " " if c in "\n\t" else "?" for c in text)


def width_of(text: str) -> int:
    """Columns of a terminal."""
    return sum(_columns(c) for c in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def fit(text: str, width: int) -> str:
    """As much of it as fits; dots say that there is more."""
    if width_of(text) <= width:
        return text
    if width < 4:
        return "." * max(0, width)
    taken, kept = 0, 0
    for character in text:
        taken += _columns(character)
        if taken > width - 3:
            break
        kept += 1
    return text[:kept].rstrip() + "..."


def pad(text: str, width: int, *, right: bool) -> str:
    """Exactly so wide."""
    text = fit(text, width)
    space = " " * (width - width_of(text))
    return space + text if right else text + space
