"""A shuffle buffer with a size in bytes, which a thread fills while elements are drawn from it."""

import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, Generic, TypeVar

import numpy as np

__all__ = ["payload", "shuffled"]

Element = TypeVar("Element")

TURN_SECONDS = 1.0  # the longest single wait; each is repeated while there is something to wait for
STOP_SECONDS = 60.0  # how long closing waits for an element that is being made


def shuffled(
    elements: Iterable[Element], *, nbytes: int, rng: np.random.Generator
) -> Generator[Element, None, None]:
    """Yield each of the elements once, in random order, while a thread makes the next ones.

    At most ``nbytes`` bytes of elements are held. An element that is larger than all before it may
    go beyond that by its own size, because nobody knows its size before it is made.

    Half of the bytes are the pool, from which elements are drawn uniformly; the other half are read
    ahead, for the time in which the source makes nothing. The first draw waits until both are full.
    After each draw the pool is filled in the order of the source, and what is missing is waited
    for. So nothing is drawn but from a full pool, or after the end of the source: the order depends
    on the elements and ``rng`` alone, never on which thread was faster, and a seeded ``rng`` gives
    the same order in every run.

    The draws come from a child that is spawned from ``rng``; the source may use ``rng`` itself. It
    runs in the thread: numpy's global random state and ``worker.empty`` are not for it.

    An exception of the source is raised after the elements before it. Closing the generator stops
    the thread and waits for its end, which is that of the element in work.
    """
    if nbytes < 1:
        raise ValueError(f"nbytes must be 1 or more, and is {nbytes}")
    return _draws(_Buffer(elements, nbytes), rng.spawn(1)[0])


def payload(element: Any) -> int:
    """Bytes of the arrays and numbers in an element, at any depth."""
    if isinstance(element, Mapping):
        return sum(map(payload, element.values()))
    if isinstance(element, tuple | list):
        return sum(map(payload, element))
    return np.asarray(element).nbytes


def _draws(buffer: "_Buffer[Element]", rng: np.random.Generator) -> Generator[Element, None, None]:
    # A daemon: a source that never returns must not keep the process from ending.
    thread = threading.Thread(target=buffer.fill, name="shuffled", daemon=True)
    thread.start()
    try:
        buffer.wait_until_full()
        while count := buffer.fill_pool():
            yield buffer.take(int(rng.integers(count)))
        buffer.raise_error()
    finally:
        buffer.close()
        _join(thread)


def _join(thread: threading.Thread) -> None:
    deadline = time.monotonic() + STOP_SECONDS
    while thread.is_alive() and time.monotonic() < deadline:
        thread.join(TURN_SECONDS)
    if thread.is_alive():
        warnings.warn(
            f"shuffled: the source has been at one element for {STOP_SECONDS:g} s; its thread ends "
            "after that", RuntimeWarning, stacklevel=2,
        )  # fmt: skip


class _Buffer(Generic[Element]):
    """What the two threads share. One calls `fill`, the other one everything else."""

    def __init__(self, elements: Iterable[Element], nbytes: int) -> None:
        self._elements = elements
        self._nbytes = nbytes
        self._changed = threading.Condition()  # guards all that follows
        self._pool: list[tuple[Element, int]] = []  # with their bytes
        self._ahead: deque[tuple[Element, int]] = deque()  # in the order of the source
        self._pooled = 0  # bytes
        self._held = 0  # bytes, of the pool and of what is ahead
        self._largest = 0  # bytes of an element so far
        self._ended = False
        self._closed = False
        self._error: BaseException | None = None

    def fill(self) -> None:
        """Read the source to its end, or until `close`; the thread's whole life."""
        try:
            self._read()
        except BaseException as error:  # noqa: BLE001  # the source's; `raise_error` raises it
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read(self) -> None:
        source = iter(self._elements)
        try:
            for element in source:
                self._put(element)
                del element  # or it would live on here after it was drawn
                if not self._wait_for_room():
                    break
        finally:
            if isinstance(source, Generator):
                source.close()  # here, where it ran: it may hold files open

    def _put(self, element: Element) -> None:
        size = max(1, payload(element))  # at 0 bytes the buffer would never be full
        with self._changed:
            self._ahead.append((element, size))
            self._held += size
            self._largest = max(self._largest, size)
            self._changed.notify_all()

    def _wait_for_room(self) -> bool:
        """For another element; False if nobody wants one any more."""
        with self._changed:
            self._wait(lambda: self._closed or self._has_room())
            return not self._closed

    def wait_until_full(self) -> None:
        """Or the source has ended. Without it the first draws would find nothing read ahead."""
        with self._changed:
            self._wait(lambda: self._ended or not self._has_room())

    def fill_pool(self) -> int:
        """Wait until the pool is full or the source has ended; the number of elements in it."""
        with self._changed:
            while True:
                # Where there is no room for the next element, it does not come before a draw.
                self._wait(lambda: self._ahead or self._ended or not self._has_room())
                if not self._ahead or not self._fits(self._ahead[0][1]):
                    return len(self._pool)
                self._pool.append(self._ahead.popleft())
                self._pooled += self._pool[-1][1]

    def take(self, at: int) -> Element:
        """Remove an element from the pool, which is in no order."""
        with self._changed:
            self._pool[at], self._pool[-1] = self._pool[-1], self._pool[at]
            element, size = self._pool.pop()
            self._pooled -= size
            self._held -= size
            self._changed.notify_all()
            return element

    def raise_error(self) -> None:
        """Raise what ended the source, if it was not its end."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # or its traceback, which has us in it, would keep us

    def close(self) -> None:
        """No more elements are wanted, and those here can go."""
        with self._changed:
            self._closed = True
            self._pool.clear()
            self._ahead.clear()
            self._changed.notify_all()

    def _has_room(self) -> bool:
        """For one that is no larger than all before it; an empty buffer has room for any."""
        return self._held == 0 or self._held + self._largest <= self._nbytes

    def _fits(self, size: int) -> bool:
        return not self._pool or self._pooled + size <= self._nbytes // 2

    def _wait(self, condition: Callable[[], object]) -> None:
        while not self._changed.wait_for(condition, TURN_SECONDS):
            pass
