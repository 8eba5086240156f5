"""One slice of one way, inside the process that plays the trainer."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from _case import Case, Passes
from _figures import Slice, percentile
from _memory import trainer_and_producers

#: Looks at the memory after a slice, and the seconds of reading between them.
LOOKS, LOOK_EVERY = 4, 0.1
#: The longest that elements are let pass in front of a slice.
SETTLE_SECONDS = 15.0
PAGE = 4096
#: Every so many elements are compared, where a case asks for it.
CHECK_EVERY = 100

#: What is done with an element beside receiving it.
Use = Callable[[Any], None]


def measure(passes: Passes, case: Case, began: float, warm_up: float, seconds: float) -> Slice:
    """A new pass, and its figures; ``began`` is what the first element is timed from."""
    use = _Check() if case.check else _nothing
    with passes() as iterator:
        next(iterator)
        first = time.perf_counter() - began
        _settle(iterator, case, warm_up)
        rate, cpu_ms, steps = _slice(iterator, case, seconds, use)
        trainer, producers = _peak_memory(iterator)
        del iterator
    gc.collect()  # nothing of it may run beside the next slice
    p50, p99 = (1000 * percentile(steps, share) for share in (0.5, 0.99))
    return Slice(rate, cpu_ms, p50, p99, first, trainer, producers)


def _settle(iterator: Iterator[Any], case: Case, warm_up: float) -> None:
    """Seconds, and elements where the workload asks for some and the way is not too slow."""
    began = time.perf_counter()
    seen = len(_take(iterator, began + warm_up, _nothing))
    while seen < case.workload.settle and time.perf_counter() < began + SETTLE_SECONDS:
        next(iterator)
        seen += 1


def _slice(
    iterator: Iterator[Any], case: Case, seconds: float, use: Use
) -> tuple[float, float, list[float]]:
    """(elements per second, CPU milliseconds per element, seconds of every step)."""
    began, cpu_began = time.perf_counter(), time.process_time()
    steps = _take(iterator, began + seconds, use)
    took, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    elements = len(steps) * case.per_step
    return elements / took, 1000 * cpu / elements, steps


def _take(iterator: Iterator[Any], deadline: float, use: Use) -> list[float]:
    """How long each ``next`` took until the deadline; at least one."""
    steps: list[float] = []
    now = time.perf_counter()
    while not steps or now < deadline:
        asked = now
        element = next(iterator)
        now = time.perf_counter()
        steps.append(now - asked)
        use(element)
        del element
    return steps


def _peak_memory(iterator: Iterator[Any]) -> tuple[float, float]:
    """The most of a few looks while reading goes on, outside of what is timed."""
    looks = []
    for _ in range(LOOKS):
        _take(iterator, time.perf_counter() + LOOK_EVERY, _nothing)
        looks.append(trainer_and_producers())
    return max(trainer for trainer, _ in looks), max(producers for _, producers in looks)


def _nothing(element: Any) -> None:
    """The consumer costs the same in all ways."""


class _Check:
    """Every page of an element of `filled` must hold the same byte: that of its number."""

    def __init__(self) -> None:
        self._seen = 0

    def __call__(self, element: Any) -> None:
        self._seen += 1
        if self._seen % CHECK_EVERY == 0:
            pages = np.frombuffer(memoryview(element), np.uint8)[::PAGE]
            if not (pages == pages[0]).all():
                raise AssertionError("an element mixes the bytes of several")
