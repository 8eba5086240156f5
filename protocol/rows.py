"""One element of a chunk, as numpy values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .chunk import Column
from .normalize import TextArray
from .spec import ArraySpec, ElementSpec

__all__ = ["row_of", "value_at"]


def row_of(columns: Sequence[Column], row: int, spec: ElementSpec) -> Any:
    """Element ``row`` in the structure of ``spec``: arrays are views, texts str or bytes."""
    leaves = [leaf for _, leaf in spec.leaves()]
    return spec.unflatten(
        [value_at(column, row, leaf) for column, leaf in zip(columns, leaves, strict=True)]
    )


def value_at(column: Column, row: int, leaf: ArraySpec) -> Any:
    """One value: a view of the column, a numpy scalar, a text, or an array of texts."""
    if not isinstance(column, TextArray):
        return column[row]
    size = len(column.items) // column.shape[0]
    items: Sequence[Any] = column.items[row * size : (row + 1) * size]
    if leaf.dtype == "str":
        items = [item.decode() for item in items]
    if len(column.shape) == 1:
        return items[0]
    array = np.empty(size, object)
    array[:] = items
    return array.reshape(column.shape[1:])
