"""Numbers as fast as images of 1 MB go: what `telemetry.py` adds to the cost of an element."""

from __future__ import annotations

import time
from collections.abc import Iterator

from genserver.server import Worker

__all__ = ["numbers"]

#: Seconds between two elements of a worker: two of them make 2,000 a second.
PACE = 0.001


def numbers(worker: Worker) -> Iterator[int]:
    """One at a time, each as an element of its own on the wire."""
    due = time.monotonic()
    number = worker.index
    while True:
        due = max(due + PACE, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))
        yield number
        number += worker.count
