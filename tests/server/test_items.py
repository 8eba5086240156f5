"""Items as workers read them, and the share of one that is dealt nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count, islice
from typing import Any

import numpy as np
import pytest
from genserver.protocol.messages import NO_MORE
from genserver.server.config import ConfigError
from genserver.server.items import Division, Items, NoItem, Reader, arguments_of
from genserver.server.worker import Worker
from hypothesis import given
from hypothesis import strategies as st


class Again:
    """Iterable again and again, of a length that nobody knows; counts what it is asked for."""

    def __init__(self, items: Iterable[Any]) -> None:
        self.items = items
        self.readings = self.read = 0

    def __iter__(self) -> Iterator[Any]:
        self.readings += 1
        for item in self.items:
            self.read += 1
            yield item


class Endless:
    def __iter__(self) -> Iterator[int]:
        return count()


class Numbered:
    """A length and numbers, and no more: not even an end to its iteration but by its length."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> int:
        if not 0 <= number < 3:
            raise IndexError(number)
        return number * 10


def items(given_: Iterable[Any]) -> Items:
    return Items(given_, "made:here")


def total_of(reader: Reader, number: int) -> int:
    """What is said of an item that does not exist."""
    with pytest.raises(NoItem) as caught:
        reader.item(number)
    return caught.value.total


@pytest.mark.parametrize(
    ("given_", "total", "expected"),
    [
        (["a", "b", "c"], 3, ["a", "b", "c"]),
        (("a", "b"), 2, ["a", "b"]),
        (range(5, 9), 4, [5, 6, 7, 8]),
        (np.array([4, 5]), 2, [4, 5]),
        (Numbered(), 3, [0, 10, 20]),
        ({"x": 1, "y": 2}, 2, ["x", "y"]),
        ({7}, 1, [7]),
        (Again("abc"), NO_MORE, ["a", "b", "c"]),
    ],
)  # fmt: skip
def test_what_can_be_read_again_is_items(
    given_: Iterable[Any], total: int, expected: list[Any]
) -> None:
    """Lists, arrays, whatever has a length and numbers, a dict's keys, any iterable: each item has
    its number, and behind the last it is said how many there are."""
    made = items(given_)
    assert (made.total, made.first) == (total, expected[0])
    reader = made.reader(Worker())
    assert [reader.item(number) for number in range(len(expected))] == expected
    assert total_of(reader, len(expected)) == total_of(reader, len(expected) + 7) == len(expected)


@pytest.mark.parametrize("given_", [[], (), {}, "", np.zeros(0), Again("")])
def test_no_items_are_refused(given_: Iterable[Any]) -> None:
    """By the name of what was to be called for them."""
    with pytest.raises(ConfigError, match="made:here was given no items"):
        items(given_)


@given(st.lists(st.integers(0, 12), max_size=30), st.integers(1, 9), st.booleans())
def test_any_order_reads_the_same(asked: list[int], length: int, listed: bool) -> None:
    """Forwards, backwards, again, behind the end and then not."""
    made = items(list(range(100, 100 + length)) if listed else Again(range(100, 100 + length)))
    reader = made.reader(Worker())
    for number in asked:
        if number < length:
            assert reader.item(number) == 100 + number
        else:
            assert total_of(reader, number) == length


def test_who_asks_in_order_reads_once() -> None:
    """What is passed over is read as well, and nothing behind what was asked for."""
    source = Again(range(100))
    made = items(source)
    assert (source.readings, source.read) == (1, 1)
    reader = made.reader(Worker())
    assert [reader.item(number) for number in (1, 3, 4, 50)] == [1, 3, 4, 50]
    assert (source.readings, source.read) == (2, 1 + 51)
    assert reader.item(49) == 49
    assert (source.readings, source.read) == (3, 1 + 51 + 50)


def test_endless_items_have_no_total() -> None:
    """Any of them can be had."""
    made = items(Endless())
    assert made.total == NO_MORE
    assert [made.reader(Worker()).item(number) for number in (5, 10_000)] == [5, 10_000]


def test_readers_do_not_disturb_each_other() -> None:
    """Each stream reads on its own."""
    made = items(Again("abcdef"))
    one, other = made.reader(Worker()), made.reader(Worker())
    assert [one.item(0), other.item(3), one.item(1), other.item(4)] == list("adbe")


def test_items_that_raise_do_so_where_they_are_read() -> None:
    """And are not taken for an end."""

    def failing() -> Iterator[int]:
        yield 0
        raise OSError("no more names")

    class Failing:
        def __iter__(self) -> Iterator[int]:
            return failing()

    reader = items(Failing()).reader(Worker())
    assert reader.item(0) == 0
    with pytest.raises(OSError, match="no more names"):
        reader.item(1)


@given(st.integers(0, 30), st.integers(1, 6), st.integers(0, 3))
def test_shares_are_all_items_once(total: int, workers: int, first: int) -> None:
    """Worker i of n has items i, i + n and so on, from the ordinal on that it goes on at."""
    shares = [Division(index, workers, first) for index in range(workers)]
    given_: list[int] = []
    for share in shares:
        while (work := share.next()).item != NO_MORE:
            if work.item < total:
                given_.append(work.item)
                share.done(work)
            else:
                share.done(work, total)
        assert share.next().item == NO_MORE
    assert sorted(given_) == list(range(min(first * workers, total), total))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(1, 5))
def test_shares_of_items_that_end_one_by_one(lengths: list[int], workers: int) -> None:
    """Those of each number modulo the stride end on their own, and nobody stops before."""
    stride = len(lengths)
    given_: list[int] = []
    for index in range(workers):
        share = Division(index, workers)
        share.stride = stride
        while (work := share.next()).item != NO_MORE:
            which, place = work.item % stride, work.item // stride
            if place < lengths[which]:
                given_.append(work.item)
                share.done(work)
            else:
                share.done(work, lengths[which] * stride + which)
    all_ = [place * stride + which for which, n in enumerate(lengths) for place in range(n)]
    assert sorted(given_) == sorted(all_)


def test_a_share_says_what_it_gave_last() -> None:
    """By which a generator that began before its stream is known again."""
    share = Division(2, 5)
    assert share.begun == 0
    works = list(islice(iter(share.next, None), 2))
    assert [work.ordinal for work in works] == [0, 1]
    assert (share.begun, share.item, share.following) == (2, 7, 12)


def test_a_tuple_is_several_arguments() -> None:
    """Anything else is one."""
    assert [arguments_of(item) for item in ((1, 2), [1, 2], None)] == [(1, 2), ([1, 2],), (None,)]
