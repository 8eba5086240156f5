"""The short way of an element into its row: for what nearly every generator yields.

A `Put` looks at types, dtypes and shapes only, so that it takes half a microsecond for an array and
a label. It takes just what `Normalizer` would let through as it is or convert without loss, and
leaves all else to it. Pure.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .normalize import flatten
from .spec import ArraySpec, ElementSpec, Node, Record

__all__ = ["Put", "packer"]

#: Rows up to so many bytes are copied by way of bytes.
SMALL = 8 * 1024
#: ... if there are no more rows than this, since the place of each is written down.
MOST_PLACES = 8 * 1024

#: (element or leaf, row) -> whether it was copied there. A refused one may be half written.
Put = Callable[[Any, int], bool]


def packer(spec: ElementSpec, columns: Sequence[Any]) -> Put:
    """The short way into ``columns``, which takes nothing when one of them holds texts."""
    if not all(isinstance(column, np.ndarray) for column in columns):
        return _refuse
    puts = [_short_way(column) for column in columns]
    return _structure(spec.root, puts)


def _refuse(_element: Any, _row: int) -> bool:
    return False


def _structure(root: Node, puts: list[Put]) -> Put:
    if isinstance(root, ArraySpec):
        return puts[0]
    if any(isinstance(item, Record) for item in root.items):
        return functools.partial(_nested, root, puts)
    if root.kind == "dict":
        return _dict(root.names, puts)
    if root.kind == "named":
        return _named(root.names, puts)
    return _pair(*puts) if len(puts) == 2 else _tuple(puts)


def _pair(first: Put, second: Put) -> Put:
    """Apart from `_tuple` because a loop costs a third of a microsecond, and most yield pairs."""

    def put(element: Any, row: int) -> bool:
        if type(element) is not tuple or len(element) != 2:
            return False
        a, b = element
        return first(a, row) and second(b, row)

    return put


def _tuple(puts: list[Put]) -> Put:
    count = len(puts)

    def put(element: Any, row: int) -> bool:
        if type(element) is not tuple or len(element) != count:
            return False
        return _each(puts, element, row)

    return put


def _dict(names: Sequence[str], puts: list[Put]) -> Put:
    pairs = list(zip(names, puts, strict=True))

    def put(element: Any, row: int) -> bool:
        if type(element) is not dict or len(element) != len(pairs):
            return False
        for name, one in pairs:  # noqa: SIM110  # all() costs a generator
            if name not in element or not one(element[name], row):
                return False
        return True

    return put


def _named(names: tuple[str, ...], puts: list[Put]) -> Put:
    known: type | None = None

    def put(element: Any, row: int) -> bool:
        nonlocal known
        kind = type(element)
        if kind is not known:
            if not issubclass(kind, tuple) or getattr(kind, "_fields", None) != names:
                return False
            known = kind
        return len(element) == len(names) and _each(puts, element, row)

    return put


def _nested(root: Node, puts: list[Put], element: Any, row: int) -> bool:
    values: list[Any] = []
    if not flatten(root, element, values):
        return False
    return _each(puts, values, row)


def _each(puts: list[Put], values: Sequence[Any], row: int) -> bool:
    for put, value in zip(puts, values, strict=True):  # noqa: SIM110  # all() costs a generator
        if not put(value, row):
            return False
    return True


def _short_way(column: np.ndarray[Any, Any]) -> Put:
    if column.ndim == 1:
        return _scalar(column)
    small = 0 < column[0].nbytes <= SMALL and len(column) <= MOST_PLACES
    return _small(column) if small else _array(column)


def _small(column: np.ndarray[Any, Any]) -> Put:
    """`_array` for a few kilobytes, where two plain copies cost less than one of numpy's."""
    shape, dtype, ndarray = column.shape[1:], column.dtype, np.ndarray
    places = _places(len(column), column[0].nbytes)
    target = column.reshape(-1).view(np.uint8).data

    def put(value: Any, row: int) -> bool:
        if (
            type(value) is ndarray
            and (value.dtype is dtype or value.dtype == dtype)
            and value.shape == shape
        ):
            target[places[row]] = value.tobytes()
            return True
        return False

    return put


@functools.lru_cache(maxsize=64)
def _places(rows: int, size: int) -> tuple[slice, ...]:
    """Where each row lies in a column, in bytes."""
    return tuple(slice(row * size, (row + 1) * size) for row in range(rows))


def _array(column: np.ndarray[Any, Any]) -> Put:
    shape, dtype, ndarray = column.shape[1:], column.dtype, np.ndarray

    def put(value: Any, row: int) -> bool:
        # Most dtypes are one object; those of files and of ml_dtypes need not be.
        if (
            type(value) is ndarray
            and (value.dtype is dtype or value.dtype == dtype)
            and value.shape == shape
        ):
            column[row] = value
            return True
        return False

    return put


def _scalar(column: np.ndarray[Any, Any]) -> Put:
    """Numbers of Python in the range that is safe, and numpy's of the very type."""
    python, low, high = _range_of(column.dtype)
    numpy_type, array = column.dtype.type, _array(column)

    def put(value: Any, row: int) -> bool:
        kind = type(value)
        if (kind is python and low <= value <= high) or kind is numpy_type:
            column[row] = value
            return True
        return array(value, row)

    return put


def _range_of(dtype: np.dtype[Any]) -> tuple[type | None, Any, Any]:
    """The Python type whose values may be written as they are, and from where to where.

    NaN lies in no range, and is left to `Normalizer` with the infinities.
    """
    if dtype.kind == "b":
        return bool, False, True
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return int, int(info.min), int(info.max)
    if dtype == np.float64:
        return float, -math.inf, math.inf
    if dtype == np.float32:
        largest = float(np.finfo(np.float32).max)
        return float, -largest, largest
    return None, 0, 0
