"""What the Keras and tf.data cases of the first hour serve; imports nothing of the tests."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from genserver.server import Worker

#: (features, target); the features are the number and the epoch.
Example = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def _example(number: int, worker: Worker) -> Example:
    return np.array([number, worker.epoch], np.float32), np.zeros(1, np.float32)


def finite(worker: Worker, n: int = 12) -> Iterator[Example]:
    """Every number below ``n`` once in each epoch, divided."""
    for number in range(worker.index, n, worker.count):
        yield _example(number, worker)


def endless(worker: Worker) -> Iterator[Example]:
    """The numbers from 0, divided, for ever."""
    for number in count(worker.index, worker.count):
        yield _example(number, worker)


def guarded(worker: Worker, folder: str) -> Iterator[Example]:
    """`endless`, with a file in ``folder`` for as long as the generator is open."""
    path = Path(folder) / f"{os.getpid()}-{worker.index}-{worker.epoch}"
    path.touch()
    try:
        yield from endless(worker)
    finally:
        path.unlink()


def weighted(worker: Worker, n: int = 12) -> Iterator[tuple[Any, Any, np.float32]]:
    """(x, y, sample_weight) with y = 1: only the examples from 0 to 3 weigh anything."""
    for number in range(worker.index, n, worker.count):
        x, _ = _example(number, worker)
        yield x, np.ones(1, np.float32), np.float32(number < 4)


def structured(worker: Worker, n: int = 12) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Two named inputs and two named targets: the sum and the product of the inputs."""
    for number in range(worker.index, n, worker.count):
        left, right = np.float32(number), np.float32(number + 1)
        yield (
            {"left": np.array([left]), "right": np.array([right])},
            {"sum": np.array([left + right]), "product": np.array([left * right])},
        )


def breaking(worker: Worker, at: int = 4) -> Iterator[Example]:
    """Raises after ``at`` examples."""
    for number in range(at):
        yield _example(number, worker)
    raise ValueError("the scan is upside down")


def numbered(worker: Worker, n: int = 20) -> Iterator[tuple[np.int64, np.int64]]:
    """(number, epoch), divided."""
    for number in range(worker.index, n, worker.count):
        yield np.int64(number), np.int64(worker.epoch)


def growing(worker: Worker, n: int = 6) -> Iterator[np.ndarray[Any, Any]]:
    """Number i as i + 1 copies of it."""
    for number in range(worker.index, n, worker.count):
        yield np.full(number + 1, number, np.int64)


def slow_pairs(worker: Worker) -> Iterator[Example]:
    """Endless pairs that the trainer has to wait for."""
    while True:
        time.sleep(0.05)
        yield _example(0, worker)


slow_pairs.length = "infinite"  # type: ignore[attr-defined]  # genserver reads it
