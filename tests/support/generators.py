"""Generators that the tests serve; imported by workers, so it imports nothing of the tests."""

from __future__ import annotations

import faulthandler
import functools
import itertools
import logging
import os
import random
import re
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from genserver.server import Worker


def numbered(worker: Worker, n: int = 20) -> Iterator[tuple[np.int64, np.int64]]:
    """(number, epoch): the numbers up to n, divided."""
    for number in range(worker.index, n, worker.count):
        yield np.int64(number), np.int64(worker.epoch)


def whole(n: int = 10) -> Iterator[np.int64]:
    """A generator that cannot be divided."""
    for number in range(n):
        yield np.int64(number)


def places(worker: Worker) -> Iterator[dict[str, np.int64]]:
    """One element that says what the worker was told."""
    yield {
        "index": np.int64(worker.index), "count": np.int64(worker.count),
        "epoch": np.int64(worker.epoch), "seed": np.int64(worker.seed),
        "pid": np.int64(os.getpid()),
    }  # fmt: skip


def lengths(worker: Worker, texts: list[str]) -> Iterator[np.int64]:
    """How long each text is, divided."""
    for text in texts[worker.index :: worker.count]:
        yield np.int64(len(text))


def foreign() -> Iterator[np.int64]:
    """Prints what latin-1 cannot say, on both streams."""
    for number in range(3):
        sys.stdout.write(f"\N{CJK UNIFIED IDEOGRAPH-97F3} {number}\n")
        sys.stderr.write(f"{number}\n")
        yield np.int64(number)


def endless(worker: Worker, kib: int = 1024) -> Iterator[np.ndarray[Any, Any]]:
    """Numbered elements of ``kib`` KiB, for ever."""
    number = worker.index
    while True:
        yield np.full((kib * 256,), number, np.float32)
        number += worker.count


def napping(worker: Worker, seconds: float = 0.25, n: int = 10**9) -> Iterator[np.int64]:
    """A generator that waits for something else: a disk, a simulator."""
    for number in range(worker.index, n, worker.count):
        time.sleep(seconds)
        yield np.int64(number)


def resting(name: str, seconds: float) -> Iterator[np.ndarray[Any, Any]]:
    """Of an item elements of several sizes, without end, each after a nap."""
    for number in itertools.count():
        time.sleep(seconds)
        yield np.full(number % 3, len(name))


def told(folder: str, patience: float = 60.0) -> Iterator[np.int64]:
    """Element 0 at once, each other one when a file ``go`` lies in ``folder``, which it takes
    away; ends when there is a file ``over``, or after ``patience`` seconds without either."""
    go, over = Path(folder, "go"), Path(folder, "over")
    for number in itertools.count():
        yield np.int64(number)
        deadline = time.monotonic() + patience
        while not go.exists():
            if over.exists() or time.monotonic() > deadline:
                return
            time.sleep(0.01)  # between two looks
        go.unlink()


def hopeless(seconds: float) -> Iterator[np.int64]:
    """Takes its time to fail before the first element."""
    time.sleep(seconds)
    raise OSError("the disk is gone")
    yield np.int64(0)


def stuck(worker: Worker) -> Iterator[np.int64]:
    """Gives one element and takes an hour for the next."""
    yield np.int64(worker.index)
    time.sleep(3600)


def randoms(n: int = 3) -> Iterator[np.ndarray[Any, Any]]:
    """The global random states, as user code has them."""
    for _ in range(n):
        yield np.array([random.random(), np.random.random()])


def own_random(worker: Worker, n: int = 3) -> Iterator[np.ndarray[Any, Any]]:
    """The worker's own random generator."""
    for _ in range(n):
        yield worker.rng.random(2)


def failing(at: int = 3) -> Iterator[np.int64]:
    """Raises at element ``at``."""
    for number in range(at):
        yield np.int64(number)
    raise ValueError("the scan is upside down")


def scenes(worker: Worker) -> Iterator[dict[str, Any]]:
    """Images with an empty mask and their number, for ever."""
    for number in itertools.count(worker.index, worker.count):
        image = worker.rng.random((16, 24, 1), dtype=np.float32)
        yield {"image": image, "mask": np.zeros((16, 24), np.uint8), "number": np.int64(number)}


def changing() -> Iterator[np.ndarray[Any, Any]]:
    """The second element has another size."""
    yield np.zeros((2, 3), np.float32)
    yield np.zeros((2, 5), np.float32)


def reusing(n: int = 5) -> Iterator[np.ndarray[Any, Any]]:
    """Writes every element into one buffer."""
    buffer = np.empty(1000, np.int64)
    for number in range(n):
        buffer[:] = number
        yield buffer


def unable() -> Iterator[dict[str, Any]]:
    """Yields what cannot travel."""
    yield {"image": np.zeros(3), "label": None}


def nothing(worker: Worker) -> Iterator[np.int64]:
    """No element from worker 0."""
    if worker.index > 0:
        yield np.int64(worker.index)


def none_at_all() -> Iterator[np.int64]:
    """No element at all."""
    yield from ()


def dying(worker: Worker, at: int = 3) -> Iterator[np.int64]:
    """Worker 1 is killed at its element ``at``, as if out of memory."""
    number = 0
    while True:
        if worker.index == 1 and number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        yield np.int64(number)
        number += 1


def tidy(worker: Worker, folder: str) -> Iterator[np.int64]:
    """Leaves a file while it lives and removes it in its finally block."""
    path = Path(folder) / f"{os.getpid()}-{worker.index}-{worker.epoch}"
    try:
        path.touch()
        for number in range(10**9):
            yield np.int64(number)
    finally:
        path.unlink()


def parental(seconds: float = 600.0) -> Iterator[np.int64]:
    """Starts a process of its own."""
    import subprocess

    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({seconds})"])
    while True:
        yield np.int64(child.pid)


def forking(n: int = 10) -> Iterator[np.int64]:
    """A generator that cannot be divided, and forks a process that stays, with all that is open."""
    _forked()
    for number in range(n):
        yield np.int64(number)


@functools.cache
def _forked() -> int:
    """Once in each process."""
    child = os.fork()
    if not child:
        time.sleep(600)
        os._exit(0)
    return child


def texts() -> Iterator[dict[str, Any]]:
    """Strings, bytes, arrays of them, and numbers."""
    for number in range(3):
        yield {
            "name": f"scan {number} ü", "jpeg": bytes([number]) * 100_000,
            "tags": np.array(["a", "bb" * number]), "weight": 0.5 * number, "slices": number,
        }  # fmt: skip


def environment() -> Iterator[np.int64]:
    """The thread limits and hidden devices of a worker."""
    blas = int(os.environ["OMP_NUM_THREADS"]) + int(os.environ["OPENBLAS_NUM_THREADS"])
    yield np.int64(blas if os.environ["CUDA_VISIBLE_DEVICES"] == "-1" else -1)


def counting_imports(folder: str, n: int = 2) -> Iterator[np.int64]:
    """How often this module was imported in this worker, by a file per import."""
    for _ in range(n):
        yield np.int64(len(list(Path(folder).iterdir())))


if "GENSERVER_TEST_IMPORTS" in os.environ:
    tempfile.mkstemp(dir=os.environ["GENSERVER_TEST_IMPORTS"])

not_a_generator = 5


def returning() -> int:
    """A function that returns one thing instead of yielding several."""
    return 3


def talking(worker: Worker, n: int = 3) -> Iterator[np.int64]:
    """Prints, logs, warns and draws a progress bar."""
    logging.basicConfig(level=logging.INFO, format="%(name)s says %(message)s")
    for number in range(n):
        print("printed", number)  # noqa: T201  # what is tested
        logging.getLogger("mine").info("logged %d", number)
        warnings.warn(f"warned {number}", stacklevel=1)
        yield np.int64(number)
    sys.stderr.write("".join(f"\r{percent}%" for percent in range(101)) + "\n")


def crashing() -> Iterator[np.int64]:
    """Dies in native code at its second element."""
    yield np.int64(0)
    faulthandler._sigsegv()


def breaking() -> Iterator[np.int64]:
    """Has a breakpoint that was forgotten, or is wanted."""
    breakpoint()
    yield np.int64(1)


def marked(worker: Worker, kib: int = 1, n: int = 10**9) -> Iterator[tuple[Any, np.int64]]:
    """(array of ``kib`` KiB full of the worker's index, number within the worker)."""
    for number in range(n):
        yield np.full((kib * 256,), worker.index, np.float32), np.int64(number)


def named(worker: Worker, n: int = 1000) -> Iterator[dict[str, Any]]:
    """Texts and an array of another size now and then, numbered and divided."""
    for number in range(worker.index, n, worker.count):
        yield {"name": f"scan {number}", "row": np.full(number // 100 % 3, number)}


def uneven(
    worker: Worker, seek: bool = True, shortest: int = 5
) -> Iterator[tuple[np.ndarray[Any, Any], np.int64]]:
    """(random numbers, number): as many more as the worker's index is larger. Seeks, or not."""
    for number in range(worker.start if seek else 0, shortest + 3 * worker.index):
        rng = np.random.default_rng([worker.seed, worker.epoch, worker.index, number])
        yield rng.random(4), np.int64(worker.epoch * 10_000 + worker.index * 1000 + number)


def hanging(worker: Worker, how: str, at: int = 5) -> Iterator[np.int64]:
    """Does not come back from its element ``at``; "regex" keeps the interpreter meanwhile."""
    for number in range(worker.start, 10**9):
        if number == at and how == "regex":
            re.match("(a+)+$", "a" * 60 + "b")
        elif number == at:
            time.sleep(3600)
        yield np.int64(number)


def poisonous(worker: Worker, at: int = 5) -> Iterator[np.int64]:
    """Aborts at element ``at``, in every life."""
    for number in range(worker.start, 10**9):
        if number == at:
            os.abort()
        yield np.int64(number)


def seeking(worker: Worker, n: int = 10**9) -> Iterator[tuple[np.int64, np.int64]]:
    """(number, process id) from ``worker.start`` on."""
    for number in range(worker.start, n):
        yield np.int64(number), np.int64(os.getpid())


def orphaning(worker: Worker) -> Iterator[np.int64]:
    """Starts a process with each element that starts another and ends before it."""
    import subprocess

    while True:
        inner = f"{sys.executable} -c pass"
        subprocess.run(["sh", "-c", f"setsid {inner} &"], check=True)
        yield np.int64(worker.index)
