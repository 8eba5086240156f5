"""What the proof serves: numbers, each with an array that takes a while and the producer's name."""

import platform
from collections.abc import Iterator

import numpy as np
from genserver.server import Worker
from numpy.typing import NDArray


def numbers(worker: Worker, count: int) -> Iterator[tuple[int, NDArray[np.float32], str]]:
    """Every number below ``count`` once, over all workers of all producers."""
    mine = range(worker.index, count, worker.count)
    for number in mine[worker.start :]:
        noise = np.random.default_rng(number).standard_normal((64, 64, 64))
        yield number, np.fft.fftn(noise).real[:32, :32, :32].astype(np.float32), platform.node()
