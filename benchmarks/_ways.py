"""The ways from a generator to the trainer that are compared, each as something to measure.

A way is opened once, servers and all, and measured in many slices; each slice has an iterator
of its own, which is gone when the slice returns.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tensorflow as tf
from _workloads import Workload
from genserver.client import from_server
from genserver.server import Server

HERE = Path(__file__).parent
#: Threads of the way "threads", and processes of "bare-2".
PARALLEL = 2
#: Elements or batches in front of the consumer, in the ways that are TensorFlow's own.
PREFETCH = 2
#: Seconds that a bare process may need beyond its slice.
SPARE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Slice:
    """What one slice of time showed; ``cpu_ms`` is the trainer's, per element."""

    rate: float
    cpu_ms: float | None


#: (seconds of warm-up, seconds that count) -> what they showed.
Measure = Callable[[float, float], Slice]


@dataclass(frozen=True, slots=True)
class Way:
    """A name, and how to open it for a workload."""

    name: str
    open: Callable[[Workload], AbstractContextManager[Measure]]


def ways_of(workload: Workload) -> tuple[Way, ...]:
    """All that are measured for ``workload``; the first is the baseline."""
    ways = (
        Way("plain", _plain),
        Way("threads", _threads),
        Way("served-1", partial(_served, workers=1)),
        Way("served-2", partial(_served, workers=2)),
    )
    return (*ways, Way("bare-2", _bare)) if workload.has_ideal else ways


@contextmanager
def _plain(workload: Workload) -> Iterator[Measure]:
    signature = _signature(workload)
    dataset = tf.data.Dataset.from_generator(workload.call, output_signature=signature)
    yield partial(_pull, _batched(dataset, workload).prefetch(PREFETCH), workload)


@contextmanager
def _threads(workload: Workload) -> Iterator[Measure]:
    def part(index: int) -> Iterator[Any]:
        return workload.call(int(index), PARALLEL)

    def one_thread(index: Any) -> Any:
        return tf.data.Dataset.from_generator(
            part, args=(index,), output_signature=_signature(workload)
        )

    dataset = tf.data.Dataset.range(PARALLEL).interleave(
        one_thread, cycle_length=PARALLEL, num_parallel_calls=PARALLEL, deterministic=False
    )
    yield partial(_pull, _batched(dataset, workload).prefetch(PREFETCH), workload)


@contextmanager
def _served(workload: Workload, workers: int) -> Iterator[Measure]:
    with Server(
        workload.target, workers=workers, arguments=workload.arguments, cwd=str(HERE)
    ) as server:
        dataset = _batched(from_server(server.endpoint), workload)
        yield partial(_pull, dataset, workload)


@contextmanager
def _bare(workload: Workload) -> Iterator[Measure]:
    yield partial(_spin_apart, workload)


def _pull(dataset: Any, workload: Workload, warm_up: float, seconds: float) -> Slice:
    """Iterate eagerly and use nothing: the consumer costs the same in all ways."""
    iterator = iter(dataset)
    _take_until(iterator, time.perf_counter() + warm_up)
    began, cpu_began = time.perf_counter(), time.process_time()
    steps, ended = _take_until(iterator, began + seconds)
    cpu = time.process_time() - cpu_began
    del iterator
    gc.collect()  # nothing of it may run beside the next slice
    elements = steps * max(1, workload.batch)
    return Slice(elements / (ended - began), 1000 * cpu / elements)


def _take_until(iterator: Iterator[Any], deadline: float) -> tuple[int, float]:
    """(steps, when the last one was done); at least one."""
    steps, now = 0, 0.0
    while now < deadline:
        next(iterator)
        steps += 1
        now = time.perf_counter()
    return steps, now


def _spin_apart(workload: Workload, warm_up: float, seconds: float) -> Slice:
    """Processes that work at the same time and serve nothing, summed up."""
    begin = time.monotonic() + warm_up
    command = [
        sys.executable,
        str(HERE / "_spin.py"),
        *map(str, (workload.arguments["loops"], begin, begin + seconds)),
    ]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PARALLEL)
    ]
    try:
        limit = warm_up + seconds + SPARE_SECONDS
        rates = [float(process.communicate(timeout=limit)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return Slice(sum(rates), None)


def _signature(workload: Workload) -> Any:
    specs = tuple(tf.TensorSpec(shape, tf.as_dtype(dtype)) for shape, dtype in workload.parts)
    return specs if len(specs) > 1 else specs[0]


def _batched(dataset: Any, workload: Workload) -> Any:
    return dataset.batch(workload.batch) if workload.batch else dataset
