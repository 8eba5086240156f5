"""How many elements a second come out of something that is read pass after pass.

For ``genserver bench``, whose stages are processes of either side; each reads in this one way, so
that they can be compared. Keeps no element. Belongs to the thread that reads.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

__all__ = ["Flow", "NothingCame", "Plan", "Rates", "percentiles", "rates_of"]

#: Between two looks at the clock, in seconds, and elements at most.
LOOK_EVERY, LOOK_ELEMENTS = 0.005, 4096
#: Elements that are timed one by one, at most.
TIMED = 20_000


class NothingCame(Exception):
    """A pass without elements; ``before`` is how many the passes before it had."""

    def __init__(self, before: int) -> None:
        super().__init__(before)
        self.before = before


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How long to read: ``warm_up`` seconds and at least ``least`` elements that do not count, then
    ``slices`` of ``seconds``. A slice holds one element at least; after ``limit`` seconds in all,
    none begins but the first."""

    warm_up: float
    seconds: float
    slices: int
    least: int = 1
    limit: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Elements a second in each slice; how many elements and passes began in all of them."""

    rates: tuple[float, ...]
    elements: int
    passes: int


class Flow:
    """Elements of one pass after the other, without end."""

    def __init__(self, begin: Callable[[], Iterator[Any]]) -> None:
        self._begin = begin
        self.passes = 0
        self.elements = self._read()

    def _read(self) -> Iterator[Any]:
        before = 0
        while True:
            self.passes += 1
            empty = True
            for element in self._begin():
                empty = False
                before += 1
                yield element
                del element  # whoever made it may want the memory for the next one
            if empty:
                raise NothingCame(before)


def rates_of(flow: Flow, plan: Plan, clock: Callable[[], float] = time.perf_counter) -> Rates:
    """Read as ``plan`` has it. Raises `NothingCame`, and what the elements' maker raises."""
    began = clock()
    take(flow.elements, plan.warm_up, clock, least=plan.least)
    rates: list[float] = []
    passes, taken = flow.passes, 0
    for _ in range(plan.slices):
        if rates and clock() - began > plan.limit:
            break
        count, seconds = take(flow.elements, plan.seconds, clock)
        taken += count
        rates.append(count / seconds)
    return Rates(rates=tuple(rates), elements=taken, passes=flow.passes - passes + 1)


def take(
    elements: Iterator[Any], seconds: float, clock: Callable[[], float], *, least: int = 1
) -> tuple[int, float]:
    """Read for so long, and at least so many: how many, in which time."""
    count, step, began = 0, 1, clock()
    while True:
        deque(islice(elements, step), maxlen=0)
        count += step
        spent = max(1e-9, clock() - began)
        if spent >= seconds and count >= least:
            return count, spent
        step = max(1, min(LOOK_ELEMENTS, int(count / spent * LOOK_EVERY)))


def percentiles(
    elements: Iterator[Any], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, float]:
    """Seconds that half of the elements took at most, and 99 of 100."""
    times: list[float] = []
    began = last = clock()
    while len(times) < TIMED and (last - began < seconds or not times):
        next(elements)
        now = clock()
        times.append(now - last)
        last = now
    times.sort()
    return times[len(times) // 2], times[(len(times) * 99) // 100]
