"""The four workloads of the benchmarks, as generators that a server can import.

The first three give out arrays that were made before the first element, so that what is
measured is the way from the generator to the trainer; the fourth is work and next to no
transport. All are endless. Imports no TensorFlow: the workers import this module too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import numpy as np
from _spin import ELEMENT_SECONDS, spin
from genserver.server import Worker

#: Elements that the cheap generators cycle over.
PREPARED = 8

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


def python(worker: Worker, loops: int) -> Iterator[int]:  # noqa: ARG001  # it divides the work
    """Numbers that each take ``loops`` iterations of pure Python."""
    while True:
        yield spin(loops)


@dataclass(frozen=True, slots=True)
class Workload:
    """One of them, with what TensorFlow must be told; ``parts`` are (shape, dtype)."""

    title: str
    generator: Callable[..., Iterator[Any]]
    parts: tuple[tuple[tuple[int, ...], str], ...]
    #: What the consumer gives to ``.batch``; 0 is single elements.
    batch: int = 0
    arguments: Mapping[str, int] = field(default_factory=dict)
    #: Whether two bare processes, which only work, are run beside it.
    has_ideal: bool = False

    @property
    def name(self) -> str:
        return self.generator.__name__

    @property
    def target(self) -> str:
        """What a server is asked to serve, from this folder."""
        return f"{self.generator.__module__}:{self.name}"

    def call(self, index: int = 0, count: int = 1) -> Iterator[Any]:
        """The generator, without a server."""
        return self.generator(Worker(index, count), **self.arguments)


def make_workloads(loops: int) -> tuple[Workload, ...]:
    """The table; ``loops`` is what one element of "python" is made of."""
    return (
        Workload(
            "(28,28) f4 + label, batch(256)",
            digits,
            (((28, 28), "float32"), ((), "int64")),
            batch=256,
        ),
        Workload(
            "(256,256,3) f4 + (256,256,1) i4",
            segments,
            (((256, 256, 3), "float32"), ((256, 256, 1), "int32")),
        ),
        Workload("(128,128,128) f4", volumes, (((128, 128, 128), "float32"),)),
        Workload(
            f"pure Python, {ELEMENT_SECONDS * 1000:.0f} ms per element",
            python,
            (((), "int64"),),
            arguments={"loops": loops},
            has_ideal=True,
        ),
    )


def _normal(worker: Worker, *shape: int) -> Array:
    return worker.rng.standard_normal(shape, np.float32)


def _classes(worker: Worker, *shape: int) -> Array:
    return worker.rng.integers(4, size=shape, dtype=np.int32)
