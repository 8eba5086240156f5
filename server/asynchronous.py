"""Asynchronous user code as plain iterators: an event loop that turns while an element is awaited.

`Driven` takes the elements of an async generator one at a time, `Concurrent` the results of many
calls in the order of the items. Each owns an event loop and what runs on it; belongs to the thread
that iterates, which is where the user's code runs, too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

__all__ = ["Concurrent", "Driven"]

_END = object()


class _Loop:
    """An event loop that only turns when it is asked to, until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def await_(self, awaited: Any) -> Any:
        """Let everything run until this is done; its result, or what it raises."""
        return self._loop.run_until_complete(awaited)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Begin something; it runs whenever the loop turns."""
        return self._loop.create_task(work)

    @property
    def closed(self) -> bool:
        """Whether nothing can be run on it any more."""
        return self._loop.is_closed()

    def close(self) -> None:
        """Cancel what is under way, let it end, and close. Idempotent."""
        if self.closed:
            return
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        if left:
            self.await_(asyncio.gather(*left, return_exceptions=True))
        self.await_(self._loop.shutdown_asyncgens())
        self._loop.close()


class Driven(Iterator[Any]):
    """The elements of an async generator, one at a time."""

    def __init__(self, elements: AsyncIterator[Any]) -> None:
        self._elements = elements
        self._loop = _Loop()

    def __next__(self) -> Any:
        if self._loop.closed:
            raise StopIteration
        element = self._loop.await_(_next(self._elements))
        if element is _END:
            self.close()
            raise StopIteration
        return element

    def close(self) -> None:
        """Run its finally blocks. Idempotent."""
        if self._loop.closed:
            return
        close = getattr(self._elements, "aclose", None)
        try:
            if close is not None:
                self._loop.await_(close())
        finally:
            self._loop.close()


class Concurrent:
    """Calls that are under way, so many at once; their results in the order of the calls."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._loop = _Loop()
        self._under_way: deque[asyncio.Task[Any]] = deque()

    @property
    def room(self) -> bool:
        """Whether one more may be begun."""
        return len(self._under_way) < self._concurrency

    def start(self, call: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Begin a call. Raises what making it raises."""
        self._under_way.append(self._loop.start(call()))

    def fail(self, error: Exception) -> None:
        """In the place of a call that could not be made: it has its turn like a result."""
        self._under_way.append(self._loop.start(_raise(error)))

    def first(self) -> Any:
        """What the first of them gives, or what it raises."""
        # Also where the first is done already: those that were just begun get their first turn.
        return self._loop.await_(_after_a_turn(self._under_way.popleft()))

    def close(self) -> None:
        """Cancel the calls that are under way. Idempotent."""
        for task in self._under_way:
            if task.done() and not task.cancelled():
                task.exception()  # nobody will ask for it; asyncio would say so
        self._under_way.clear()
        self._loop.close()


async def _next(elements: AsyncIterator[Any]) -> Any:
    return await anext(elements, _END)


async def _raise(error: Exception) -> Any:
    raise error


async def _after_a_turn(task: asyncio.Task[Any]) -> Any:
    await asyncio.sleep(0)
    return await task
