"""Dealing items to workers: whoever is free takes the next, and each is somebody's once. Pure.

`Items` are what is dealt of one pass, `Deals` what one stream was given of them, and how far it is:
what it had not finished is given to the worker's next life again.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass

from .errors import RemoteProtocolError
from .messages import NO_MORE, Done, Take, Work

__all__ = ["MAX_AHEAD", "Deals", "Items"]

#: A stream may want the items that are so many behind its first one that has not ended, at most.
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
    #: Whether there is no such item.
    none: bool = False


class Deals:
    """What one stream was dealt: the trainer's end.

    An item has ended when its worker said so, and is finished when its elements have arrived, too.
    """

    def __init__(
        self, items: Items | None, worker: int, *, on_end: Callable[[int], None] | None = None
    ) -> None:
        """Without ``items`` the owner calls `deal`; with them the worker's TAKE does. ``on_end`` is
        told the total, where the worker finds one."""
        self._items = items
        self._on_end = on_end
        self._worker = worker
        #: By ordinal: those that are not finished.
        self._given: dict[int, _Given] = {}
        self._first = 0  # the ordinal of the first of them,
        self._begin = 0  # and the element that it begins with
        self._ended = 0  # the ordinal of the first that has not ended,
        self._made = 0  # and the element that the one before it ended with
        self._until = 0

    @property
    def dealt(self) -> int:
        """How many items the stream was given."""
        return self._first + len(self._given)

    @property
    def first(self) -> int:
        """The ordinal of the first item that is not finished."""
        return self._first

    @property
    def complete(self) -> bool:
        """Whether the stream may end: none follows, and all that it was given have ended."""
        return self._over and self._ended == self.dealt - 1

    def opened(self, stream: int, elements: int) -> list[Work]:
        """The stream begins, or goes on, at an element: what is to be done from there on. The first
        ordinal is `first`.

        What the worker said of these it says again: the same life because it cannot know what
        arrived, another because it makes them anew.
        """
        self._ended, self._made, self._until = self._first, self._begin, 0
        for given in self._given.values():
            given.end = None
        self._pass_over()
        again = [Work(stream, ordinal, given.item) for ordinal, given in self._given.items()]
        if again and again[0].item != NO_MORE:
            again[0] = Work(stream, self._first, again[0].item, elements - self._begin)
        return again

    def deal(self, stream: int, item: int) -> Work:
        """Give it one more."""
        work = Work(stream, self.dealt, item)
        self._given[work.ordinal] = _Given(item)
        return work

    def take(self, message: Take) -> list[Work]:
        """The worker wants more. `RemoteProtocolError` where it wants too many at once."""
        if message.until > self._ended + MAX_AHEAD:
            raise RemoteProtocolError(f"stream {message.stream}: takes {message.until} items")
        self._until = max(self._until, message.until)
        return self.due(message.stream)

    def due(self, stream: int) -> list[Work]:
        """What the worker wants and may have now."""
        works: list[Work] = []
        while self._items is not None and self.dealt < self._until and not self._over:
            if self._items.scarce and self._ended < self.dealt:
                break  # it has something to do
            works.append(self.deal(stream, self._items.next(self._worker)))
        return works

    def done(self, message: Done) -> None:
        """An item ended, or there is none such. Then others may be `due`, and some `finished`."""
        ordinal = message.ordinal
        if ordinal < self._first:
            return  # said again, and known
        given = self._given.get(ordinal)
        if given is None or given.item == NO_MORE:
            raise RemoteProtocolError(f"stream {message.stream}: ends an item that it has not")
        if message.total != NO_MORE:
            self._no_such(given, message)
        elif ordinal > self._ended:
            raise RemoteProtocolError(f"stream {message.stream}: ends an item before its turn")
        elif ordinal == self._ended:
            if message.count < self._made:
                raise RemoteProtocolError(f"stream {message.stream}: an item of less than nothing")
            given.end = self._made = message.count
        self._pass_over()

    def finished(self, elements: int) -> list[tuple[int, int]]:
        """So many elements have arrived: the items that are finished with that, and how many the
        stream then has. They are forgotten."""
        finished: list[tuple[int, int]] = []
        while self._first < self._ended:
            given = self._given[self._first]
            if given.end is not None:
                if given.end > elements:
                    break
                self._begin = given.end
                finished.append((given.item, given.end))
            del self._given[self._first]
            self._first += 1
        return finished

    def _no_such(self, given: _Given, message: Done) -> None:
        if message.total > given.item:
            raise RemoteProtocolError(
                f"stream {message.stream}: has no item {given.item} of {message.total}"
            )
        given.none = True
        if self._items is not None:
            self._items.ended(message.total)
        if self._on_end is not None:
            self._on_end(message.total)

    def _pass_over(self) -> None:
        while (given := self._given.get(self._ended)) and (given.none or given.end is not None):
            self._ended += 1

    @property
    def _over(self) -> bool:
        return bool(self._given) and self._given[self.dealt - 1].item == NO_MORE
