"""How many elements a second come out of something that is read pass after pass.

For ``genserver bench``, whose stages are processes of either side; each reads in this one way, so
that they can be compared. Keeps no element. Belongs to the thread that reads.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Flow", "NothingCame", "Plan", "Rates", "percentiles", "rates_of", "tell"]

#: Elements that are timed one by one, at most.
TIMED = 20_000


class NothingCame(Exception):
    """A pass without elements; ``before`` is how many the one before it had."""

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
    """Elements a second in each slice; how many passes all of them touched, and how long the last
    whole pass was, 0 where none ended."""

    rates: tuple[float, ...]
    passes: int
    length: int


class Flow:
    """Elements of one pass after the other, without end."""

    def __init__(self, begin: Callable[[], Iterator[Any]]) -> None:
        self._begin = begin
        self.passes = 0
        #: Of the last pass that ended.
        self.length = 0
        self.elements = self._read()

    def _read(self) -> Iterator[Any]:
        while True:
            self.passes += 1
            count = 0
            for element in self._begin():
                count += 1
                yield element
                del element  # whoever made it may want the memory for the next one
            if not count:
                raise NothingCame(self.length)
            self.length = count


def rates_of(flow: Flow, plan: Plan, clock: Callable[[], float] = time.perf_counter) -> Rates:
    """Read as ``plan`` has it. Raises `NothingCame`, and what the elements' maker raises."""
    began = clock()
    take(flow.elements, plan.warm_up, clock, least=plan.least)
    rates: list[float] = []
    before = flow.passes
    for _ in range(plan.slices):
        if rates and clock() - began > plan.limit:
            break
        count, seconds = take(flow.elements, plan.seconds, clock)
        rates.append(count / seconds)
    return Rates(rates=tuple(rates), passes=flow.passes - before + 1, length=flow.length)


def take(
    elements: Iterator[Any], seconds: float, clock: Callable[[], float], *, least: int = 1
) -> tuple[int, float]:
    """Read for so long, and at least so many: how many, in which time."""
    count, began = 0, clock()
    # The clock is looked at for each, 60 ns: a few that were ready must not be taken for a pace.
    for element in elements:
        del element
        count += 1
        spent = clock() - began
        if spent >= seconds and count >= least:
            break
    return count, max(1e-9, spent)


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


def tell(descriptor: int, answer: Mapping[str, Any]) -> None:
    """Write what came of it as one line of JSON: its end is the answer's, whoever else holds the
    descriptor. Closes it."""
    with os.fdopen(descriptor, "w") as report:
        report.write(json.dumps(dict(answer)) + "\n")
