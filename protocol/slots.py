"""Which slots of shared memory are free: the worker's book of what one trainer has from it.

A slot is one piece of memory, written by the worker and mapped by the trainer. It is written again
only when nobody can see it any more: no array of ours lies in it, and the trainer has released
every message that named it. Pure: no memory, lock or thread.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PAGE", "SlotTable", "Taken"]

#: Sizes are multiples of this many bytes.
PAGE = 4096
#: A free slot of up to so many times the wanted size is taken instead of a new one.
SLACK = 2


@dataclass(frozen=True, slots=True)
class Taken:
    """A slot to write to. ``size`` is 0 when it exists already, else bytes to make; the slots in
    ``dropped`` made room for it and are gone."""

    slot: int
    generation: int
    size: int = 0
    dropped: tuple[int, ...] = ()


@dataclass(slots=True)
class _Slot:
    size: int
    generation: int = 0
    #: Whether an array of this process lies in it.
    local: bool = True
    #: Messages that name it and that the trainer has not released.
    out: int = 0


class SlotTable:
    """Slots of one link. One thread at a time."""

    def __init__(self, budget: int) -> None:
        """``budget`` bytes at most are in slots, used and free."""
        self.budget = budget
        self.nbytes = 0
        self._slots: dict[int, _Slot] = {}
        #: Least recently used first.
        self._free: list[int] = []
        self._next = 0

    def take(self, nbytes: int) -> Taken | None:
        """A slot of at least ``nbytes``, or None when the budget has no room for one."""
        size = -(-max(1, nbytes) // PAGE) * PAGE
        fitting = [n for n in self._free if size <= self._slots[n].size <= SLACK * size]
        if fitting:
            # The last of the smallest: its pages may still be in the cache.
            number = min(reversed(fitting), key=lambda n: self._slots[n].size)
            self._free.remove(number)
            slot = self._slots[number]
            slot.generation += 1
            slot.local = True
            return Taken(number, slot.generation)
        dropped = self._make_room(size)
        if self.nbytes + size > self.budget:
            return None
        number, self._next = self._next, self._next + 1
        self._slots[number] = _Slot(size)
        self.nbytes += size
        return Taken(number, 0, size, dropped)

    def sent(self, slot: int) -> None:
        """A message that names the slot is on its way."""
        self._slots[slot].out += 1

    def released(self, slot: int, generation: int) -> None:
        """The trainer is done with one message; ignored when it never had it."""
        known = self._slots.get(slot)
        if known is not None and known.generation == generation and known.out:
            known.out -= 1
            self._free_if_unseen(slot, known)

    def left(self, slot: int) -> None:
        """No array of this process lies in the slot any more."""
        known = self._slots.get(slot)
        if known is not None and known.local:
            known.local = False
            self._free_if_unseen(slot, known)

    def forget(self, slot: int) -> None:
        """The slot could not be made."""
        self.nbytes -= self._slots.pop(slot).size

    def _free_if_unseen(self, slot: int, known: _Slot) -> None:
        if not known.local and not known.out:
            self._free.append(slot)

    def _make_room(self, size: int) -> tuple[int, ...]:
        """Drop free slots, the least recently used first, but only if that makes enough room."""
        spare = sum(self._slots[n].size for n in self._free)
        if self.nbytes - spare + size > self.budget:
            return ()
        dropped = []
        while self.nbytes + size > self.budget:
            dropped.append(self._free.pop(0))
            self.forget(dropped[-1])
        return tuple(dropped)
