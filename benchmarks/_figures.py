"""Statistics of slices: percentiles, spread, ratios within a round. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice of time showed; None where a reference has no such thing."""

    #: Elements per second.
    rate: float
    #: CPU time of the trainer's process per element, all of its threads, in milliseconds.
    cpu_ms: float | None = None
    #: Of ``next``, in milliseconds.
    p50_ms: float | None = None
    p99_ms: float | None = None
    #: Seconds from the start of the pass to its first element; of the first pass, opening included.
    first_s: float | None = None
    trainer_mib: float | None = None
    producers_mib: float | None = None


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of the rounds, and their range."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratios(rates: Sequence[float], base: Sequence[float]) -> list[float]:
    """Round by round: what slows a whole round down cancels out."""
    return [a / b for a, b in zip(rates, base, strict=True)]


def known(values: Sequence[float | None]) -> list[float]:
    """Those that were measured."""
    return [value for value in values if value is not None]
