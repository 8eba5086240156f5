"""What the benchmarks serve: generators that a worker can import, and a table of them.

The cheap ones give out arrays that were made before the first element, so that what is measured
is the way from the generator to the trainer; the last two are work and next to no transport. All
are endless. Imports no TensorFlow: the workers of every loader import this module too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle
from math import prod
from typing import Any

import numpy as np
from _spin import spin
from genserver.server import Worker

#: Elements that the cheap generators cycle over; of the largest, which would not fit, fewer.
PREPARED, PREPARED_SCANS = 8, 2
SCAN = (512, 512, 300)

Array = np.ndarray[Any, np.dtype[Any]]


def digits(worker: Worker) -> Iterator[tuple[Array, int]]:
    """Small pictures with a label."""
    yield from cycle([(_normal(worker, 28, 28), label) for label in range(PREPARED)])


def segments(worker: Worker) -> Iterator[tuple[Array, Array]]:
    """Colour pictures with a class for each pixel."""
    yield from cycle(
        [(_normal(worker, 256, 256, 3), _classes(worker, 256, 256, 1)) for _ in range(PREPARED)]
    )


def volumes(worker: Worker) -> Iterator[Array]:
    """Cubes of 8 MiB."""
    yield from cycle([_normal(worker, 128, 128, 128) for _ in range(PREPARED)])


def filled(worker: Worker) -> Iterator[Array]:
    """Cubes of 8 MiB written where the trainer will read them; every byte tells their number."""
    number = worker.index
    while True:
        volume = worker.empty((128, 128, 128), np.float32)
        volume.view(np.uint8).fill(number % 251)
        yield volume
        number += worker.count


def scans(worker: Worker) -> Iterator[Array]:
    """Whole volumes of 300 MiB."""
    yield from cycle([_normal(worker, *SCAN) for _ in range(PREPARED_SCANS)])


def python(worker: Worker, loops: int) -> Iterator[int]:  # noqa: ARG001  # it divides the work
    """Numbers that each take ``loops`` iterations of pure Python."""
    while True:
        yield spin(loops)


@dataclass(frozen=True, slots=True)
class Workload:
    """One of them, with what TensorFlow must be told; ``parts`` are (shape, dtype)."""

    name: str
    title: str
    generator: Callable[..., Iterator[Any]]
    parts: tuple[tuple[tuple[int, ...], str], ...]
    #: Elements of a batch; 0 is single elements.
    batch: int = 0
    #: What one element costs in pure Python.
    milliseconds: int = 0
    #: Elements that pass before a slice counts, beside its seconds of warm-up.
    settle: int = 0
    #: Too large to have several ways open at once: each is closed after each of its slices.
    alone: bool = False

    @property
    def target(self) -> str:
        """What a server is asked to serve, from this folder."""
        return f"{self.generator.__module__}:{self.generator.__name__}"

    @property
    def nbytes(self) -> int:
        """Of one element."""
        return sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in self.parts)

    def arguments(self, loops_per_ms: float) -> dict[str, int]:
        """Keyword arguments of the generator."""
        return {"loops": round(loops_per_ms * self.milliseconds)} if self.milliseconds else {}

    def call(self, loops_per_ms: float, index: int = 0, count: int = 1) -> Iterator[Any]:
        """The generator, without a server."""
        return self.generator(Worker(index, count), **self.arguments(loops_per_ms))


_DIGIT = (((28, 28), "float32"), ((), "int64"))
_SEGMENT = (((256, 256, 3), "float32"), ((256, 256, 1), "int32"))
_VOLUME = (((128, 128, 128), "float32"),)
_NUMBER = (((), "int64"),)

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("small", "(28,28) f4 + label, batches of 256", digits, _DIGIT, batch=256),
        Workload("image", "(256,256,3) f4 + (256,256,1) i4", segments, _SEGMENT),
        Workload(
            "image8", "(256,256,3) f4 + (256,256,1) i4, batches of 8", segments, _SEGMENT, batch=8
        ),
        Workload("volume", "(128,128,128) f4, 8 MiB", volumes, _VOLUME),
        Workload("filled", "(128,128,128) f4, written in place", filled, _VOLUME),
        Workload(
            "scan", "(512,512,300) f4, 300 MiB", scans, ((SCAN, "float32"),), settle=10, alone=True
        ),
        Workload("python6", "6 ms of pure Python each", python, _NUMBER, milliseconds=6),
        Workload("python50", "50 ms of pure Python each", python, _NUMBER, milliseconds=50),
    )
}


def _normal(worker: Worker, *shape: int) -> Array:
    return worker.rng.standard_normal(shape, np.float32)


def _classes(worker: Worker, *shape: int) -> Array:
    return worker.rng.integers(4, size=shape, dtype=np.int32)
