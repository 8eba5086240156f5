"""Which elements of which workers come next: runs that mix what is ready, or keep the turn. Pure.

A chunk is a run of one worker's elements, and a batch behind it should hold several workers'. So
the next run takes as many elements of each worker that has some, in turn. What has not arrived is
never waited for: whoever holds elements hands them on.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from genserver.protocol.chunk import LARGE_ELEMENT, Allocate, Column, aligned_empty
from genserver.protocol.normalize import TextArray
from genserver.protocol.stream import Delivery

__all__ = ["GROUP", "RUN_BYTES", "Mixer", "Part", "Run", "copied", "goes_with", "merged"]

#: Workers whose large elements are handed on together: each is one more argument of TensorFlow's.
GROUP = 4
#: The longest run (elements) of one worker while others are at work: theirs may come any moment,
#: and what is kept can be mixed with it. Of small elements, where a call costs as much as some 100
#: of them, and of large ones.
ALONE_SMALL, ALONE_LARGE = 64, 4
#: A run of small elements of several workers, which is copied, is cut at this size in bytes.
RUN_BYTES = 8 * 2**20

#: Elements of one worker, stacked array by array in flattening order.
Part = tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """``n`` elements: the first of each part, the second of each part, and so on."""

    n: int
    parts: tuple[Part, ...]
    #: Whether they are small and of one shape, so that `merged` is worth its copy.
    small: bool
    #: The deliveries whose last element this is, with their sources.
    done: tuple[tuple[int, Delivery], ...]
    #: The source of each part.
    sources: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return sum(column.nbytes for part in self.parts for column in part)


class Mixer:
    """What has arrived of some streams and was not handed on. One thread at a time."""

    def __init__(self, sources: int, *, ordered: bool, group: int, turn: int = 0) -> None:
        """``ordered`` keeps the turn, from source ``turn`` on: the first element of each source,
        the second of each, ...; else whoever has elements comes next. ``group`` is how many sources
        of large elements a run may have."""
        self._ordered = ordered
        self._group = group
        self._waiting: list[deque[Delivery]] = [deque() for _ in range(sources)]
        #: The row of each source's first delivery that comes next.
        self._at = [0] * sources
        self._ended = [False] * sources
        self._turn = turn

    @property
    def over(self) -> bool:
        """Whether every source has ended and everything was handed on."""
        return next(self._line_up(), None) is None

    @property
    def awaited(self) -> int | None:
        """The only source whose elements may come next; None when that is any."""
        return next(self._line_up(), None) if self._ordered else None

    def put(self, source: int, delivery: Delivery) -> None:
        """More elements of a source arrived."""
        if not self._waiting[source]:
            self._at[source] = delivery.skip
        self._waiting[source].append(delivery)

    def end(self, source: int) -> None:
        """No more elements of a source will arrive."""
        self._ended[source] = True

    def next(self, *, single: bool = False) -> Run | None:
        """The next elements; None when none may come now. ``single``: no more than one of each
        source."""
        line_up = list(self._line_up())
        chosen = self._choose(line_up)
        if not chosen:
            return None
        small = self._small(chosen[0])
        rows = 1 if single else self._rows(chosen, len(line_up), small=small)
        self._turn = (chosen[-1] + 1) % len(self._waiting)
        parts = tuple(self._part(source, rows) for source in chosen)
        gone = [(source, self._advance(source, rows)) for source in chosen]
        done = tuple((source, delivery) for source, delivery in gone if delivery is not None)
        return Run(rows * len(parts), parts, small, done, tuple(chosen))

    def _line_up(self) -> Iterator[int]:
        """The sources that are not over, from the one whose turn it is."""
        for step in range(len(self._waiting)):
            source = (self._turn + step) % len(self._waiting)
            if self._waiting[source] or not self._ended[source]:
                yield source

    def _choose(self, line_up: Sequence[int]) -> list[int]:
        """The sources of the next run. In order they follow each other without a gap."""
        chosen: list[int] = []
        for source in line_up:
            if self._waiting[source] and (not chosen or self._go_together(chosen, source)):
                chosen.append(source)
            elif self._ordered:
                break
        return chosen

    def _go_together(self, chosen: Sequence[int], source: int) -> bool:
        small = self._small(source)
        if small != self._small(chosen[0]):
            return False
        if small:
            return self._shapes(source) == self._shapes(chosen[0])
        return len(chosen) < self._group

    def _rows(self, chosen: Sequence[int], live: int, *, small: bool) -> int:
        """How many elements of each chosen source make the run."""
        if self._ordered and len(chosen) < live:
            return 1  # the others' come before anybody's second
        rows = min(self._waiting[source][0].chunk.n - self._at[source] for source in chosen)
        if len(chosen) == 1:
            alone = ALONE_SMALL if small else ALONE_LARGE
            return rows if live == 1 else min(rows, alone)
        if not small:
            return rows
        chunks = [self._waiting[source][0].chunk for source in chosen]
        weight = sum(chunk.nbytes // chunk.n for chunk in chunks)
        return max(1, min(rows, RUN_BYTES // max(1, weight)))

    def _part(self, source: int, rows: int) -> Part:
        at = self._at[source]
        return self._waiting[source][0].chunk.rows(at, at + rows)

    def _advance(self, source: int, rows: int) -> Delivery | None:
        """Go on behind ``rows`` elements; returns the delivery when they were its last."""
        waiting = self._waiting[source]
        self._at[source] += rows
        if self._at[source] < waiting[0].chunk.n:
            return None
        gone = waiting.popleft()
        self._at[source] = waiting[0].skip if waiting else 0
        return gone

    def _small(self, source: int) -> bool:
        chunk = self._waiting[source][0].chunk
        return chunk.nbytes < LARGE_ELEMENT * chunk.n

    def _shapes(self, source: int) -> list[tuple[int, ...]]:
        return [column.shape[1:] for column in self._waiting[source][0].chunk.columns]


def copied(run: Run) -> Run:
    """The same run in memory of its own."""
    parts = tuple(tuple(map(_copied, part)) for part in run.parts)
    return replace(run, parts=parts)


def _copied(column: Column) -> Column:
    if isinstance(column, TextArray):
        return column
    out = aligned_empty(column.nbytes).view(column.dtype).reshape(column.shape)
    out[...] = column
    out.flags.writeable = False
    return out


def goes_with(run: Run, next_run: Run) -> bool:
    """Whether `merged` may put ``next_run`` behind ``run``: both mix workers, and look alike."""
    mixed = len(run.parts) > 1 and len(next_run.parts) > 1 and next_run.small
    ours, theirs = run.parts[0], next_run.parts[0]
    return mixed and all(a.shape[1:] == b.shape[1:] for a, b in zip(ours, theirs, strict=True))


def merged(runs: Sequence[Run], allocate: Allocate) -> Part:
    """One part with the elements of all runs in their order, in memory that ``allocate`` gives; a
    single part is not copied."""
    if len(runs) == 1 and len(runs[0].parts) == 1:
        return runs[0].parts[0]
    columns = range(len(runs[0].parts[0]))
    return tuple(
        _merged([[part[i] for part in run.parts] for run in runs], allocate) for i in columns
    )


def _merged(runs: Sequence[Sequence[Column]], allocate: Allocate) -> Column:
    """One column; of each run a column of each part."""
    first = runs[0][0]
    shape = (sum(run[0].shape[0] * len(run) for run in runs), *first.shape[1:])
    if isinstance(first, TextArray):
        return TextArray(shape, tuple(chain.from_iterable(map(_texts, runs))))
    out = allocate(math.prod(shape) * first.dtype.itemsize).view(first.dtype).reshape(shape)
    start = 0
    for run in runs:
        stop = start + run[0].shape[0] * len(run)
        for index, column in enumerate(run):
            out[start + index : stop : len(run)] = column
        start = stop
    return out


def _texts(columns: Sequence[Column]) -> Iterator[bytes]:
    rows = []
    for column in columns:
        assert isinstance(column, TextArray)  # the parts have one structure
        size = len(column.items) // column.shape[0]
        items = column.items
        rows.append([items[at : at + size] for at in range(0, len(items), max(1, size))])
    return chain.from_iterable(chain.from_iterable(zip(*rows, strict=True)))
