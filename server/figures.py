"""Figures for a terminal: short numbers with their units, sparklines. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from genserver.protocol.telemetry import UNKNOWN

__all__ = [
    "ASCII", "BLOCKS", "Line", "Piece", "amount", "duration", "megabytes", "memory", "number",
    "share", "size", "sparkline",
]  # fmt: skip

#: From nothing to the most; the second for terminals that show no more than ASCII.
BLOCKS, ASCII = "▁▂▃▄▅▆▇█", "_.-:=+*#"
#: In the place of what is not known.
NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Piece:
    """Text in one style: "", "head", "dim", "good", "warn", "bad" or "trend"."""

    text: str
    style: str = ""


#: What stands beside each other.
Line = tuple[Piece, ...]


def number(value: float) -> str:
    """Three digits that count, in five characters: 0.12, 3.46, 57.1, 346, 8123, 12.3k, 1.20M."""
    value = max(0.0, value)
    for unit in ("", "k", "M", "G"):
        if value < 9_999.5 and not unit:
            return _three(value) if value < 999.5 else f"{value:.0f}"
        if value < 999.5:
            return _three(value) + unit
        value /= 1000
    return f"{value:.0f}T"


def _three(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}" if value else "0"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def amount(count: int) -> str:
    """A count: exact as long as it is short."""
    return str(count) if count < 100_000 else number(count)


def share(value: float) -> str:
    """Of 1, as percents."""
    return f"{value:.0%}"


def megabytes(nbytes: float) -> str:
    """Of a rate whose unit says the heading."""
    return number(nbytes / 1e6)


def memory(nbytes: int) -> str:
    """With its unit; 0 is what nobody knows."""
    if not nbytes:
        return NOTHING
    return f"{_three(nbytes / 1e9)}GB" if nbytes >= 999.5e6 else f"{_three(nbytes / 1e6)}MB"


def size(nbytes: int) -> str:
    """With its unit, from bytes up."""
    if nbytes < 1000:
        return f"{nbytes}B"
    return memory(nbytes) if nbytes >= 999.5e3 else f"{_three(nbytes / 1e3)}kB"


def duration(microseconds: int) -> str:
    """With its unit, from us to minutes."""
    if microseconds == UNKNOWN:
        return NOTHING
    for factor, unit in ((1.0, "us"), (1e3, "ms"), (1e6, "s")):
        if microseconds / factor < (999.5 if unit != "s" else 99.95):
            value = microseconds / factor
            return (f"{value:.0f}" if unit == "us" else _three(value)) + unit
    return f"{number(microseconds / 60e6)}m"


def sparkline(
    rates: Mapping[int, float], *, now: int, seconds: int, width: int, top: float,
    blocks: str = BLOCKS,
) -> str:  # fmt: skip
    """What was, second by second, as bars of at most ``top``; the last one holds ``now``.

    A bar is the mean of its seconds, which are the same ones as long as it is shown, so that bars
    move and do not flicker. Seconds of which nothing is known are blank.
    """
    each = max(1, math.ceil(seconds / width))
    bars: dict[int, list[float]] = {}
    for second, rate in rates.items():
        bars.setdefault(second // each, []).append(rate)
    line = ""
    for place in range(now // each - width + 1, now // each + 1):
        known = bars.get(place)
        if known is None:
            line += " "
            continue
        height = sum(known) / len(known) / top if top > 0 else 0.0
        line += blocks[min(len(blocks) - 1, max(0, round(height * (len(blocks) - 1))))]
    return line
