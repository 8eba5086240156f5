"""Rows, the host they come from, and how both are shown. Measures nothing."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

#: Asked for their version; TensorFlow's distribution has several names, its module has one.
MODULES = ("tensorflow", "numpy", "zmq")
HEADINGS = ("", "elements/s", "min - max", "of plain", "of bare-2", "trainer CPU")


@dataclass(frozen=True, slots=True)
class Row:
    """One way through one workload; lists have one figure per repeat."""

    workload: str
    way: str
    rates: list[float]
    #: The trainer's CPU time per element, in milliseconds; empty where no trainer takes part.
    cpu_ms: list[float]
    #: Median over the repeats of this rate by the other's in the same repeat.
    of_plain: float
    of_bare: float | None


@dataclass(frozen=True, slots=True)
class Host:
    """What the figures depend on."""

    processor: str
    cores: int
    python: str
    packages: dict[str, str]
    #: The load average of the last minute before the start: above 0.5, mistrust the figures.
    load: float


def paired(rates: Sequence[float], base: Sequence[float]) -> float:
    """The median of the ratios within a repeat: what slows a whole repeat down cancels out."""
    return median(a / b for a, b in zip(rates, base, strict=True))


def describe_host() -> Host:
    """This machine, without its name."""
    packages = {"genserver-data": importlib.metadata.version("genserver-data")}
    packages |= {name: importlib.import_module(name).__version__ for name in MODULES}
    load = os.getloadavg()[0]
    return Host(_processor(), _cores(), platform.python_version(), packages, round(load, 2))


def host_lines(host: Host) -> str:
    """The host as text."""
    packages = ", ".join(f"{name} {version}" for name, version in host.packages.items())
    return (
        f"{host.cores} cores of {host.processor}, load {host.load} before the start\n"
        f"Python {host.python}, {packages}"
    )


def table(title: str, rows: Sequence[Row]) -> str:
    """One workload's rows under its title, in columns."""
    cells = [(title, *HEADINGS[1:]), *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS))]
    return "\n".join(_aligned(line, widths) for line in cells)


def write_json(path: Path, host: Host, rows: Sequence[Row], **conditions: float) -> None:
    """Everything, unrounded."""
    document = {
        "host": asdict(host), "conditions": conditions, "rows": [asdict(row) for row in rows],
    }  # fmt: skip
    path.write_text(json.dumps(document, indent=1) + "\n")


def _cells(row: Row) -> tuple[str, ...]:
    return (
        f"  {row.way}",
        _number(median(row.rates)),
        f"{_number(min(row.rates))} - {_number(max(row.rates))}",
        f"{row.of_plain:.2f}",
        "" if row.of_bare is None else f"{row.of_bare:.2f}",
        f"{median(row.cpu_ms):.4f} ms" if row.cpu_ms else "",
    )


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        text.ljust(width) if i == 0 else text.rjust(width)
        for i, (text, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


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
