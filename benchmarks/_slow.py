"""Generators of `must_show.py`; imported by workers, so no TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from genserver.server import Worker


def numbered(worker: Worker, n: int) -> Iterator[tuple[np.int64, np.int64]]:
    """(number, epoch): the numbers up to ``n``, divided."""
    for number in range(worker.index, n, worker.count):
        yield np.int64(number), np.int64(worker.epoch)


def endless(worker: Worker) -> Iterator[np.ndarray[Any, Any]]:
    """Numbered elements of 1 MB, for ever."""
    number = worker.index
    while True:
        yield np.full(250_000, number, np.float32)
        number += worker.count


def waiting(worker: Worker, seconds: float) -> Iterator[np.int64]:
    """A worker that waits for its disk or its simulator, ``seconds`` for each element."""
    while True:
        time.sleep(seconds)
        yield np.int64(worker.index)
