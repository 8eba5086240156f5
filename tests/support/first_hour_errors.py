"""Generators that go wrong; imported by workers, so it imports nothing of the tests."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from genserver.server import Worker


class Unpicklable(Exception):
    """Holds a lock, which cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Mute(Exception):
    """Has no text: asking for it raises."""

    def __str__(self) -> str:
        raise LookupError("the text is lost")


def make_error(kind: str) -> BaseException:
    """The exception that a test asks for by name."""
    return {
        "value": lambda: ValueError("the scan is upside down"),
        "unpicklable": lambda: Unpicklable("holds a lock"),
        "mute": Mute,
        "huge": lambda: ValueError("no such voxel: " + "x" * 10_000_000),
        "wide": lambda: ValueError("\U0001f9e0" * 100_000),
        "exit": lambda: SystemExit(3),
        "interrupt": KeyboardInterrupt,
        "stop": StopIteration,
        "surrogate": lambda: ValueError("file \udcff is not UTF-8"),
    }[kind]()


def raising(kind: str = "value", at: int = 0, n: int = 3) -> Iterator[np.int64]:
    """``n`` numbers, and an error in front of number ``at``."""
    for number in range(n + 1):
        if number == at:
            raise make_error(kind)
        if number < n:
            yield np.int64(number)


def exhausted_helper(n: int = 2) -> Iterator[np.int64]:
    """A bug: next() of an empty iterator inside the generator."""
    for number in range(n):
        yield np.int64(number)
    empty: Iterator[np.int64] = iter(())
    yield next(empty)


def deep() -> Iterator[np.int64]:
    """Fails far below a call stack of its own, with a cause."""
    yield np.int64(0)
    read_scan(20)


def read_scan(depth: int) -> None:
    """Recurse, then fail."""
    if depth:
        read_scan(depth - 1)
        return
    try:
        raise OSError("disk gone")
    except OSError as error:
        raise make_error("huge") from error


def shifted(function: Callable[..., Iterator[int]]) -> Callable[..., Iterator[int]]:
    """A decorator whose result is a plain iterator, not a generator."""

    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Iterator[int]:
        return map((10).__add__, function(*args, **kwargs))

    return inner


@shifted
def decorated(n: int = 3) -> Iterator[int]:
    """Numbers from 10 on."""
    yield from range(n)


#: Nothing that has elements.
MOST = 5


def uneven(worker: Worker) -> Iterator[tuple[np.int64, np.int64]]:
    """(worker, number): worker i has 3 * i numbers, so worker 0 has none."""
    for number in range(3 * worker.index):
        yield np.int64(worker.index), np.int64(number)


def odd_sized(n: int = 4) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """Sizes that change; a key that a shell would take for something else."""
    for number in range(n):
        yield {
            "it's $(rm)": np.full((2, number + 1), number, np.float32),
            "label": np.array(number),
        }


rows = iter([np.int64(n) for n in range(3)])


def used_up() -> Iterator[np.int64]:
    """Reads from an iterator that lives beside it."""
    yield from rows


def used_up_by_worker(worker: Worker) -> Iterator[np.int64]:
    """The same, of a generator whose elements may depend on the epoch."""
    yield from rows


called = raising()
lines = map(str, range(3))


def failing_worker(worker: Worker) -> Iterator[np.int64]:
    """Two numbers from every worker, then an error."""
    for number in range(2):
        yield np.int64(worker.index + worker.count * number)
    raise make_error("value")
