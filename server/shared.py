"""One generator whose elements are given out by number, to several streams of one pass.

Owns the generator, its random states, and the elements that somebody may still ask for. Belongs to
the thread that runs generators.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import Any

from genserver.protocol.messages import NO_MORE, Open

from .items import NOTHING, NoItem
from .kinds import Make, one_by_one
from .worker import Worker, random_states, set_random_states

__all__ = ["Shared", "shared_elements"]

logger = logging.getLogger("genserver")

#: Elements that are kept at most, for each stream and besides: those that are not used yet, since a
#: worker of the next stage that dies asks for them again, and those that nobody asked for yet.
KEPT, KEPT_BESIDES = 2, 4
#: At the beginning of a pass several streams ask for one of the first elements each, in any order:
#: whoever asks for one before this has it begin with element 0. Those between are kept.
EARLY = 8


class Shared:
    """A generator for as many streams as want its elements."""

    def __init__(self, make: Make, opening: Open, *, divided: bool = True) -> None:
        """Not ``divided``, it makes everything, as each of its like does."""
        self._make = make
        self._divided = divided
        self._opening = opening
        #: What all its streams have in common; 0 for those that looked before there was a trainer.
        self.group = opening.group
        #: Streams that use it.
        self.members = 0
        self._generator: Iterator[Any] | None = None
        self._worker = Worker()
        self._states: Any = None
        self._next = 0  # the number of the element that it gives next
        self._kept: dict[int, Any] = {}
        self._total = NO_MORE
        self._error: BaseException | None = None

    def fits(self, opening: Open) -> bool:
        """Whether a stream that is opened so uses this one."""
        ours = self._opening
        same = (ours.index, ours.count, ours.epoch, ours.seed) == (
            opening.index, opening.count, opening.epoch, opening.seed,
        )  # fmt: skip
        return same and self.group in (0, opening.group)

    def take_over(self, generator: Iterator[Any], worker: Worker, states: Any, first: Any) -> None:
        """Go on with a generator that has given its first element."""
        self._generator, self._worker, self._states = generator, worker, states
        self._kept[0], self._next = first, 1

    def element(self, number: int) -> Any:
        """Element ``number``, or `NOTHING` when it made one for somebody else first, who should
        have a turn. `NoItem` behind the last; raises what the generator raised, each time."""
        if number in self._kept:
            return self._kept[number]
        if self._error is not None:
            raise self._error
        if self._total != NO_MORE and number >= self._total:
            raise NoItem(self._total)
        if self._generator is None or number < self._next:
            self._start(0 if number < EARLY and self._states is None else number)
            if number in self._kept:
                return self._kept[number]
        reached, element = self._next, self._advance()
        self._keep(reached, element)
        return element if reached == number else NOTHING

    @property
    def next(self) -> int:
        """The number of the element that the generator makes next, or failed to make."""
        return self._next

    def close(self) -> None:
        """Run the generator's finally blocks; idempotent."""
        generator, self._generator = self._generator, None
        close = getattr(generator, "close", None)
        if close is not None:
            close()

    def _start(self, number: int) -> None:
        """From its beginning, or where ``number`` is, if it seeks."""
        self.close()
        opening = self._opening
        index, count = (opening.index, opening.count) if self._divided else (0, 1)
        self._worker = Worker(
            index, count, opening.epoch, opening.seed, number, stream=opening.index
        )
        outer = random_states()
        try:
            self._worker.seed_globals()
            self._states = random_states()
        finally:
            set_random_states(outer)
        self._generator, self._next = self._make(self._worker), 0
        if number:
            self._find(number)

    def _find(self, number: int) -> None:
        """Whether the first element is that one, of a generator that seeks, or element 0."""
        try:
            first = self._advance()
        except NoItem:
            # Of one that seeks nobody knows how far it would have come.
            self._total = number if self._worker.seeks else 0
            raise NoItem(self._total) from None
        place = number if self._worker.seeks else 0
        if place < number:
            logger.warning(
                "runs %d elements of the first stage again to go on at element %d; a generator "
                "that begins at worker.start saves that", number, number,
            )  # fmt: skip
        self._next = place + 1
        self._keep(place, first)

    def _advance(self) -> Any:
        assert self._generator is not None  # the callers started it
        outer = random_states()
        set_random_states(self._states)
        try:
            element = next(self._generator)
        except StopIteration:
            self._generator, self._total = None, self._next
            raise NoItem(self._total) from None
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            self._error = error  # the end of a generator that raised is none of the data
            raise
        finally:
            self._states = random_states()
            set_random_states(outer)
        self._next += 1
        return element

    def _keep(self, number: int, element: Any) -> None:
        self._kept[number] = element
        while len(self._kept) > KEPT * self.members + KEPT_BESIDES:
            del self._kept[min(self._kept.keys() - {number})]

    def forget(self, number: int) -> None:
        """Nobody will ask for this element again."""
        self._kept.pop(number, None)


def shared_elements(shared: Shared, worker: Worker) -> Iterator[Any]:
    """The elements that one stream is dealt, by number."""
    # Nothing of it runs before the first element is wanted: by then the worker has its share.
    assert worker._share is not None  # such streams are dealt their elements
    yield from one_by_one(
        worker, _Given(shared, worker), lambda _, element: iter((element,)), worker._share,
        single=True,
    )  # fmt: skip


class _Given:
    """What one stream was given; kept until it has arrived."""

    #: All end together.
    stride = 1

    def __init__(self, shared: Shared, worker: Worker) -> None:
        self._shared = shared
        self._worker = worker
        self._place = worker.start
        #: What was made before there was a trainer may be dealt to any: it is kept until there is
        #: no room.
        self._guessed = worker._group == 0
        self._given: deque[tuple[int, int]] = deque()  # (element of the stream, its number)

    def item(self, number: int) -> Any:
        """See `Shared.element`."""
        while self._given and self._given[0][0] < self._worker._acked():
            self._shared.forget(self._given.popleft()[1])
        element = self._shared.element(number)
        if element is not NOTHING:
            if not self._guessed:
                self._given.append((self._place, number))
            self._place += 1
        return element

    def done(self, number: int) -> None:
        """It was handed on, and may be asked for again until it has arrived."""

    def close(self) -> None:
        """Nobody will ask again."""
        for _, number in self._given:
            self._shared.forget(number)
