"""What can be served, and how the elements of one pass come out of it.

Functions that yield or return an iterable, classes, callable objects, iterables, sequences,
functions over items and asynchronous ones become an iterator: made for one `Worker`, read by one
thread, closed at the end. Workers only.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from .config import ConfigError
from .worker import Worker

__all__ = [
    "Make", "call_maker", "items_maker", "method_maker", "sequence_maker", "unwrapped", "yields",
]  # fmt: skip

#: A new iterator over a worker's elements of one pass; of an item, where that is given.
Make = Callable[..., Iterator[Any]]
#: Calls a function with its arguments for a worker, and for an item, where that is given.
Call = Callable[..., Any]


def unwrapped(function: Any) -> Any:
    """What is behind partials and decorators."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.unwrap(function) if callable(function) else function


def call_maker(function: Any, call: Call, target: str) -> Make:
    """Of a callable."""
    if inspect.iscoroutinefunction(_code_of(function)):
        raise ConfigError(
            f"{target} is an async function that makes one element: say over which items, or yield"
        )
    return lambda *given: _iterated(call(function, *given), target)


def yields(function: Any) -> bool:
    """Whether a call of it gives any number of elements, and not one."""
    code = _code_of(function)
    return inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code)


def _code_of(function: Any) -> Any:
    """The function that runs when this is called."""
    inner = unwrapped(function)
    called = inspect.isroutine(inner) or inspect.isclass(inner)
    return inner if called else type(inner).__call__


def sequence_maker(sequence: Any) -> Make:
    """Of whatever has a length and numbers its elements, which divides the work and seeks."""

    def elements(worker: Worker) -> Iterator[Any]:
        first = worker.index + worker.start * worker.count
        for number in range(first, len(sequence), worker.count):
            yield sequence[number]

    return elements


def method_maker(owner: Any, name: str, call: Call, target: str) -> Make:
    """Of a method of the class ``owner``: each worker has an instance of its own for all passes."""
    instances: dict[int, Any] = {}

    def make(worker: Worker) -> Iterator[Any]:
        number = worker._stream
        if number not in instances:
            instances[number] = _instance(owner, number)
        return call_maker(getattr(instances[number], name), call, target)(worker)

    return make


def items_maker(
    function: Any, items: Iterable[Any], call: Call, concurrency: int, target: str
) -> Make:
    """Of a function that is called for each item: item i is worker i mod count's.

    It may yield any number of elements, or return one; a tuple stands for several arguments. Of an
    async function so many calls are under way at once.
    """

    def shares(worker: Worker, start: int) -> Iterator[tuple[Any, ...]]:
        mine = islice(items, worker.index + start * worker.count, None, worker.count)
        return (item if isinstance(item, tuple) else (item,) for item in mine)

    def single(worker: Worker) -> Iterator[Any]:
        for item in shares(worker, worker.start):
            yield _one(call(function, worker, *item), target)

    def several(worker: Worker) -> Iterator[Any]:
        make = call_maker(function, call, target)
        for item in shares(worker, 0):
            yield from make(worker, *item)

    def at_once(worker: Worker) -> Iterator[Any]:
        calls = (call(function, worker, *item) for item in shares(worker, worker.start))
        return _at_once(calls, concurrency)

    if inspect.iscoroutinefunction(_code_of(function)):
        return at_once
    return several if yields(function) else single


def _one(given: Any, target: str) -> Any:
    """What a call for an item returned, which is one element."""
    if isinstance(given, Iterator):
        raise TypeError(
            f"{target} gave a {type(given).__name__} for an item: a function that makes several "
            "elements of one must yield them itself (yield from ...)"
        )
    return given


def _iterated(given: Any, target: str) -> Iterator[Any]:
    """What a plain call returned, element by element."""
    if hasattr(given, "__aiter__"):
        return _driven(aiter(given))
    try:
        return iter(given)
    except TypeError:
        raise TypeError(
            f"{target} gave a {type(given).__name__}, over which nothing can iterate: it must "
            "yield its elements, or return an iterable of them"
        ) from None


# asyncio takes 50 ms to import, which most workers do without.


def _driven(elements: Any) -> Iterator[Any]:
    from .asynchronous import Driven

    return Driven(elements)


def _at_once(calls: Iterator[Any], concurrency: int) -> Iterator[Any]:
    from .asynchronous import Concurrent

    return Concurrent(calls, concurrency)


def _instance(owner: Any, number: int) -> Any:
    """Instance ``number`` of a class, as if all had been made in one process.

    A class that counts its instances changes its own attributes when one is made; such a one makes
    the earlier ones here, too, so that every worker has its own number.
    """
    before = dict(vars(owner))
    made = owner()
    if dict(vars(owner)) == before:
        return made
    for _ in range(number):
        made = owner()
    return made
