"""A set of whole numbers that are mostly neighbours, such as the items that are done. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

__all__ = ["Ranges"]


class Ranges:
    """Numbers as pairs (first, end), ``end`` not among them."""

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._pairs = [(int(first), int(end)) for first, end in pairs]

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """In their order; no two touch."""
        return tuple(self._pairs)

    def add(self, number: int) -> None:
        """One more; it may be there already."""
        place = bisect_right(self._pairs, number, key=lambda pair: pair[0])
        before = self._pairs[place - 1] if place else None
        if before is not None and number < before[1]:
            return
        after = self._pairs[place] if place < len(self._pairs) else None
        joins_before = before is not None and before[1] == number
        joins_after = after is not None and after[0] == number + 1
        first = before[0] if before is not None and joins_before else number
        end = after[1] if after is not None and joins_after else number + 1
        self._pairs[place - joins_before : place + joins_after] = [(first, end)]

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        place = bisect_right(self._pairs, number, key=lambda pair: pair[0])
        return place > 0 and number < self._pairs[place - 1][1]
