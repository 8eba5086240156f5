"""What `genserver peek` prints: a table for a terminal, or one JSON object. Pure."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from genserver.protocol.spec import ElementSpec
from genserver.protocol.text import clean, fit, pad, width_of

from .album import Warned, short
from .samples import Statistics

__all__ = ["Page", "as_json", "page"]

WIDTH = 80
#: Arrays that a table shows; the JSON object has all.
ROWS = 40
#: Warnings that it shows.
MAX_WARNINGS = 20
#: Columns of the paths, at most.
PATH = 24
GAP = "  "


@dataclass(frozen=True, slots=True)
class Page:
    """All that is told."""

    endpoint: str
    generator: str
    spec: ElementSpec
    epoch: int
    #: How many elements were wanted, how many there were, and in how many seconds.
    wanted: int
    elements: int
    seconds: float
    #: Why there are fewer, or "".
    why_fewer: str
    batched: bool
    statistics: Sequence[Statistics]
    warnings: Sequence[Warned]


def page(told: Page) -> list[str]:
    """Lines of at most `WIDTH` columns."""
    what = "batches" if told.batched else "elements"
    count = f"{told.elements} {what if told.elements != 1 else what.removesuffix('s')}"
    count = count.replace("batche", "batch") if told.elements == 1 else count
    head = f"{told.endpoint}  {told.generator}"
    lines = [
        fit(clean(head), WIDTH),
        f"{count} of epoch {told.epoch}, in {told.seconds:.1f} s"
        + (f" ({told.why_fewer})" if told.why_fewer else ""),
        "",
    ]
    shown = told.statistics[:ROWS]
    names = [_cut(clean(short(one.path))) for one in shown]
    table = [["", "dtype", "shape", "min", "max", "mean", "std"]]
    table += [_row(name, one) for name, one in zip(names, shown, strict=True)]
    lines += _aligned(table, [_values(one) for one in shown])
    if len(told.statistics) > ROWS:
        lines.append(f"and {len(told.statistics) - ROWS} arrays more (--json has all)")
    if told.warnings:
        lines.append("")
    for warned in told.warnings[:MAX_WARNINGS]:
        text = f"! {_cut(clean(short(warned.path)))}: {warned.text}"
        lines += textwrap.wrap(text, WIDTH, subsequent_indent="  ", max_lines=3)
    if len(told.warnings) > MAX_WARNINGS:
        lines.append(f"! and {len(told.warnings) - MAX_WARNINGS} more (--json has all)")
    return [line.rstrip() for line in lines]


def _cut(path: str) -> str:
    """The end of a long path tells more than its beginning."""
    return path if width_of(path) <= PATH else "..." + path[-(PATH - 3) :]


def _row(name: str, one: Statistics) -> list[str]:
    shape = _shape(one)
    if one.text:
        lengths = [f"{one.low} long", f"{one.high} long"] if one.low is not None else ["-", "-"]
        return [name, one.dtype, shape, *lengths, "", ""]
    dtype = f"|{one.dtype}|" if one.dtype.startswith("complex") else one.dtype
    return [name, dtype, shape, *map(_number, (one.low, one.high, one.mean, one.std))]


def _shape(one: Statistics) -> str:
    pairs = zip(one.smallest, one.largest, strict=True)
    return "x".join(f"{low}" if low == high else f"{low}..{high}" for low, high in pairs) or "-"


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and abs(value) < 10**8:
        return str(value)
    return f"{value:.4g}"


def _values(one: Statistics) -> str:
    """The most frequent ones where there are few; else how much is zero."""
    if one.distinct in (0, 1) and not one.text:
        return ""
    if one.telling and (one.distinct or 0) <= len(one.common) and not one.text:
        return ", ".join(f"{_number(_plain(v))} {_percent(share)}" for v, share in one.common)
    if one.text and one.distinct is not None and one.common:
        more = one.distinct - len(one.common)
        return ", ".join(str(v) for v, _ in one.common) + (f", {more} more" if more > 0 else "")
    if one.text:
        return "many different ones"
    many = f"{one.distinct} distinct" if one.distinct is not None and one.values > 1 else ""
    zeros = f"zero {_percent(one.zeros / one.values)}" if one.zeros and one.values > 1 else ""
    return ", ".join(filter(None, (many, zeros)))


def _plain(value: float | str) -> float:
    assert not isinstance(value, str)  # those of numbers are numbers
    return value


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 or not share else "<1%"


def _aligned(table: list[list[str]], values: list[str]) -> list[str]:
    """Names to the left, numbers to the right; the values where there is room, else below."""
    widths = [max(width_of(row[at]) for row in table) for at in range(len(table[0]))]
    lines = []
    for number, row in enumerate(table):
        cells = [
            pad(cell, width, right=at > 2)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = GAP.join(cells)
        more = values[number - 1] if number else "values"
        room = WIDTH - width_of(line) - len(GAP)
        if width_of(more) <= room:
            lines.append(line + GAP + more)
        elif number == 0 or not more:
            lines.append(line)
        else:
            lines += [line, fit(f"{' ' * (widths[0] + len(GAP))}{more}", WIDTH)]
    return [fit(line, WIDTH) for line in lines]


def as_json(told: Page, saved: str | None) -> str:
    """One object; what is not finite is null."""
    return json.dumps(
        {
            "endpoint": told.endpoint,
            "generator": told.generator,
            "element_spec": str(told.spec),
            "epoch": told.epoch,
            "wanted": told.wanted,
            "elements": told.elements,
            "why_fewer": told.why_fewer,
            "seconds": round(told.seconds, 3),
            "batched": told.batched,
            "arrays": [_object(one) for one in told.statistics],
            "warnings": [{"path": w.path, "kind": w.kind, "text": w.text} for w in told.warnings],
            "saved": saved,
        },
        allow_nan=False,
    )


def _object(one: Statistics) -> dict[str, Any]:
    return {
        "path": one.path,
        "dtype": one.dtype,
        "shape": [
            low if low == high else [low, high]
            for low, high in zip(one.smallest, one.largest, strict=True)
        ],
        "values": one.values,
        "nan": one.nan,
        "inf": one.inf,
        "zeros": one.zeros,
        "min": _finite(one.low),
        "max": _finite(one.high),
        "mean": _finite(one.mean),
        "std": _finite(one.std),
        "distinct": one.distinct,
        "common": [
            [v if isinstance(v, str) else _finite(v), round(share, 6)] for v, share in one.common
        ],
        "different_elements": one.different,
        "empty_elements": one.empty,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
