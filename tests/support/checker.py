"""One judge of what a trainer got: no gap, no repeat, right order, content and count.

Or one typed error that names the stream. Takes the elements of hashed.py as they are consumed;
owns nothing, and is used by one thread. In place of numpy elements those of a dataset will do,
after ``as_numpy_iterator``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import Any

from genserver.client import Client
from genserver.protocol.errors import GenserverError

from .hashed import TINY, crc_of, payload
from .processes import within

__all__ = ["Checker", "Fault", "Kind", "Life", "consume", "limited"]

#: Faults that are kept, and elements of one stream that may be missing: the rest would say no more.
MOST_FAULTS, MOST_MISSING = 20, 100_000


class Kind(Enum):
    """What can be wrong."""

    GAP = "an element never came"
    REPEAT = "an element came again"
    ORDER = "an element came late"
    TURN = "another worker's turn"
    CONTENT = "an element is not what was made"
    COUNT = "the number of elements at the end is wrong"
    STRANGER = "nobody makes such an element"
    ERROR = "an error that names no stream"


@dataclass(frozen=True, slots=True)
class Fault:
    """One finding."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.text}"


@dataclass(frozen=True, slots=True)
class Life:
    """A worker process as its elements show it: the first that came, and when (monotonic)."""

    pid: int
    first: int
    at: float


@dataclass(slots=True)
class _Stream:
    """One worker in one epoch."""

    name: str
    each: int | None
    next: int = 0
    missing: set[int] = field(default_factory=set)
    lives: list[Life] = field(default_factory=list)


class Checker:
    """Feed it with `take`, then ask with `judge`, or with `check`, which raises."""

    def __init__(
        self, each: Sequence[int | None], *, nbytes: int = TINY, epochs: Iterable[int] = (0,),
        start: Sequence[int] | None = None, in_turn: bool = False, by_life: bool = False,
    ) -> None:  # fmt: skip
        """``each`` worker makes so many elements an epoch, None for one without end.

        ``start`` is each worker's first element in the first epoch, of a pass that was resumed.
        With ``in_turn`` the workers' elements must come one by one in turn; with ``by_life`` each
        process of a worker counts from 0, as a random generator's does.
        """
        self.faults: list[Fault] = []
        self.taken = 0
        self._nbytes = nbytes
        self._by_life = by_life
        self._each = list(each)
        epochs = list(epochs)
        self._streams = {
            (worker, epoch): _Stream(f"worker {worker}, epoch {epoch}", n)
            for epoch in epochs
            for worker, n in enumerate(each)
        }
        for worker, first in enumerate(start or ()):
            self._streams[worker, epochs[0]].next = first
        self._turns = self._in_turn(epochs) if in_turn else None

    def take(self, element: Any) -> None:
        """The next element that the trainer consumed."""
        self.taken += 1
        label, data, crc = element
        worker, epoch, number, pid = label.tolist()
        stream = self._streams.get((worker, epoch))
        if stream is None or number < 0:
            self._found(Kind.STRANGER, f"worker {worker}, epoch {epoch}, element {number}")
            return
        if self._turns is not None and next(self._turns, None) != (worker, epoch, number):
            self._found(Kind.TURN, f"{stream.name}, element {number}")
        expected = payload(worker, epoch, number, self._nbytes)
        if data.tobytes() != expected.tobytes() or int(crc) != crc_of(expected):
            self._found(Kind.CONTENT, f"{stream.name}, element {number}")
        if not stream.lives or stream.lives[-1].pid != pid:
            stream.lives.append(Life(pid, number, time.monotonic()))
            if self._by_life:
                stream.next = 0
        self._place(stream, number)

    def judge(self, end: BaseException | None = None, *, whole: bool = True) -> list[Fault]:
        """Every finding. ``end`` is the error that ended the pass, if one did.

        ``whole`` is False for a trainer that left by itself: then the last elements may lack.
        """
        faults = list(self.faults)
        for stream in self._streams.values():
            faults += [
                Fault(Kind.GAP, f"{stream.name}, elements {first} to {last}")
                for first, last in _runs(sorted(stream.missing))
            ]
            if end is None and whole and stream.next != stream.each:
                text = f"{stream.name}: {stream.next} of {stream.each}"
                faults.append(Fault(Kind.COUNT, text))
        if end is not None and not _names_a_stream(end):
            faults.append(Fault(Kind.ERROR, f"{type(end).__name__}: {end}"))
        return faults

    def check(self, end: BaseException | None = None, *, whole: bool = True) -> None:
        """`AssertionError` with every finding, if there is one."""
        faults = self.judge(end, whole=whole)
        assert not faults, "\n".join(map(str, faults))

    def lives(self, worker: int, epoch: int = 0) -> list[Life]:
        """The processes that an element of a worker came from, in this order."""
        return list(self._streams[worker, epoch].lives)

    def got(self, worker: int, epoch: int = 0) -> int:
        """How far a worker's elements came."""
        return self._streams[worker, epoch].next

    def is_over(self, worker: int, epoch: int = 0) -> bool:
        """Whether a worker's last element has come."""
        stream = self._streams[worker, epoch]
        return stream.next == stream.each

    def _place(self, stream: _Stream, number: int) -> None:
        name = f"{stream.name}, element {number}"
        if number == stream.next:
            stream.next += 1
        elif number > stream.next:
            room = MOST_MISSING - len(stream.missing)
            stream.missing.update(range(stream.next, min(number, stream.next + room)))
            stream.next = number + 1
        elif number in stream.missing:
            stream.missing.remove(number)
            self._found(Kind.ORDER, name)
        else:
            self._found(Kind.REPEAT, name)
        if stream.each is not None and number >= stream.each:
            self._found(Kind.STRANGER, f"{name} of {stream.each}")

    def _found(self, kind: Kind, text: str) -> None:
        if len(self.faults) < MOST_FAULTS:
            self.faults.append(Fault(kind, text))

    def _in_turn(self, epochs: Sequence[int]) -> Iterator[tuple[int, int, int]]:
        """Whose turn it is, one after the other."""
        for epoch in epochs:
            first = [self._streams[worker, epoch].next for worker in range(len(self._each))]
            for number in count(min(first)):
                turn = [
                    worker
                    for worker, each in enumerate(self._each)
                    if number >= first[worker] and (each is None or number < each)
                ]
                yield from ((worker, epoch, number) for worker in turn)
                if not turn:
                    break


def consume(
    elements: Iterable[Any], checker: Checker, *, limit: int | None = None
) -> GenserverError | None:
    """Take all elements, or until ``limit`` were taken in all; the error that ended them."""
    if limit is not None and checker.taken >= limit:
        return None
    try:
        for element in elements:
            checker.take(element)
            if checker.taken == limit:
                break
    except GenserverError as error:
        return error
    return None


@contextmanager
def limited(client: Client, seconds: float) -> Iterator[None]:
    """After so many seconds the client is closed, and whoever waits for it gets `Closed`."""
    with within(seconds, client.close):
        yield


def _names_a_stream(end: BaseException) -> bool:
    """One of genserver's errors, as itself or in TensorFlow's words, with its worker or server."""
    text = str(end)
    typed = isinstance(end, GenserverError) or "genserver" in text
    return typed and ("worker" in text or "tcp://" in text or "ipc://" in text)


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """(first, last) of each run of consecutive numbers."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs
