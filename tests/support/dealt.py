"""Functions over items, and pipelines, for servers that tests start."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from genserver.server import Worker, stage

#: Elements of one volume.
CUBES = 5


def several(number: int, worker: Worker) -> Iterator[tuple[int, int, int, float]]:
    """``number % 4`` elements: (item, k, pid, a random number of the item's own)."""
    for k in range(number % 4):
        yield number, k, os.getpid(), float(worker.rng.random())


def slow(number: int, seconds: float) -> tuple[int, int]:
    """(item, pid) after so long."""
    time.sleep(seconds)
    return number, os.getpid()


def failing(number: int) -> int:
    """All but item 5."""
    if number == 5:
        raise OSError("no such scan")
    return number


async def awaited(number: int) -> int:
    return number


def volumes(worker: Worker, n: int = 10, seconds: float = 0.0) -> Iterator[dict[str, Any]]:
    """``n`` volumes in all, of 256 KB: a dict, which tf.data could not hand on."""
    for number in range(worker.index, n, worker.count):
        time.sleep(seconds)
        yield {"voxels": np.full((16, 64, 64), number, "float32"), "name": f"scan {number}"}


def load(number: int) -> np.ndarray[Any, Any]:
    return np.full((16, 64, 64), number, "float32")


def cubes(worker: Worker, scan: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    """(a corner of the volume, (volume, k, pid)) for each k."""
    number = int(scan["name"].removeprefix("scan "))
    assert not scan["voxels"].flags.writeable
    for k in range(CUBES):
        yield scan["voxels"][:2, :2, k], np.array([number, k, os.getpid(), worker.index])


def slow_cubes(worker: Worker, scan: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    for cube in cubes(worker, scan):
        time.sleep(0.02)
        yield cube


def corner(volume: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return volume[:2, 0, 0]


def endless(worker: Worker) -> Iterator[dict[str, Any]]:
    number = worker.index
    while True:
        yield {"voxels": np.full((4, 4, 5), number, "float32"), "name": f"scan {number}"}
        number += worker.count


def broken(worker: Worker) -> Iterator[dict[str, Any]]:
    yield from volumes(worker, 4)
    raise OSError("the archive is damaged")


def note(text: str) -> None:
    """A line in the file that a test reads, whole beside those of other workers."""
    with open(os.environ["GENSERVER_TEST_NOTES"], "a") as file:
        file.write(f"{text}\n")


def noted_volumes(worker: Worker) -> Iterator[dict[str, Any]]:
    for volume in volumes(worker):
        note(f"worker {worker.index} load {volume['name']}")
        yield volume


def noted_cubes(worker: Worker, scan: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
    note(f"worker {worker.index} cut {scan['name']}")
    yield from cubes(worker, scan)


def refusing(scan: dict[str, Any]) -> Iterator[int]:
    if scan["name"] == "scan 3":
        raise ValueError("no brain in it")
    yield 1


def first_cannot(worker: Worker) -> Iterator[int]:
    raise OSError(f"no archive at all, worker {worker.index}")
    yield 0


pairs = stage(volumes, workers=2).then(cubes, workers=2)
uneven = stage(volumes, workers=3).then(cubes, workers=2)
by_items = stage(load, items=range(7), workers=2).then(corner, workers=2)
slowly = stage(volumes, workers=2).then(slow_cubes, workers=2)
for_ever = stage(endless, workers=2).then(cubes, workers=2)
damaged = stage(broken, workers=2).then(cubes, workers=2)
picky = stage(volumes, workers=2).then(refusing, workers=2)
hopeless = stage(first_cannot, workers=2).then(cubes, workers=2)
noted = stage(noted_volumes, workers=2).then(noted_cubes, workers=2)
whole_copies = stage(load, items=range(4), workers=2, sharding="off").then(corner, workers=2)
waiting = stage(load, items=range(4)).then(awaited)
alone = stage(volumes, workers=2)
