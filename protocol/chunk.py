"""A chunk: a run of elements of one stream, stacked array by array.

The producer fills a `ChunkBuilder` row by row, which is also the copy that frees the generator to
reuse its buffers; the consumer gets `Column`s back and cuts elements from them as views.
Owns the chunk's memory until it is handed on. Pure: no socket, clock or thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .dtypes import DTYPES, TEXT
from .normalize import Leaf, TextArray
from .spec import ElementSpec

__all__ = ["LARGE_ELEMENT", "Chunk", "ChunkBuilder", "Column", "leaf_nbytes"]

#: From this size on (bytes) an element travels alone: stacking would only delay it (design 6).
LARGE_ELEMENT = 64 * 1024
#: A chunk of small elements is cut at this size (bytes) at the latest (design 6).
CHUNK_BYTES = 1024 * 1024
#: ... and at this many elements: the longest run of one worker that a batch can get.
CHUNK_ELEMENTS = 32

#: One array of a chunk with the leading dimension ``n``: numeric, or the texts in C order.
Column = np.ndarray[Any, np.dtype[Any]] | TextArray


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


def leaf_nbytes(leaf: Leaf) -> int:
    """The weight of one leaf, the same at both ends of a link."""
    return leaf.nbytes


class ChunkBuilder:
    """Collects elements that have the same shapes. One thread at a time."""

    def __init__(self, spec: ElementSpec) -> None:
        self._specs = [leaf for _, leaf in spec.leaves()]
        self._buffers: list[np.ndarray[Any, Any] | list[bytes]] = []
        self._shapes: list[tuple[int, ...]] = []
        self._rows = 0
        self.n = 0
        self.nbytes = 0

    def accepts(self, leaves: Sequence[Leaf]) -> bool:
        """Whether an element can be added, or must wait for the next chunk."""
        if self.n == 0:
            return True
        size = sum(map(leaf_nbytes, leaves))
        return (
            self.n < self._rows
            and self.nbytes + size <= CHUNK_BYTES
            and [tuple(leaf.shape) for leaf in leaves] == self._shapes
        )

    def add(self, leaves: Sequence[Leaf]) -> int:
        """Copy one element in; returns its weight in bytes."""
        size = sum(map(leaf_nbytes, leaves))
        if self.n == 0:
            self._allocate(leaves, size)
        for buffer, leaf in zip(self._buffers, leaves, strict=True):
            if isinstance(leaf, TextArray):
                assert isinstance(buffer, list)  # allocated by kind of leaf
                buffer.extend(leaf.items)
            else:
                assert isinstance(buffer, np.ndarray)
                buffer[self.n] = leaf
        self.n += 1
        self.nbytes += size
        return size

    def take(self) -> Chunk:
        """The chunk so far; the builder starts a new one."""
        columns: list[Column] = []
        for buffer, shape in zip(self._buffers, self._shapes, strict=True):
            if isinstance(buffer, list):
                columns.append(TextArray((self.n, *shape), tuple(buffer)))
            else:
                columns.append(buffer[: self.n])
        chunk = Chunk(self.n, self.nbytes, tuple(columns))
        self._buffers, self._shapes, self.n, self.nbytes = [], [], 0, 0
        return chunk

    def _allocate(self, leaves: Sequence[Leaf], size: int) -> None:
        small = size < LARGE_ELEMENT
        self._rows = max(1, min(CHUNK_ELEMENTS, CHUNK_BYTES // max(1, size))) if small else 1
        self._shapes = [tuple(leaf.shape) for leaf in leaves]
        for leaf, spec in zip(leaves, self._specs, strict=True):
            if isinstance(leaf, TextArray):
                self._buffers.append([])
            else:
                self._buffers.append(np.empty((self._rows, *leaf.shape), leaf.dtype))
            assert (spec.dtype in TEXT) == isinstance(leaf, TextArray)
        assert all(spec.dtype in DTYPES for spec in self._specs)
