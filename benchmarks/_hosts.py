"""The generator of `hosts.py` that only waits; imported by workers, so no TensorFlow."""

from __future__ import annotations

import time
from collections.abc import Iterator

from genserver.server import Worker


def naps(worker: Worker, seconds: float) -> Iterator[tuple[int, int]]:
    """(worker, number), each after so many seconds, as of a disk or a simulator. Endless."""
    number = 0
    while True:
        time.sleep(seconds)
        yield worker.index, number
        number += 1
