"""The generator of replay.py: elements of 64 KiB, each after a nap. Imported by workers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from genserver.server import Worker


def pictures(worker: Worker, nap: float = 0.0) -> Iterator[np.ndarray[Any, Any]]:
    """Endless; the same 64 pictures one after the other."""
    made = [np.full((128, 128), number, np.float32) for number in range(64)]
    number = worker.index
    while True:
        if nap:
            time.sleep(nap)
        yield made[number % len(made)]
        number += worker.count
