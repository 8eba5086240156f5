"""The progress page: what a worker makes, readable while it hangs and after it died.

One page of memory for each worker, made by the supervisor and mapped by both; it is the same for
all lives of the worker. The thread that runs the generators writes; the supervisor reads, and so
does the next life. No thread of the worker is needed for reading: a C call that never lets go of
the interpreter is seen as well. Words are written one by one, so what is read of a running worker
may be half new. Nobody acts on that: a stall is what stays the same, and the dead write no more.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from struct import Struct
from typing import TYPE_CHECKING

from genserver.protocol.transport.platform import memory_file

from .lives import Making
from .meter import Meter
from .stalls import Reading

if TYPE_CHECKING:
    from genserver.protocol.columns import Stack

__all__ = ["ROW", "ProgressPage"]

#: The words of the page, of 64 bits each. `ACTIVE` is 0 while the generator rests, 1 while it makes
#: an element of no stream, and else 2 more than the stream's place.
MADE, NANOSECONDS, LOST, INDEX, EPOCH, BASE, ROW, ACTIVE = range(8)
#: From here on three words for each open stream: session, stream, elements made.
STREAMS = 8
#: As many streams as a worker holds open (`worker_end.MAX_STREAMS`), which is not imported here:
#: the supervisor starts workers before it has loaded that.
MAX_STREAMS = 8
SIZE = mmap.PAGESIZE

_BEGIN = Struct("=5Q")  # from INDEX on; ACTIVE comes last, when the others are written
_STREAM = Struct("=3Q")


class ProgressPage:
    """Mapped memory. One thread of one process writes at a time."""

    def __init__(self, descriptor: int = -1) -> None:
        """Maps a file of `memory_file`; without one, memory of this process alone."""
        #: Open as long as the page, where the page is to be inherited.
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, SIZE)
        #: For the tight loop of `Run.fill`, which stores into `ROW` itself.
        self.words = memoryview(self._memory).cast("Q")
        #: What else is measured, behind the streams.
        self.meter = Meter(self.words)
        #: Places of streams of an earlier life that no trainer has opened again.
        self._unclaimed: set[int] = set()
        #: The rows that `Run.fill` is filling, whose number `refine` copies.
        self.filling: Stack | None = None

    @classmethod
    def shared(cls) -> ProgressPage:
        """A page that processes started with its descriptor can map."""
        return cls(memory_file(SIZE))

    @classmethod
    def inherited(cls, descriptor: int) -> ProgressPage:
        """In such a process; closes the descriptor."""
        page = cls(descriptor)
        os.close(descriptor)
        page.descriptor = -1
        return page

    def read(self) -> Reading:
        words = self.words
        making = None
        if words[ACTIVE]:  # looked at first: it is written when the others are
            making = Making(words[INDEX], words[EPOCH], words[BASE] + words[ROW])
        return Reading(words[MADE], words[NANOSECONDS] / 1e9, words[LOST], making)

    def begin(self, place: int, index: int, epoch: int, base: int, row: int) -> None:
        """A generator is asked for element ``base + row``, perhaps for others after it.

        ``place`` is that of its stream, or -1.
        """
        _BEGIN.pack_into(self._memory, INDEX * 8, index, epoch, base, row, place + 2)

    def rest(self, place: int, made: int, nanoseconds: int, reached: int) -> None:
        """The generator gave ``made`` elements and rests before element ``reached``."""
        words = self.words
        if place >= 0:
            words[STREAMS + 3 * place + 2] = reached
        self.gave(made, nanoseconds)
        words[ACTIVE] = 0  # last: who sees it at rest sees what it reached

    def gave(self, made: int, nanoseconds: int) -> None:
        """The generator gave ``made`` elements, in so long, and may be at the next by now."""
        self.words[MADE] += made
        self.words[NANOSECONDS] += nanoseconds
        self.meter.took(made, nanoseconds)

    def refine(self, _now: float) -> None:
        """Of a turn of tiny elements the page knows the beginning: say where it is now.

        Called now and then on another thread than the runner's. The turn may end meanwhile; then
        the number is wrong until the next call, when an element that lasts will be right.
        """
        stack = self.filling
        if stack is not None:
            self.words[ROW] = stack.row

    @property
    def mean(self) -> float | None:
        """Seconds that an element took in all lives so far; None before the first."""
        made = self.words[MADE]
        return self.words[NANOSECONDS] / 1e9 / made if made else None

    def open_stream(self, session: int, stream: int, made: int) -> int:
        """Note the elements made of a stream; its place, or -1 when all are taken.

        Preferred is the place that it had in an earlier life, then one that nobody has.
        """
        place = self._place_for((session, stream))
        if place >= 0:
            self._unclaimed.discard(place)
            self._write(place, session, stream, made)
        return place

    def close_stream(self, place: int) -> None:
        """The stream is over."""
        if place >= 0:
            self._write(place, 0, 0, 0)

    def settle(self) -> Making | None:
        """The writing process is dead: what it was making. The page is at rest from now on.

        Or a next process that dies before it makes anything would seem to have died of that.
        """
        making, place = self.read().making, self.words[ACTIVE] - 2
        if making is not None and place >= 0:
            reached = STREAMS + 3 * place + 2  # further than that where `rest` was cut short
            self.words[reached] = max(self.words[reached], making.element)
        self.words[ACTIVE] = 0
        return making

    def inherit(self) -> dict[tuple[int, int], int]:
        """What the lives before had made: (session, stream) -> elements. A new life begins.

        It stays written until the stream is opened again: this life may die before that.
        """
        streams = dict(self._owned())
        self._unclaimed = {place for place, _ in streams.values()}
        return {key: made for key, (_, made) in streams.items()}

    def lose(self, elements: int) -> None:
        """So many elements of an earlier life are lost."""
        self.words[LOST] += elements

    def close(self) -> None:
        """Unmap it."""
        self.words.release()
        self._memory.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def _place_for(self, key: tuple[int, int]) -> int:
        owners = {place: owner for owner, (place, _) in self._owned()}
        own = [place for place in self._unclaimed if owners[place] == key]
        free = [place for place in range(MAX_STREAMS) if place not in owners]
        return next(iter([*own, *free, *self._unclaimed]), -1)

    def _owned(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """(session, stream), (place, elements made) of each that has a place."""
        for place in range(MAX_STREAMS):
            session, stream, made = _STREAM.unpack_from(self._memory, (STREAMS + 3 * place) * 8)
            if session:
                yield (session, stream), (place, made)

    def _write(self, place: int, session: int, stream: int, made: int) -> None:
        _STREAM.pack_into(self._memory, (STREAMS + 3 * place) * 8, session, stream, made)
