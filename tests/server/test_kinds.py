"""What can be served, as iterators for a worker: without processes."""

from __future__ import annotations

import asyncio
import functools
import sys
import types
from collections import namedtuple
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
import pytest
from genserver.protocol.errors import ElementError
from genserver.server import Worker
from genserver.server.config import ConfigError
from genserver.server.items import Items
from genserver.server.kinds import Make
from genserver.server.source import Source, load_source, source_over
from genserver.server.unbatch import unbatched

log: list[str] = []


def plain(n: int = 3) -> Iterator[int]:
    return iter(range(n))


class Rows:
    """Iterable; made anew for each pass."""

    def __init__(self, n: int = 3) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.n))


class Bag:
    """Iterable, of a known length; made once."""

    def __iter__(self) -> Iterator[str]:
        return iter(["one"])

    def __len__(self) -> int:
        return 1


class Called:
    """Called for each pass."""

    def __call__(self, worker: Worker) -> Iterator[int]:
        yield worker.index


class Counted:
    """Counts its instances, as the tutorial's generator does."""

    counter = 0

    def __init__(self) -> None:
        self.number = Counted.counter
        Counted.counter += 1
        self.passes = 0

    def read(self, title: str) -> Iterator[tuple[str, int, int]]:
        self.passes += 1
        yield title, self.number, self.passes


class Inherited(Counted):
    pass


class Numbered:
    """Elements by number, as a torch or Keras dataset has them."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, number: int) -> int:
        if not 0 <= number < 7:
            raise IndexError
        return number * number


@functools.cache
def cached(n: int = 2) -> list[int]:
    return list(range(n))


@functools.wraps(plain)
def wrapped(n: int = 2) -> Any:
    return tuple(range(n))


async def ticking(n: int = 3) -> AsyncIterator[int]:
    try:
        for number in range(n):
            await asyncio.sleep(0)
            yield number
    finally:
        log.append("closed")


def nothing() -> None:
    return None


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    made = types.ModuleType("made_for_this_test")
    for thing in (plain, Rows, Counted, Inherited, Numbered, ticking, nothing):
        setattr(made, thing.__name__, thing)
    made.called, made.numbered = Called(), Numbered()  # type: ignore[attr-defined]  # as a user has
    made.cached, made.wrapped, made.words, made.unordered = cached, wrapped, Bag(), {1, 2}  # type: ignore[attr-defined]  # as above
    monkeypatch.setitem(sys.modules, made.__name__, made)
    monkeypatch.setattr(Counted, "counter", 0)
    log.clear()
    return made.__name__


def load(module: str, name: str, **arguments: Any) -> Source:
    return load_source(f"{module}:{name}", arguments)


@pytest.mark.parametrize("name", ["plain", "cached", "wrapped", "Rows", "ticking"])
def test_whatever_gives_an_iterable_is_called_for_each_pass(module: str, name: str) -> None:
    """A function that returns one, a class of iterable objects, an async generator."""
    source = load(module, name, n=2)
    assert not source.divisible
    for _ in range(2):
        assert list(source.make(Worker())) == [0, 1]


def test_a_callable_object_is_a_function(module: str) -> None:
    """With its worker, if it wants one."""
    source = load(module, "called")
    assert source.divisible
    assert list(source.make(Worker(2, 3))) == [2]


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_a_sequence_is_divided_by_its_indices_and_seeks(module: str, count: int) -> None:
    """Its length is known, each element is one worker's, and a start is found at once."""
    source = load(module, "numbered")
    assert (source.divisible, source.length) == (True, 7)
    shares = [list(source.make(Worker(index, count))) for index in range(count)]
    assert sorted(n for share in shares for n in share) == [n * n for n in range(7)]
    for index, share in enumerate(shares):
        worker = Worker(index, count, start=1)
        assert list(source.make(worker)) == share[1:]
        assert worker.seeks


def test_what_can_only_be_iterated_over_is_not_divided(module: str) -> None:
    """Although its length is known."""
    source = load(module, "words")
    assert (source.divisible, source.length, list(source.make(Worker()))) == (False, 1, ["one"])


def test_a_set_is_refused(module: str) -> None:
    """Another process has its elements in another order, and what follows a death would differ."""
    with pytest.raises(ConfigError, match="is a set, whose order is another in each process: sort"):
        load(module, "unordered")


def test_a_method_has_an_object_for_each_worker_and_all_its_passes(module: str) -> None:
    """Numbered as if all had been made in one process, which is where a class would count them."""
    for index in range(3):
        Counted.counter = 0  # another process
        source = load(module, "Counted.read", title="Gen")
        for epoch in range(2):
            worker = Worker(0, 1, epoch, stream=index)
            assert list(source.make(worker)) == [("Gen", index, epoch + 1)]
    assert list(load(module, "Inherited.read", title="Gen").make(Worker())) == [("Gen", 3, 1)]


def test_a_call_without_elements_is_said(module: str) -> None:
    """A function that forgot to return anything fails with a sentence, not with numpy's."""
    with pytest.raises(TypeError, match=r":nothing gave a NoneType, over which nothing can iter"):
        load(module, "nothing").make(Worker())


def test_an_async_generator_is_closed(module: str) -> None:
    """Its finally block runs, also in the middle."""
    elements = load(module, "ticking").make(Worker())
    assert next(elements) == 0
    elements.close()  # type: ignore[attr-defined]  # as `Run` does
    assert log == ["closed"]
    assert list(load(module, "ticking", n=0).make(Worker())) == []


# Functions over items.


def over(function: Any, items: Any, worker: Worker, *args: Any, concurrency: int = 1) -> list[Any]:
    return list(made_over(function, items, *args, concurrency=concurrency)(worker))


def made_over(function: Any, items: Any, *args: Any, concurrency: int = 1) -> Make:
    return source_over(
        Items(items, "made:here"), function, {}, args, "made:here", concurrency=concurrency
    ).make


def test_each_item_is_one_workers() -> None:
    """Item i is worker i mod count's, and a tuple gives several arguments."""
    items = [(n, 10 * n) for n in range(7)]
    shares = [over(lambda a, b, c: a + b + c, items, Worker(w, 3), 100) for w in range(3)]
    assert shares == [[100 + 11 * n for n in range(w, 7, 3)] for w in range(3)]


def test_a_function_of_one_element_per_item_seeks() -> None:
    """What was delivered is not computed again."""
    computed = []
    worker = Worker(1, 2, start=2)
    assert over(lambda n: computed.append(n) or n, list(range(9)), worker) == [5, 7]
    assert computed == [5, 7]
    assert worker.seeks


def test_a_generator_over_items_yields_as_many_as_it_likes() -> None:
    """Also an asynchronous one; in the order of the items."""

    def several(n: int) -> Iterator[int]:
        yield from [n] * n

    async def awaiting(n: int) -> AsyncIterator[int]:
        for _ in range(n):
            await asyncio.sleep(0)
            yield n

    class Calling:
        def __call__(self, n: int) -> Iterator[int]:
            return several(n)

    class Yielding:
        def __call__(self, n: int) -> Iterator[int]:
            yield from several(n)

    for function in (several, awaiting, Yielding(), functools.wraps(several)(Calling())):
        assert over(function, [2, 0, 1], Worker()) == [2, 2, 1]


def test_a_generator_for_an_item_is_no_element() -> None:
    """A function that returns one would lose count of its elements: said, with what to write."""
    with pytest.raises(TypeError, match=r"for an item: .* must yield them itself"):
        over(lambda n: (x for x in range(n)), [3], Worker())


@pytest.mark.parametrize("concurrency", [1, 3, 50])
def test_async_calls_are_under_way_at_once_and_keep_their_order(concurrency: int) -> None:
    """Later items end first; never more calls than allowed are under way."""
    running, most = 0, 0

    async def load(n: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(20 - n):
            await asyncio.sleep(0)
        running -= 1
        return n

    assert over(load, range(20), Worker(), concurrency=concurrency) == list(range(20))
    assert most == min(concurrency, 20)


def test_a_call_that_fails_does_so_in_its_turn_and_ends_the_others() -> None:
    """What came before it arrives; those that are under way are cancelled at the end."""
    ended = []

    async def load(n: int) -> int:
        try:
            await asyncio.sleep(0 if n < 3 else 60)
            if n == 2:
                raise OSError("no such scan")
            return n
        finally:
            ended.append(n)

    elements = made_over(load, range(9), concurrency=4)(Worker())
    assert [next(elements), next(elements)] == [0, 1]
    with pytest.raises(OSError, match="no such scan"):
        next(elements)
    elements.close()  # type: ignore[attr-defined]  # as `Run` does
    assert sorted(ended) == list(range(len(ended)))
    assert len(ended) > 3


def test_items_that_fail_do_so_in_their_turn() -> None:
    """What was under way before arrives first."""

    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("no more names")

    class Again:
        def __iter__(self) -> Iterator[int]:
            return items()

    async def load(n: int) -> int:
        return n

    elements = made_over(load, Again(), concurrency=9)(Worker())
    assert [next(elements) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="no more names"):
        next(elements)
    elements.close()  # type: ignore[attr-defined]  # as `Run` does


# Batches.

Pair = namedtuple("Pair", "image label")


@pytest.mark.parametrize(
    "batch",
    [
        np.arange(6).reshape(3, 2),
        [[0, 1], [2, 3], [4, 5]],
        (np.arange(3), np.ones((3, 2))),
        {"x": np.arange(3), "y": (np.arange(3), ["a", "b", "c"])},
        Pair(np.zeros((3, 2)), np.arange(3)),
    ],
    ids=["array", "list", "tuple", "dict", "named"],
)
def test_rows_of_batches_are_elements(batch: Any) -> None:
    """In the batch's structure, in order, batch after batch."""
    rows = list(unbatched(iter([batch, batch])))
    assert len(rows) == 6
    for number, row in enumerate(rows):
        assert type(row) is type(batch) or not isinstance(batch, tuple | dict)
        if isinstance(batch, Pair):
            assert row.label == number % 3
        elif isinstance(batch, dict):
            assert (row["x"], row["y"][1]) == (number % 3, "abc"[number % 3])


def test_batches_that_do_not_fit_together_are_refused() -> None:
    """Arrays of different lengths, and what has no rows."""
    with pytest.raises(ElementError, match=r"element\[0\] has 2, element\[1\] has 3"):
        list(unbatched(iter([(np.zeros(2), np.zeros(3))])))
    with pytest.raises(ElementError, match="takes batches"):
        list(unbatched(iter([np.float32(3)])))


def test_a_generator_of_batches_is_closed() -> None:
    """With the iterator over its rows."""

    def batches() -> Iterator[Any]:
        try:
            yield np.zeros(3)
        finally:
            log.append("closed")

    log.clear()
    rows = unbatched(batches())
    next(rows)
    rows.close()  # type: ignore[attr-defined]  # as `Run` does
    assert log == ["closed"]
