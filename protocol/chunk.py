"""A chunk: a run of elements of one stream, stacked array by array.

The producer fills a `ChunkBuilder` row by row, which is also the copy that frees the generator to
reuse its buffers; the consumer gets `Column`s back and cuts elements from them as views. In a
stream of batches the builder puts the rows straight where the batch is sent from. Owns the chunk's
memory until it is handed on. Pure: no socket, clock or thread.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .columns import LARGE_ELEMENT, Allocate, Array, Column, Room, Shape, Stack, aligned_empty
from .dtypes import TEXT, numpy_dtype
from .errors import ElementError
from .normalize import Leaf, TextArray
from .spec import ElementSpec

__all__ = [
    "LARGE_ELEMENT", "Allocate", "Chunk", "ChunkBuilder", "Column", "aligned_empty",
]  # fmt: skip

#: Credit that ends nothing.
PLENTY: Room = (sys.maxsize, sys.maxsize)


@dataclass(frozen=True, slots=True)
class Chunk:
    """``n`` elements; ``nbytes`` is their weight against the byte credit."""

    n: int
    nbytes: int
    columns: tuple[Column, ...]

    def rows(self, start: int, stop: int) -> tuple[Column, ...]:
        """The columns of elements ``start`` to ``stop``, as views."""
        return tuple(_rows(column, start, stop) for column in self.columns)


def _rows(column: Column, start: int, stop: int) -> Column:
    if isinstance(column, TextArray):
        size = len(column.items) // max(1, column.shape[0])
        items = column.items[start * size : stop * size]
        return TextArray((stop - start, *column.shape[1:]), items)
    return column[start:stop]


class ChunkBuilder:
    """Collects elements that have the same shapes; with ``batch``, so many make one element.

    One thread fills it: `accepts`, `add`, and rows of `stack` by its short way. Another may call
    `take` at any time, and gets what is finished; the filler goes on in the same columns. `seal`
    is the filler's, and must exclude `take`.
    """

    def __init__(
        self, spec: ElementSpec, allocate: Allocate = aligned_empty, *, batch: int = 0
    ) -> None:
        self._spec = spec
        self._leaves = spec.leaves()
        self._allocate = allocate
        self._batched = batch > 0
        #: Rows of an element.
        self.step = max(1, batch)
        #: What is being filled, None when the next row begins new columns.
        self.stack: Stack | None = None
        #: Arrays that were lent for the row that is being made.
        self.lent: list[Array] = []

    @property
    def n(self) -> int:
        """Finished elements that were not taken."""
        stack = self.stack
        return 0 if stack is None else (stack.whole - stack.taken) // self.step

    @property
    def midway(self) -> int:
        """Rows of the batch that is half made."""
        return 0 if self.stack is None else self.stack.row - self.stack.whole

    @property
    def full(self) -> bool:
        """Whether the columns have no row left."""
        return self.stack is not None and self.stack.row >= self.stack.rows

    def accepts(self, leaves: Sequence[Leaf]) -> bool:
        """Whether a row can be added, or what is there must be taken first."""
        if self.stack is None or self.midway or self.n == 0:
            return True
        return self.stack.fits(_shapes(leaves), sum(leaf.nbytes for leaf in leaves))

    def add(self, leaves: Sequence[Leaf], room: Room = PLENTY) -> int:
        """Copy one row in; returns its weight in bytes. New columns are no longer than ``room``.

        `ElementError` where a row has another shape than those of its batch before it.
        """
        shapes, weight = _shapes(leaves), sum(leaf.nbytes for leaf in leaves)
        stack = self.stack
        if stack is not None and stack.midway:
            self._check(stack, shapes)
        elif stack is None or not stack.fits(shapes, weight):
            stack = Stack(self._spec, self.step, self._allocate)
        if stack.put is None:
            stack.begin(shapes, weight, room)
        self.stack = stack
        stack.write(leaves, weight)
        self.protect()
        return weight

    def take(self) -> Chunk:
        """The finished elements that were not taken; `n` says that there are any."""
        stack = self.stack
        assert stack is not None  # n is above 0
        stop = stack.whole  # may rise meanwhile
        start, stack.taken = stack.taken, stop
        return self._chunk(stack, start, stop, self.step)

    def seal(self, *, remainder: bool = False) -> list[Chunk]:
        """What was not taken; the next row begins new columns.

        A half-made batch is an element of its own with ``remainder``, and lost without.
        """
        stack = self.stack
        chunks = [self.take()] if self.n else []
        if stack is not None and remainder and stack.midway:
            chunks.append(self._chunk(stack, stack.whole, stack.row, stack.row - stack.whole))
        self.stack = None
        return chunks

    def wanted(self, shape: Shape, dtype: np.dtype[np.generic]) -> int | None:
        """The first leaf of this shape and dtype that was not lent for this row."""
        lent = self.stack.lent if self.stack is not None else {}
        for i, (_, leaf) in enumerate(self._leaves):
            alike = leaf.dtype not in TEXT and numpy_dtype(leaf.dtype) == dtype
            if alike and i not in lent and leaf.admits(shape):
                return i
        return None

    def lends(self, index: int, shape: Shape) -> bool:
        """Whether the next row of a leaf has ``shape``; if not, `seal` helps unless `midway`."""
        stack = self.stack
        return stack is None or (stack.row < stack.rows and stack.shapes[index] in (None, shape))

    def lend(self, index: int, shape: Shape, room: Room = PLENTY) -> Array:
        """The memory of the next row of a leaf, where `lends`: to be filled and added.

        Added as it is, it is not copied. With the row it becomes read-only, added or not.
        """
        if self.stack is None:
            self.stack = Stack(self._spec, self.step, self._allocate)
        if self.stack.put is None:
            fixed = [
                _fixed(leaf.shape) if leaf.dtype not in TEXT else None for _, leaf in self._leaves
            ]
            fixed[index] = shape
            self.stack.prepare(fixed, room)
        row = self.stack.lend(index)
        self.lent.append(row)
        return row

    def protect(self) -> None:
        """The row is made: what was lent for it must not be written again."""
        for row in self.lent:
            row.flags.writeable = False
        self.lent.clear()

    def _check(self, stack: Stack, shapes: Sequence[Shape]) -> None:
        for (path, _), shape, first in zip(self._leaves, shapes, stack.shapes, strict=True):
            if shape != first:
                raise ElementError(
                    path,
                    f"cannot be batched: shape {list(shape)} after {list(first or ())} in one "
                    "batch; pad it in the generator, or batch in the trainer with padded_batch",
                )

    def _chunk(self, stack: Stack, start: int, stop: int, step: int) -> Chunk:
        n = (stop - start) // step
        columns = stack.cut(start, stop, (n, step) if self._batched else (n,))
        return Chunk(n, sum(column.nbytes for column in columns), columns)


def _shapes(leaves: Sequence[Leaf]) -> list[Shape]:
    return [tuple(leaf.shape) for leaf in leaves]


def _fixed(shape: tuple[int | None, ...]) -> Shape | None:
    known = tuple(size for size in shape if size is not None)
    return known if len(known) == len(shape) else None
