"""Generators whose elements say who they are and prove that they are whole.

Imported by workers, so it imports nothing of the tests; checker.py judges what became of the
elements. An element is (label, payload, crc): the label holds worker, epoch, number within the
worker and process id; every byte of the payload depends on the first three and on its place.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from genserver.server import Worker

__all__ = [
    "LARGE", "ORDERS", "TINY", "Element", "counting", "crc_of", "make", "open_ended", "payload",
    "poisoned", "seeking", "share",
]  # fmt: skip

#: Bytes of a payload: what travels in a chunk with others, and what travels by itself.
TINY, LARGE = 32, 2**20

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Element = tuple[np.ndarray[Any, np.dtype[np.int64]], Bytes, np.uint32]


def share(index: int, count: int, n: int) -> int:
    """How many of ``n`` elements worker ``index`` of ``count`` makes."""
    return len(range(index, n, count))


def payload(worker: int, epoch: int, number: int, nbytes: int) -> Bytes:
    """What an element's payload must be; ``nbytes`` is a multiple of 32."""
    key = np.frombuffer(hashlib.sha256(struct.pack("<qqq", worker, epoch, number)).digest(), "u8")
    if nbytes == TINY:
        return key.view(np.uint8)
    return (_noise(nbytes) ^ key[0]).view(np.uint8)


def crc_of(data: Bytes) -> int:
    """The checksum that travels with a payload."""
    return zlib.crc32(data)


@cache
def _noise(nbytes: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.random.Generator(np.random.PCG64(0)).integers(0, 2**64, nbytes // 8, np.uint64)


def make(worker: int, epoch: int, number: int, nbytes: int) -> Element:
    """One element, made by this process."""
    data = payload(worker, epoch, number, nbytes)
    label = np.array([worker, epoch, number, os.getpid()], np.int64)
    return label, data, np.uint32(crc_of(data))


def seeking(
    worker: Worker, n: int = 1000, nbytes: int = TINY, pause: float = 0.0, orders: str = ""
) -> Iterator[Element]:
    """``n`` elements over all workers; begins at ``worker.start``.

    Rests for ``pause`` seconds before each, and does what a file in the folder ``orders`` says.
    """
    for number in range(worker.start, share(worker.index, worker.count, n)):
        yield _next(worker, number, nbytes, pause, orders)


def counting(
    worker: Worker, n: int = 1000, nbytes: int = TINY, pause: float = 0.0, orders: str = ""
) -> Iterator[Element]:
    """The same, always from the first element on: whoever goes on runs it again."""
    for number in range(share(worker.index, worker.count, n)):
        yield _next(worker, number, nbytes, pause, orders)


def open_ended(
    worker: Worker, nbytes: int = TINY, pause: float = 0.0, made: str = ""
) -> Iterator[Element]:
    """Like `counting`, for ever.

    In the folder ``made`` a file named by the process is as long as the elements it made are many.
    """
    number = 0
    with open(Path(made) / str(os.getpid()) if made else os.devnull, "ab", buffering=0) as tally:
        while True:
            element = _next(worker, number, nbytes, pause, "")
            tally.write(b".")
            yield element
            number += 1


def poisoned(worker: Worker, at: int = 50, n: int = 1000) -> Iterator[Element]:
    """Worker 1 dies in native code whenever it makes its element ``at``."""
    for number in range(worker.start, share(worker.index, worker.count, n)):
        if worker.index == 1 and number == at:
            os.abort()
        yield _next(worker, number, TINY, 0.0, "")


def _next(worker: Worker, number: int, nbytes: int, pause: float, orders: str) -> Element:
    if pause:
        time.sleep(pause)
    if orders:
        _obey(orders)
    return make(worker.index, worker.epoch, number, nbytes)


def _obey(folder: str) -> None:
    """Carry out the order for this process, once: a file that is named ORDER-PID."""
    for name, order in ORDERS.items():
        path = Path(folder) / f"{name}-{os.getpid()}"
        if path.exists():
            path.unlink()
            order()


def _hang() -> None:
    """Hours in C, with the interpreter's lock held all the time."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def _swell() -> None:
    """Take memory until somebody forbids it; 4 GiB at most."""
    taken = [bytearray(2**24) for _ in range(256)]
    raise MemoryError(f"nobody minded {len(taken)} times 16 MiB")


def _sleep() -> None:
    """An hour in a system call, without the lock."""
    time.sleep(3600)


ORDERS: dict[str, Callable[[], None]] = {"hang": _hang, "swell": _swell, "sleep": _sleep}
