"""Dealing items to workers: whoever is free takes the next, and each is somebody's once. Pure.

`Items` are what is dealt of one pass, `Deals` what one stream was given of them, and how far it is:
what it had not finished is given to the worker's next life again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container
from dataclasses import dataclass

from .errors import RemoteProtocolError
from .messages import NO_MORE, Done, Take, Work

__all__ = ["Deals", "Items"]

#: Items that a stream may have waiting, at most.
MAX_AHEAD = 4096
#: With fewer than so many items left for each worker, none is dealt ahead: whoever is free first
#: takes the next. A worker may have two of the longest by then, and the others need as much to do.
SCARCE = 4


class Items:
    """The numbers of a pass's items from 0 on, each given out once.

    The first items are kept for the workers of the same index, as long as there are others: so the
    work begins in the same way in every run.
    """

    def __init__(
        self, total: int, workers: int, *, stride: int = 1, done: Container[int] = ()
    ) -> None:
        """``total`` is `NO_MORE` where their end will tell. Each ``stride``-th item may end on its
        own. Those in ``done`` are left out."""
        self._stride = stride
        self._totals: dict[int, int] = {}
        if total != NO_MORE:
            self._totals = dict.fromkeys(range(stride), total)
        self._done = done
        self._kept = {item for item in range(workers) if item not in done}
        self._next = self._workers = workers

    @property
    def scarce(self) -> bool:
        """Whether so few are left that no worker should have one that it cannot begin at once."""
        if len(self._totals) < self._stride:
            return False
        return max(self._totals.values()) - self._next < SCARCE * self._workers

    def next(self, worker: int) -> int:
        """The next item for a worker, or `NO_MORE`."""
        if worker in self._kept and self._exists(worker):
            self._kept.discard(worker)
            return worker
        while not self._over:
            item, self._next = self._next, self._next + 1
            if self._exists(item) and item not in self._done:
                return item
        left = min(filter(self._exists, self._kept), default=NO_MORE)
        self._kept.discard(left)
        return left

    def ended(self, total: int) -> None:
        """From ``total`` on, every ``stride``-th item does not exist."""
        known = self._totals.get(total % self._stride, total)
        self._totals[total % self._stride] = min(known, total)

    def _exists(self, item: int) -> bool:
        total = self._totals.get(item % self._stride)
        return total is None or item < total

    @property
    def _over(self) -> bool:
        return len(self._totals) == self._stride and self._next >= max(self._totals.values())


@dataclass(slots=True)
class _Given:
    item: int
    #: What the generator had made in all when the item ended; None until then.
    end: int | None = None


class Deals:
    """What one stream was dealt: the trainer's end."""

    def __init__(
        self, items: Items | None, worker: int, *, on_end: Callable[[int], None] | None = None
    ) -> None:
        """Without ``items`` the owner calls `deal`; with them the worker's TAKE does. ``on_end`` is
        told the total, where the worker finds one."""
        self._items = items
        self._on_end = on_end
        self._worker = worker
        self._given: deque[_Given] = deque()
        self._first = 0  # the ordinal of the first of them,
        self._begin = 0  # and the element that it begins with
        self._until = 0

    @property
    def dealt(self) -> int:
        """How many items the stream was given."""
        return self._first + len(self._given)

    def opened(self, stream: int, elements: int) -> list[Work]:
        """The stream begins, or goes on, at an element: what is to be done from there on. The first
        ordinal is `first`."""
        self._forget(elements)
        again = [Work(stream, self._first + n, given.item) for n, given in enumerate(self._given)]
        if again and again[0].item != NO_MORE:
            again[0] = Work(stream, self._first, again[0].item, elements - self._begin)
        return again

    @property
    def first(self) -> int:
        """The ordinal of the first item that is not finished and delivered."""
        return self._first

    def deal(self, stream: int, item: int) -> Work:
        """Give it one more."""
        self._given.append(_Given(item))
        return Work(stream, self.dealt - 1, item)

    def take(self, message: Take, elements: int) -> list[Work]:
        """The worker wants more; so many elements have arrived. `RemoteProtocolError` where it
        wants too many at once."""
        self._forget(elements)
        if message.until > self._first + MAX_AHEAD:
            raise RemoteProtocolError(f"stream {message.stream}: takes {message.until} items")
        self._until = max(self._until, message.until)
        return self.due(message.stream)

    def due(self, stream: int) -> list[Work]:
        """What the worker wants and may have now."""
        works: list[Work] = []
        while self._items is not None and self.dealt < self._until and not self._over:
            if self._items.scarce and any(given.end is None for given in self._given):
                break  # it has something to do
            works.append(self.deal(stream, self._items.next(self._worker)))
        return works

    def done(self, message: Done) -> tuple[int, int] | None:
        """An item ended: (item, elements that the stream then has); None for one that was no item,
        or is known. Then others may be `due`."""
        place = message.ordinal - self._first
        if place >= len(self._given):
            raise RemoteProtocolError(f"stream {message.stream}: ends an item that it has not")
        if place < 0:
            return None
        given = self._given[place]
        given.end = message.count
        if message.total == NO_MORE:
            return given.item, message.count
        if self._items is not None:
            self._items.ended(message.total)
        if self._on_end is not None:
            self._on_end(message.total)
        return None

    @property
    def _over(self) -> bool:
        return bool(self._given) and self._given[-1].item == NO_MORE

    def _forget(self, elements: int) -> None:
        """What is finished and delivered."""
        while self._given:
            end = self._given[0].end
            if end is None or end > elements:
                return
            self._begin = end
            self._first += 1
            self._given.popleft()
