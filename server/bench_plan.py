"""``genserver bench``: what is measured, for how long, with how many workers. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .config import MAX_WORKERS

__all__ = ["WAITS", "Alone", "Timing", "timing", "worker_counts"]

#: A generator that uses less of a core than this while it makes elements waits for something.
WAITS = 0.5
#: Worker counts that are tried, and workers at most for each core, at least these.
COUNTS, EACH_CORE, AT_LEAST = 4, 2, 8
#: Of the memory, workers may take this share.
SHARE_OF_MEMORY = 0.5
SLICES = 3
#: What of a stage's time does not count, and its length in seconds at least.
WARM_UP, SHORTEST = 0.25, 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Alone:
    """The generator alone. Times are seconds, sizes bytes."""

    rates: tuple[float, ...]
    passes: int
    #: Elements of a pass, 0 where none ended.
    length: int
    spec: str
    nbytes: int
    p50: float
    p99: float
    #: Of a core, while it made elements; above 1 where it has several threads.
    cpu: float
    #: The share of the time in which it could have run and others had the cores.
    late: float
    rss: int
    #: Whether several workers can share a pass.
    divisible: bool


@dataclass(frozen=True, slots=True)
class Timing:
    """How long each stage is."""

    warm_up: float
    seconds: float
    slices: int = SLICES

    def plan(self, least: int) -> dict[str, Any]:
        """As the processes take it; ``least`` elements do not count."""
        limit = 2.0 * (self.warm_up + self.slices * self.seconds)
        return {
            "warm_up": self.warm_up, "seconds": self.seconds, "slices": self.slices,
            "least": least, "limit": limit,
        }  # fmt: skip


def timing(total: float, stages: int) -> Timing:
    """Of ``stages`` that together measure for ``total`` seconds."""
    share = max(SHORTEST, total / stages)
    return Timing(share * WARM_UP, share * (1.0 - WARM_UP) / SLICES)


def worker_counts(
    alone: Alone, *, asked: int | None, whole: bool, cores: int, memory: int
) -> tuple[int, ...]:
    """Up to ``asked``, or as many as cores and memory can use, at most those of a server: more than
    cores where the generator waits. One where it cannot be divided and no ``whole`` copies are
    right."""
    if not (alone.divisible or whole):
        return (1,)
    top = asked
    if top is None:
        by_cores = math.floor(cores / max(min(alone.cpu, 1.0), 1e-3) + 0.05)
        by_memory = int(memory * SHARE_OF_MEMORY / max(1, alone.rss))
        top = max(1, min(by_cores, by_memory, max(AT_LEAST, EACH_CORE * cores), MAX_WORKERS))
    steps = COUNTS - 1
    return tuple(sorted({round(top ** (step / steps)) for step in range(steps + 1)}))
