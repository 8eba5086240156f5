"""Memory that is used again once nobody holds an array in it. Pure.

Fresh memory of a megabyte costs its pages: the first write to them takes ten times as long as one
to memory that was in use before.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__all__ = ["ALIGNMENT", "KEPT", "Recycled"]

#: What TensorFlow aliases starts on a multiple of this (bytes).
ALIGNMENT = 64
#: Pieces of one size (a power of two) that are kept: TensorFlow holds a few runs at a time.
KEPT = 8

_Bytes = np.ndarray[Any, np.dtype[np.uint8]]


def _references(kept: list[_Bytes], index: int) -> int:
    """Every view of an array, and so every tensor over it, is one more reference to it."""
    return sys.getrefcount(kept[index])


#: The references to a piece that only the list holds.
_UNUSED = _references([np.empty(1, np.uint8)], 0)


class Recycled:
    """Pieces of memory. One thread at a time; views may be dropped in any."""

    def __init__(self) -> None:
        self._kept: dict[int, list[_Bytes]] = {}

    def take(self, nbytes: int) -> _Bytes:
        """So many bytes, aligned; theirs as long as any view of them lives."""
        size = 1 << (nbytes + ALIGNMENT - 1).bit_length()
        raw = self._piece(size)
        shift = -raw.__array_interface__["data"][0] % ALIGNMENT
        return raw[shift : shift + nbytes]

    def _piece(self, size: int) -> _Bytes:
        kept = self._kept.setdefault(size, [])
        for index in range(len(kept)):
            if _references(kept, index) == _UNUSED:
                return kept[index]
        fresh = np.empty(size, np.uint8)
        if len(kept) < KEPT:
            kept.append(fresh)
        return fresh
