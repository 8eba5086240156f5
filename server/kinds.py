"""What can be served, and how the elements of one pass come out of it.

Functions that yield or return an iterable, classes, callable objects, iterables, sequences,
functions over items and asynchronous ones become an iterator: made for one `Worker`, read by one
thread, closed at the end. Workers only.
"""

from __future__ import annotations

import functools
import inspect
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol

from genserver.protocol.messages import NO_MORE, Work

from .config import ConfigError
from .items import NOTHING, Division, Items, NoItem, Share, arguments_of
from .unbatch import unbatched
from .worker import Worker

if TYPE_CHECKING:
    from .feed import Feed

__all__ = [
    "Make", "call_maker", "is_coroutine", "items_maker", "method_maker", "one_by_one",
    "sequence_maker", "share_of", "unwrapped", "yields",
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
    if is_coroutine(function):
        raise ConfigError(
            f"{target} is an async function that makes one element: say over which items, or yield"
        )
    return lambda *given: _iterated(call(function, *given), target)


def yields(function: Any) -> bool:
    """Whether a call of it gives any number of elements, and not one."""
    code = _code_of(function)
    return inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code)


def is_coroutine(function: Any) -> bool:
    """Whether it is an ``async def`` that returns one value."""
    return inspect.iscoroutinefunction(_code_of(function))


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
    function: Any, items: Items | Feed, call: Call, target: str, *, concurrency: int = 1,
    unbatch: bool = False,
) -> Make:  # fmt: skip
    """Of a function that is called for each item that is the worker's, or each element of the stage
    before it.

    It may yield any number of elements, or return one; a tuple stands for several arguments. Of an
    async function so many calls are under way at once. With ``unbatch`` the rows of what an item
    gives are the elements.
    """
    coroutine, several = is_coroutine(function), yields(function)
    if coroutine and not isinstance(items, Items):
        raise ConfigError(
            f"{target} is an async function that makes one element, and a second stage works on "
            "one after the other: make it a plain function, or yield"
        )
    many = call_maker(function, call, target) if several else None

    def elements_of(worker: Worker, item: Any) -> Iterator[Any]:
        given = arguments_of(item)
        if many is not None:
            return many(worker, *given)
        return iter((_one(call(function, worker, *given), target),))

    # Nothing of it runs before the first element is wanted: by then the worker has its share.
    def make(worker: Worker) -> Iterator[Any]:
        # Who gives one element for each item goes on at any of them.
        share = share_of(worker, seeks=not (several or unbatch))
        if coroutine:
            assert isinstance(items, Items)  # a stage's elements are worked on one by one
            calls = functools.partial(call, function, worker)
            yield from _at_once(worker, items, calls, concurrency, share)
            return

        def begin(number: int, item: Any) -> Iterator[Any]:
            worker._begin(number)
            elements = elements_of(worker, item)
            return unbatched(elements) if unbatch else elements

        single = not (several or unbatch)
        yield from one_by_one(worker, items.reader(worker), begin, share, single=single)

    return make


def share_of(worker: Worker, *, seeks: bool) -> Share:
    """Which items are the worker's: those that it is dealt, or its part of all."""
    if worker._share is None:
        first = worker.start if seeks else 0
        worker._share = Division(worker.index, worker.count, first)
    elif not isinstance(worker._share, Division):
        _ = worker.start  # each item says where it begins
    return worker._share


class Reads(Protocol):
    """Where items are, by number: see `Items` and `Feed`."""

    @property
    def stride(self) -> int: ...
    def item(self, number: int) -> Any: ...
    def done(self, number: int) -> None: ...
    def close(self) -> None: ...


def one_by_one(
    worker: Worker, reader: Reads, begin: Callable[[int, Any], Iterator[Any]], share: Share, *,
    single: bool,
) -> Iterator[Any]:  # fmt: skip
    """The elements of each item of the worker's share, `NOTHING` where that is not known yet.

    ``begin`` gives those of an item, which is closed at the end; of a ``single`` one it is asked
    for no item whose one element has arrived.
    """
    if isinstance(share, Division):
        share.stride = reader.stride
    try:
        while True:
            work = share.next()
            if work is None:
                yield NOTHING
                continue
            if work.item == NO_MORE:
                return
            if single and work.skip:
                share.done(work)
                continue
            try:
                while (item := reader.item(work.item)) is NOTHING:
                    yield NOTHING
            except NoItem as end:
                share.done(work, end.total)
                continue
            elements = begin(work.item, item)
            del item  # the generator's own from here on
            yield from islice(elements, work.skip, None) if work.skip else elements
            reader.done(work.item)
            share = worker._share or share  # the first may have been made before it was dealt
            share.done(work)
    finally:
        reader.close()


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


def _at_once(
    worker: Worker, items: Items, calls: Callable[..., Any], concurrency: int, share: Share
) -> Iterator[Any]:
    """The results for the items of the worker's share, in their order."""
    from .asynchronous import Concurrent

    reader, under_way, over = items.reader(worker), Concurrent(concurrency), False
    works: deque[Work] = deque()
    try:
        while not over or works:
            while under_way.room and not over:
                work = share.next(wait=not works)
                if work is None:
                    break
                over = work.item == NO_MORE
                if over:
                    break
                if work.skip:  # which had its one element
                    share.done(work)
                    continue
                try:
                    given = arguments_of(reader.item(work.item))
                    under_way.start(functools.partial(calls, *given))
                except NoItem as end:
                    share.done(work, end.total)
                    continue
                except Exception as error:  # noqa: BLE001  # the user's; it has its turn as well
                    under_way.fail(error)
                works.append(work)
            if works:
                yield under_way.first()
                share = worker._share or share
                share.done(works.popleft())
            elif not over:
                yield NOTHING
    finally:
        under_way.close()


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
