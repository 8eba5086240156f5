"""Rows, the host they come from, and how both are shown. Measures nothing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from _figures import Slice, known, ratios, spread

#: What is asked for its version; TensorFlow's distribution has several names, its module has one.
MODULES = ("tensorflow", "keras", "numpy", "zmq", "torch", "grain", "datasets")
HEADINGS = (
    "way", "into", "elements/s", "min - max", "of plain", "GB/s", "us/element", "trainer CPU ms",
    "trainer MiB", "producers MiB", "next p50 / p99 ms", "first / again s",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One way through one workload: a slice per round, or the reason why there is none."""

    workload: str
    way: str
    into: str
    #: Bytes of one element.
    nbytes: int
    slices: list[Slice]
    #: Round by round; empty where the baseline or this way has no figures.
    of_plain: list[float]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Host:
    """What the figures depend on."""

    processor: str
    cores: int
    python: str
    packages: dict[str, str]
    #: The load average of the last minute before the start: above 0.5, mistrust the figures.
    load: float


def describe_host() -> Host:
    """This machine, without its name."""
    owners = importlib.metadata.packages_distributions()
    packages = {"genserver-data": importlib.metadata.version("genserver-data")}
    packages |= {
        name: importlib.metadata.version(owners[name][0]) for name in MODULES if name in owners
    }
    load = os.getloadavg()[0]
    return Host(_processor(), _cores(), platform.python_version(), packages, round(load, 2))


def host_lines(host: Host) -> str:
    """The host as text."""
    packages = ", ".join(f"{name} {version}" for name, version in host.packages.items())
    return (
        f"{host.cores} cores of {host.processor}, load {host.load} before the start\n"
        f"Python {host.python}, {packages}"
    )


def make_row(
    workload: str, way: str, into: str, nbytes: int, slices: Sequence[Slice],
    plain: Sequence[Slice], reason: str,
) -> Row:  # fmt: skip
    """A row of what was measured; a way that failed on the way has a reason and no figures."""
    kept = [] if reason else list(slices)
    whole = len(kept) == len(plain)
    of_plain = ratios([s.rate for s in kept], [s.rate for s in plain]) if whole else []
    return Row(workload, way, into, nbytes, kept, of_plain, reason)


def table(title: str, rows: Sequence[Row]) -> str:
    """One workload's rows in Markdown, and below them why some have no figures."""
    reasons = [f"* {row.way}: {row.reason}" for row in rows if row.reason]
    lines = [f"### {title}", "", columns(HEADINGS, [_cells(row) for row in rows])]
    return "\n".join([*lines, *(["", *reasons] if reasons else [])])


def columns(headings: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, padded; the first column to the left, all others to the right."""
    lines = [headings, *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return "\n".join(_aligned(line, widths) for line in (headings, rule, *cells))


def write_json(path: Path, host: Host, rows: Sequence[Any], **conditions: float) -> None:
    """Everything, unrounded."""
    document = {
        "host": asdict(host), "conditions": conditions, "rows": [asdict(row) for row in rows],
    }  # fmt: skip
    path.write_text(json.dumps(document, indent=1) + "\n")


def number(value: float) -> str:
    """Three digits that count, and thousands apart."""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 100 else f"{value:.3g}"


def _cells(row: Row) -> tuple[str, ...]:
    if not row.slices:
        return (row.way, row.into, "see below", *[""] * (len(HEADINGS) - 3))
    rates = spread([one.rate for one in row.slices])
    first, *again = [one.first_s for one in row.slices]
    return (
        row.way,
        row.into,
        number(rates.median),
        f"{number(rates.low)} - {number(rates.high)}",
        number(median(row.of_plain)) if row.of_plain else "",
        number(rates.median * row.nbytes / 1e9),
        number(1e6 / rates.median),
        _middle([one.cpu_ms for one in row.slices]),
        _most([one.trainer_mib for one in row.slices]),
        _most([one.producers_mib for one in row.slices]),
        _pair([one.p50_ms for one in row.slices], [one.p99_ms for one in row.slices]),
        _pair([first], again),
    )


def _middle(values: Sequence[float | None]) -> str:
    measured = known(values)
    return number(median(measured)) if measured else ""


def _most(values: Sequence[float | None]) -> str:
    measured = known(values)
    return f"{max(measured):,.0f}" if measured else ""


def _pair(left: Sequence[float | None], right: Sequence[float | None]) -> str:
    parts = [_middle(left), _middle(right)]
    return " / ".join(part or "-" for part in parts) if any(parts) else ""


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        text.ljust(width) if i == 0 else text.rjust(width)
        for i, (text, width) in enumerate(zip(line, widths, strict=True))
    ]
    return f"| {' | '.join(cells)} |"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    """The model's name where Linux tells it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
