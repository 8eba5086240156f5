"""Items: what a function is called with, one by one, and which of them a worker takes.

A trainer deals them (protocol/transport/dealt.py), or the worker takes its share: `Division`. Both
are asked in the same way by the thread that runs the generator. Workers only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from typing import Any

from genserver.protocol.messages import NO_MORE, Work
from genserver.protocol.transport.dealt import Dealt

from .config import ConfigError
from .worker import Worker

__all__ = ["NOTHING", "Division", "Items", "NoItem", "Share", "arguments_of"]

#: Given by an iterator that has no element yet and would have to wait for one: others may have
#: their turn until then.
NOTHING = object()


class NoItem(Exception):
    """There are only ``total`` items."""

    def __init__(self, total: int) -> None:
        super().__init__(total)
        self.total = total


class Division:
    """The share of a worker that is dealt nothing: item ``index`` of every ``count``."""

    def __init__(self, index: int, count: int, first: int = 0) -> None:
        self._index, self._count = index, count
        #: Each ``stride``-th item may end on its own.
        self.stride = 1
        self._ended: set[int] = set()
        self._ordinal = first
        self._over = False

    def next(self, *, wait: bool = True) -> Work:
        """The next item; `NO_MORE` when `done` was told that there are none. Never waits."""
        del wait
        ordinal, self._ordinal = self._ordinal, self._ordinal + 1
        item = NO_MORE if self._over else self._index + ordinal * self._count
        return Work(0, ordinal, item)

    def done(self, _work: Work, total: int = NO_MORE) -> None:
        """An item ended, or with ``total`` there is none such."""
        if total != NO_MORE:
            self._ended.add(total % self.stride)
            mine = self.stride // math.gcd(self.stride, self._count)
            self._over = len(self._ended) == mine

    @property
    def begun(self) -> int:
        """How many items were given out."""
        return self._ordinal

    @property
    def item(self) -> int:
        """The last of them."""
        return self._index + (self._ordinal - 1) * self._count

    @property
    def following(self) -> int:
        """The one after it."""
        return self.item + self._count


#: Where a generator over items gets their numbers.
Share = Dealt | Division


class Items:
    """What ``items=`` was given: a sequence, or anything else that can be read again and again."""

    def __init__(self, items: Iterable[Any], target: str) -> None:
        """Raises `ConfigError` where there are none."""
        listed = isinstance(items, Sequence) or (
            hasattr(items, "__len__") and hasattr(items, "__getitem__")
        )
        self._sequence: Any = items if listed and not isinstance(items, Mapping) else None
        self._items = items
        #: How many there are; `NO_MORE` where only reading will tell.
        self.total = len(items) if isinstance(items, Sized) else NO_MORE
        for item in items:
            #: The first one, to check the function's arguments with.
            self.first = item
            break
        else:
            raise ConfigError(f"{target} was given no items")

    def reader(self, _worker: Worker) -> Reader:
        """To read them from the beginning."""
        return Reader(self._items, self._sequence, self.total)


class Reader:
    """One reading; whoever asks for items in their order reads them once."""

    #: All end together.
    stride = 1

    def __init__(self, items: Iterable[Any], sequence: Any, total: int) -> None:
        self._items, self._sequence, self._total = items, sequence, total
        self._iterator: Iterator[Any] = iter(())
        self._next = -1  # the number of the item that the iterator gives next

    def item(self, number: int) -> Any:
        """Item ``number``; `NoItem` behind the last."""
        if 0 <= self._total <= number:
            raise NoItem(self._total)
        if self._sequence is not None:
            return self._sequence[number]
        if self._next < 0 or number < self._next:
            self._iterator, self._next = iter(self._items), 0
        for item in self._iterator:
            self._next += 1
            if self._next > number:
                return item
        total, self._next = self._next, -1
        raise NoItem(total)

    def done(self, number: int) -> None:
        """Everything was made of it."""

    def close(self) -> None:
        """It is not read any more."""


def arguments_of(item: Any) -> tuple[Any, ...]:
    """A tuple stands for several arguments."""
    return item if isinstance(item, tuple) else (item,)
