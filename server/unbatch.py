"""Batches as their elements, for ``unbatch=True`` and a generator that yields batches. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from genserver.protocol.errors import ElementError

__all__ = ["unbatched"]

#: Gives row i of a batch, in the batch's structure.
Row = Callable[[int], Any]


def unbatched(batches: Iterator[Any]) -> Iterator[Any]:
    """The rows of each batch as elements, in order. Rows are views: a batch lives until its last.

    `ElementError` for a batch whose arrays differ in their first dimension, or have none.
    """
    try:
        for number, batch in enumerate(batches):
            sizes: dict[str, int] = {}
            row = _row_of(batch, "element", sizes)
            if len(set(sizes.values())) > 1:
                told = ", ".join(f"{path} has {size}" for path, size in sizes.items())
                raise ElementError("element", f"batch {number} has arrays of other lengths: {told}")
            for index in range(next(iter(sizes.values()), 0)):
                yield row(index)
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


def _row_of(batch: Any, path: str, sizes: dict[str, int]) -> Row:
    if isinstance(batch, dict):
        named = {name: _row_of(part, f"{path}[{name!r}]", sizes) for name, part in batch.items()}
        return lambda index: {name: row(index) for name, row in named.items()}
    if isinstance(batch, tuple):
        rows = [_row_of(part, f"{path}[{number}]", sizes) for number, part in enumerate(batch)]
        kind = type(batch)
        if hasattr(batch, "_fields"):
            return lambda index: kind(*(row(index) for row in rows))
        return lambda index: tuple(row(index) for row in rows)
    if isinstance(batch, list):
        sizes[path] = len(batch)
        return batch.__getitem__
    array = batch if isinstance(batch, np.ndarray) else np.asarray(batch)
    if array.ndim == 0:
        raise ElementError(path, "unbatch=True takes batches, and this is a single value")
    sizes[path] = len(array)
    return lambda index: array[index]
