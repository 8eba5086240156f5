"""The worker's side of shared memory: slots that elements are written to, lent to trainers.

A trainer on the same host connects to a file beside the worker's ipc socket and says which link it
belongs to; from then on what is made for that trainer lies in segments whose descriptors are passed
there, once each, and messages name the place. Segments belong to a link: when it is lost, nothing
is written to them again, and they live as long as somebody sees them (a trainer that only slept
keeps its tensors). When memory is short everything goes through the socket, as to any other
trainer. Owns the file, the passing sockets and, through `_Pool`, the segments.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from struct import Struct
from typing import Any

import numpy as np

from ..codec import Placed
from ..slots import SlotTable
from .buffers import SMALLEST
from .leases import Bytes, Lease, address_of, lease_of
from .platform import has_memory, memory_size
from .sockets import Courier, Couriers

__all__ = ["FORGET", "LINK", "SEGMENT", "Lender", "make_lender", "memory_path"]

logger = logging.getLogger("genserver")

#: What a trainer says first: session and fence of its link.
LINK = Struct(">QQ")
#: What comes with a descriptor, number and size; size 0 without one: the segment is gone.
SEGMENT = Struct(">QQ")
FORGET = 0
#: Trainers whose link has not said HELLO yet.
MAX_EARLY = 64
#: No trainer is lent more than this part of the memory that the worker may use.
SHARE_OF_MEMORY = 1 / 8


def memory_path(ipc: str) -> str:
    """The file beside a worker's ipc socket where descriptors are passed."""
    return ipc.removesuffix(".sock") + ".mem"


def make_lender(ipc: str) -> Lender | None:
    """The shared memory of a worker with this ipc socket, or None where there can be none."""
    if not ipc or not has_memory():
        return None
    try:
        return Lender(ipc)
    except OSError as error:
        logger.warning("no shared memory (%s): elements go through the socket", error.strerror)
        return None


class Lender:
    """A worker's shared memory. On the I/O thread, but for `allocate`."""

    def __init__(self, ipc: str) -> None:
        """Raises `OSError` when the file beside ``ipc`` cannot be made."""
        self._couriers = Couriers(memory_path(ipc))
        self._early: list[Courier] = []
        #: By session; the runner's thread only looks.
        self._pools: dict[int, _Pool] = {}
        self._peers: dict[bytes, _Pool] = {}

    def join(self, peer: bytes, session: int, fence: int, memory: int) -> None:
        """A link was made whose trainer connected before it said HELLO; the old one's pool ends."""
        self._accept()
        self.prune(lambda other: self._peers[other] is not self._pools.get(session))
        for courier in list(self._early):
            said = courier.receive()
            if said is None:
                continue
            self._early.remove(courier)
            if said[0] == LINK.pack(session, fence):
                budget = min(memory, int(memory_size() * SHARE_OF_MEMORY))
                self._pools[session] = self._peers[peer] = _Pool(session, courier, budget)
            else:
                courier.close()

    def allocate(self, session: int, nbytes: int) -> Bytes | None:
        """Memory lent to the session's trainer, or None when that is not possible. Any thread."""
        pool = self._pools.get(session)
        return None if pool is None or nbytes < SMALLEST else pool.allocate(nbytes)

    def place(self, peer: bytes, array: np.ndarray[Any, Any]) -> Placed | None:
        """Where an array lies for ``peer``, which is told of the segment if it is new to it."""
        pool = self._peers.get(peer)
        return None if pool is None else pool.place(array)

    def released(self, peer: bytes, slots: tuple[tuple[int, int], ...]) -> None:
        """A trainer is done with these (segment, generation)s."""
        pool = self._peers.get(peer)
        if pool is not None:
            pool.released(slots)

    def prune(self, alive: Callable[[bytes], bool]) -> None:
        """Let go of the pools of links that are no more."""
        for peer in [peer for peer in self._peers if not alive(peer)]:
            pool = self._peers.pop(peer)
            pool.close()
            if self._pools.get(pool.session) is pool:
                del self._pools[pool.session]

    def close(self) -> None:
        """Let go of everything and remove the file."""
        self.prune(lambda _: False)
        for courier in self._early:
            courier.close()
        self._couriers.close()

    def _accept(self) -> None:
        while (courier := self._couriers.accept()) is not None:
            self._early.append(courier)
            if len(self._early) > MAX_EARLY:
                self._early.pop(0).close()


class _Pool:
    """The segments of one link. Two threads: the runner's takes, the I/O thread does the rest."""

    def __init__(self, session: int, courier: Courier, budget: int) -> None:
        self.session = session
        self._courier = courier
        self._lock = threading.Lock()
        self._table = SlotTable(budget)
        self._segments: dict[int, Any] = {}
        self._left: deque[int] = deque()
        self._forgotten: list[int] = []
        self._warned = False
        self._closed = False

    def allocate(self, nbytes: int) -> Bytes | None:
        """A slot to write ``nbytes`` to, or None when there is none."""
        with self._lock:
            self._settle()
            taken = None if self._closed else self._table.take(nbytes)
            if taken is None:
                return None
            for dropped in taken.dropped:
                del self._segments[dropped]
                self._forgotten.append(dropped)
            segment = self._segments.get(taken.slot)
        if segment is None:  # made without the lock: it takes a millisecond for a megabyte
            segment = self._make(taken.slot, taken.size)
        if segment is None:
            return None
        return _Slot(self, taken.slot, taken.generation, segment, nbytes, self._left).array()

    def place(self, array: np.ndarray[Any, Any]) -> Placed | None:
        """Where ``array`` lies, now on its way to the trainer; None when it is not in a slot of
        this link, or the trainer cannot be told."""
        slot = lease_of(array)
        if not isinstance(slot, _Slot) or slot.pool is not self:
            return None
        with self._lock:
            self._settle()
            self._tell_forgotten()
            segment = self._segments[slot.number]
            if segment.fd >= 0:
                text = SEGMENT.pack(slot.number, segment.size)
                if not self._courier.send(text, segment.fd):
                    return None
                segment.close_file()
            self._table.sent(slot.number)
        offset = address_of(array) - segment.address
        return Placed(slot.number, slot.generation, offset, array.nbytes)

    def released(self, slots: tuple[tuple[int, int], ...]) -> None:
        with self._lock:
            for number, generation in slots:
                self._table.released(number, generation)

    def close(self) -> None:
        """The link is gone. Arrays in the slots stay what they are."""
        with self._lock:
            self._closed = True
            self._segments.clear()
            self._courier.close()

    def _settle(self) -> None:
        while self._left:
            self._table.left(self._left.popleft())

    def _make(self, number: int, size: int) -> Any:
        from .segments import Segment

        try:
            segment = Segment(size)
        except OSError as error:
            with self._lock:
                self._table.forget(number)
            if not self._warned:
                self._warned = True
                logger.warning(
                    "no shared memory (%s): elements go through the socket", error.strerror
                )
            return None
        with self._lock:
            self._segments[number] = segment
        return segment

    def _tell_forgotten(self) -> None:
        while self._forgotten and self._courier.send(SEGMENT.pack(self._forgotten[0], FORGET)):
            del self._forgotten[0]


class _Slot(Lease):
    """The arrays of this process that lie in a slot; the last one gone, it may be used again."""

    __slots__ = ("generation", "number", "pool")

    def __init__(
        self, pool: _Pool, number: int, generation: int, segment: Any, nbytes: int, left: deque[int]
    ) -> None:
        super().__init__(
            segment.address, nbytes, segment, lambda: left.append(number), writable=True
        )
        self.pool, self.number, self.generation = pool, number, generation
