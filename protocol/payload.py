"""The arrays of an ITEM, as they travel: described and framed, and read back under guard. Pure.

Apart from codec.py because a supervisor, which sends and receives no element, does without numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgpack_numpy
import numpy as np

from .chunk import Chunk, Column
from .codec import FRAME, PLACED, TEXT_FRAMES, TEXT_INLINE, Frame, Place, checked_shape, count_of
from .columns import INLINE
from .dtypes import DTYPES, TEXT, numpy_dtype
from .errors import RemoteProtocolError
from .normalize import TextArray
from .spec import ArraySpec

__all__ = ["chunk_of", "describe"]

#: Arrays up to `INLINE` ride in the header as long as all of a message's stay below this (bytes).
INLINE_TOTAL = 16 * 1024


def chunk_of(n: int, arrays: Sequence[tuple[ArraySpec, object]], memory: Sequence[Frame]) -> Chunk:
    """A chunk of ``n`` elements from its described arrays and the memory that holds their parts."""
    remaining = list(memory)
    columns = [_column(n, leaf, array, remaining) for leaf, array in arrays]
    return Chunk(n, sum(column.nbytes for column in columns), tuple(columns))


def describe(columns: Sequence[Column], frames: list[Frame], place: Place) -> list[object]:
    """Describe each column; append the frames of those that neither ride along nor are there."""
    room = INLINE_TOTAL
    described: list[object] = []
    for column in columns:
        # An inline array costs its bytes and msgpack-numpy's keys (about 64 bytes).
        weight = column.nbytes + 64
        inline = column.nbytes <= INLINE and weight <= room
        room -= weight if inline else 0
        if isinstance(column, TextArray):
            described.append(_describe_text(column, inline, frames))
        elif inline:
            described.append(msgpack_numpy.encode(_travelling(column)))
        else:
            described.append(_describe_array(column, frames, place))
    return described


def _describe_array(
    column: np.ndarray[Any, Any], frames: list[Frame], place: Place
) -> list[object]:
    raw = _travelling(column).reshape(-1).view(np.uint8)
    shape, placed = list(column.shape), place(raw)
    if placed is not None:
        return [PLACED, shape, placed.segment, placed.generation, placed.offset]
    frames.append(raw.data)
    return [FRAME, shape]


def _describe_text(column: TextArray, inline: bool, frames: list[Frame]) -> list[object]:
    if inline:
        return [TEXT_INLINE, list(column.shape), list(column.items)]
    offsets = np.zeros(len(column.items) + 1, "<u8")
    np.cumsum([len(item) for item in column.items], out=offsets[1:])
    frames += [offsets.view(np.uint8).data, b"".join(column.items)]
    return [TEXT_FRAMES, list(column.shape), int(offsets[-1])]


def _travelling(column: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Little-endian C order, with types that numpy does not know as unsigned integers."""
    array = np.ascontiguousarray(column)
    row = DTYPES[array.dtype.name]
    if row.module:
        array = array.view(row.wire)
    return array.astype(row.wire, copy=False)


def _column(n: int, leaf: ArraySpec, array: Any, frames: list[Frame]) -> Column:
    if isinstance(array, dict):
        return _from_inline(n, leaf, array)
    shape = checked_shape(n, leaf, array[1])
    if array[0] in (FRAME, PLACED):
        flat = np.frombuffer(frames.pop(0), DTYPES[leaf.dtype].wire)
        return _checked(flat.reshape(shape), leaf)
    if array[0] == TEXT_FRAMES:
        return _utf8(_from_offsets(shape, frames.pop(0), frames.pop(0)), leaf)
    items = array[2]
    if not isinstance(items, tuple) or len(items) != count_of(shape):
        raise RemoteProtocolError("item: as many texts as the shape says must come")
    if any(type(item) is not bytes for item in items):
        raise RemoteProtocolError("item: texts travel as bytes")
    return _utf8(TextArray(shape, items), leaf)


def _from_inline(n: int, leaf: ArraySpec, array: dict[Any, Any]) -> Column:
    """The guard: msgpack-numpy sees only a map that was rebuilt from checked values."""
    if set(array) != {b"nd", b"type", b"kind", b"shape", b"data"} or leaf.dtype in TEXT:
        raise RemoteProtocolError("item: malformed inline array")
    wire = DTYPES[leaf.dtype].wire
    shape = checked_shape(n, leaf, array[b"shape"])
    data = array[b"data"]
    if array[b"nd"] is not True or array[b"kind"] != b"" or array[b"type"] != wire:
        raise RemoteProtocolError(f"item: an inline array that is not {leaf}")
    if type(data) is not bytes or len(data) != count_of(shape) * DTYPES[leaf.dtype].itemsize:
        raise RemoteProtocolError("item: an inline array of another size than its shape says")
    safe = {b"nd": True, b"type": wire, b"kind": b"", b"shape": shape, b"data": data}
    return _checked(msgpack_numpy.decode(safe), leaf)


def _checked(array: np.ndarray[Any, Any], leaf: ArraySpec) -> np.ndarray[Any, Any]:
    """The array as users see it, read-only; a bool's bytes must be 0 or 1 (rule D7)."""
    if leaf.dtype == "bool" and array.size and array.view(np.uint8).max() > 1:
        raise RemoteProtocolError("item: a bool that is neither 0 nor 1")
    target = numpy_dtype(leaf.dtype)
    view = array if array.dtype == target else array.view(target)
    view.flags.writeable = False
    return view


def _from_offsets(shape: tuple[int, ...], offsets: Frame, data: Frame) -> TextArray:
    marks = np.frombuffer(offsets, "<u8").tolist()
    raw = bytes(data)
    rising = all(a <= b for a, b in pairwise(marks))
    if marks[0] != 0 or marks[-1] != len(raw) or not rising:
        raise RemoteProtocolError("item: offsets that do not divide the texts")
    items = tuple(raw[a:b] for a, b in pairwise(marks))
    return TextArray(shape, items)


def _utf8(texts: TextArray, leaf: ArraySpec) -> TextArray:
    if leaf.dtype == "str":
        try:
            for item in texts.items:
                item.decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("item: a str that is not UTF-8") from None
    return texts
