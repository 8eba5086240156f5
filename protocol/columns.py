"""The rows under a chunk: one thread fills them while another takes those that are finished.

A `Stack` has one column for each array of an element, made in memory that an allocator handed out.
The filler writes a row and then raises a counter; the taker reads the counter and cuts views. Rows
below the counter are never written again. Owns the memory as long as it is filled; afterwards only
the views that were cut keep it. Pure: no socket, clock or thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .dtypes import TEXT, numpy_dtype
from .normalize import Leaf, TextArray
from .packing import Put, packer
from .spec import ElementSpec

__all__ = [
    "ALIGNMENT", "CHUNK_BYTES", "CHUNK_ELEMENTS", "INLINE", "LARGE_CHUNK_BYTES",
    "LARGE_CHUNK_ELEMENTS", "LARGE_ELEMENT", "Allocate", "Array", "Column", "Room", "Shape",
    "Stack", "aligned_empty",
]  # fmt: skip

#: Where columns begin: on multiples of so many bytes, which TensorFlow can alias.
ALIGNMENT = 64
#: An array up to this many bytes may ride in a message's header (design 4): no allocator is asked.
INLINE = 4 * 1024
#: From this size on (bytes) elements are stacked by the larger limits.
LARGE_ELEMENT = 64 * 1024
#: A chunk of small elements ends at this many bytes and this many elements at the latest ...
CHUNK_BYTES, CHUNK_ELEMENTS = 4 * 1024 * 1024, 1024
#: ... and one of large elements at these. An element above the bytes travels alone.
LARGE_CHUNK_BYTES, LARGE_CHUNK_ELEMENTS = 32 * 1024 * 1024, 32

Array = np.ndarray[Any, np.dtype[Any]]
#: One array of a chunk with the leading dimension ``n``: numeric, or the texts in C order.
Column = Array | TextArray
Shape = tuple[int, ...]
#: Bytes -> flat writable bytes of just that size, on a multiple of `ALIGNMENT`, contents undefined.
#: Whoever gives the memory has it back when nobody refers to it any more.
Allocate = Callable[[int], Array]
#: Elements and bytes that the trainer's credit still allows.
Room = tuple[int, int]


def aligned_empty(nbytes: int) -> Array:
    """Fresh memory of numpy's."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    shift = -raw.__array_interface__["data"][0] % ALIGNMENT
    return raw[shift : shift + nbytes]


class Stack:
    """Columns of one shape each. ``step`` rows make an element: 1, or the size of a batch.

    `row` and `whole` belong to the filler, `taken` to the taker; each reads the other's. Under the
    interpreter's lock that is enough, since a row is written before the counter is raised.
    """

    __slots__ = (
        "_allocate", "_large", "_spec", "columns", "lent", "nbytes", "put", "row", "rows", "shapes",
        "step", "taken", "weight", "whole",
    )  # fmt: skip

    def __init__(self, spec: ElementSpec, step: int, allocate: Allocate) -> None:
        self._spec = spec
        self._allocate = allocate
        self._large = False
        self.step = step
        leaves = spec.leaves()
        #: None until its shape is known; a list for texts.
        self.columns: list[Array | list[bytes] | None] = [None] * len(leaves)
        self.shapes: list[Shape | None] = [None] * len(leaves)
        #: How many rows there are: multiples of ``step``.
        self.rows = CHUNK_ELEMENTS * step
        #: The row to be written next, the rows of finished elements, those that were taken.
        self.row = self.whole = self.taken = 0
        #: Bytes of the rows so far, and of one row (of the first where texts vary).
        self.nbytes = self.weight = 0
        #: Rows of this stack that the generator fills itself, by leaf; see `ChunkBuilder.lend`.
        self.lent: dict[int, Array] = {}
        #: The short way in for a row, None until all shapes are known.
        self.put: Put | None = None

    @property
    def midway(self) -> bool:
        """Whether a batch is half made."""
        return self.row != self.whole

    def fits(self, shapes: Sequence[Shape], weight: int) -> bool:
        """Whether an element may begin here whose first row has these shapes and bytes."""
        if self.row >= self.rows or not all(map(_alike, self.shapes, shapes)):
            return False
        # Of texts the bytes count as well; all else weighs in each row what `rows` was made for.
        return self.row == 0 or self.nbytes + weight * self.step <= self._bytes()

    def prepare(self, shapes: Sequence[Shape | None], room: Room) -> None:
        """Make the columns whose shapes are known before the first row is."""
        weight = sum(
            math.prod(shape) * numpy_dtype(leaf.dtype).itemsize
            for (_, leaf), shape in zip(self._spec.leaves(), shapes, strict=True)
            if shape is not None
        )
        self._limit(weight, room)
        self._make(shapes)

    def begin(self, shapes: Sequence[Shape], weight: int, room: Room) -> None:
        """The first row is known: make the other columns, and the short way into all of them."""
        self._limit(weight, room)
        self._make(shapes)
        self.weight = weight
        self.put = packer(self._spec, self.columns)

    def write(self, leaves: Sequence[Leaf], weight: int) -> None:
        """Copy a row that the short way did not take; lent rows that come back are in place."""
        for i, leaf in enumerate(self._apart(leaves)):
            column = self.columns[i]
            if isinstance(leaf, TextArray):
                assert isinstance(column, list)  # made by the kind of leaf
                column.extend(leaf.items)
            elif leaf is not self.lent.get(i):
                assert isinstance(column, np.ndarray)
                column[self.row] = leaf
        self.lent.clear()
        self.nbytes += weight
        self.row += 1
        if self.row % self.step == 0:
            self.whole = self.row

    def lend(self, index: int) -> Array:
        """The next row of a column, for the generator to fill."""
        column = self.columns[index]
        assert isinstance(column, np.ndarray)  # texts are not lent
        # With the dots it is an array also where a row has no dimensions.
        self.lent[index] = column[self.row, ...]
        return self.lent[index]

    def cut(self, start: int, stop: int, lead: Shape) -> tuple[Column, ...]:
        """Rows ``start`` to ``stop`` as views, with the leading dimensions ``lead``."""
        return tuple(self._cut(i, start, stop, lead) for i in range(len(self.columns)))

    def _cut(self, index: int, start: int, stop: int, lead: Shape) -> Column:
        column, shape = self.columns[index], self.shapes[index]
        assert column is not None  # there are rows
        assert shape is not None
        if isinstance(column, list):
            size = math.prod(shape)
            return TextArray((*lead, *shape), tuple(column[start * size : stop * size]))
        rows = column[start:stop]
        return rows if len(lead) == 1 else rows.reshape(*lead, *shape)

    def _limit(self, weight: int, room: Room) -> None:
        """Cut `rows` to what the limits and the credit allow for rows of ``weight`` bytes."""
        size = max(1, weight * self.step)
        self._large = size >= LARGE_ELEMENT
        most = LARGE_CHUNK_ELEMENTS if self._large else CHUNK_ELEMENTS
        elements, nbytes = room
        fitting = min(most, self._bytes() // size, elements, -(-nbytes // size))
        self.rows = min(self.rows, max(1, fitting) * self.step)

    def _bytes(self) -> int:
        return LARGE_CHUNK_BYTES if self._large else CHUNK_BYTES

    def _make(self, shapes: Sequence[Shape | None]) -> None:
        for i, ((_, leaf), shape) in enumerate(zip(self._spec.leaves(), shapes, strict=True)):
            if self.shapes[i] is None and shape is not None:
                self.shapes[i] = shape
                self.columns[i] = [] if leaf.dtype in TEXT else self._column(shape, leaf.dtype)

    def _column(self, shape: Shape, dtype: str) -> Array:
        full, kind = (self.rows, *shape), numpy_dtype(dtype)
        size = math.prod(full) * kind.itemsize
        if size <= INLINE:
            return np.empty(full, kind)
        # Views and nothing else: whoever gave the memory finds it again as the column's base.
        return self._allocate(size).view(kind).reshape(full)

    def _apart(self, leaves: Sequence[Leaf]) -> Sequence[Leaf]:
        """``leaves``, with copies of those that lie in lent rows but are not what was lent there.

        A generator may give two lent arrays in the other order, or a part of one.
        """
        if not self.lent:
            return leaves
        lent = list(self.lent.values())
        return [
            leaf.copy()
            if isinstance(leaf, np.ndarray)
            and leaf is not self.lent.get(i)
            and any(np.may_share_memory(leaf, row) for row in lent)
            else leaf
            for i, leaf in enumerate(leaves)
        ]


def _alike(ours: Shape | None, theirs: Shape) -> bool:
    return ours is None or ours == theirs
