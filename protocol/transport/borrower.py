"""The trainer's side of shared memory: segments of one worker, mapped read-only for one link.

Owns the passing socket and the mappings. An array over a slot tells the worker when nobody sees it
any more; the mapping lives as long as such an array does, also when the link is gone.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from ..codec import Placed
from ..errors import RemoteProtocolError
from .leases import Bytes, Lease
from .lender import FORGET, LINK, SEGMENT, memory_path
from .loop import Loop
from .sockets import Courier

__all__ = ["Borrower"]

logger = logging.getLogger("genserver")

#: So many bytes that nobody sees any more are worth waking the loop for; less waits for its turn.
WORTH_WAKING = 4 * 2**20


class Borrower:
    """What one link was lent. On the loop's thread; arrays may end on any."""

    def __init__(self, loop: Loop, ipc: str, on_ended: Callable[[], None]) -> None:
        """Connects to the file beside a worker's socket; raises `OSError` when that fails.

        ``on_ended`` is called on the loop's thread when it is worth looking at `ended`.
        """
        self._loop = loop
        self._on_ended = on_ended
        self._courier = Courier.connect(memory_path(ipc))
        self._mappings: dict[int, Any] = {}
        self._ended: deque[tuple[int, int, int]] = deque()
        #: Bytes in arrays that somebody still sees.
        self.held = 0
        loop.add(self._courier.fd, self._readable)

    def introduce(self, session: int, fence: int) -> bool:
        """Say which link this belongs to, before the link's HELLO; False when nobody listens."""
        return self._courier.send(LINK.pack(session, fence))

    def lease(self, placed: Placed) -> Bytes:
        """The bytes at a place. `RemoteProtocolError` when there is no such place."""
        if placed.segment not in self._mappings:
            self._read()
        mapping = self._mappings.get(placed.segment)
        if mapping is None or placed.offset + placed.nbytes > mapping.size:
            raise RemoteProtocolError("an array outside of the shared memory")
        self.held += placed.nbytes
        end = (placed.segment, placed.generation, placed.nbytes)
        lease = Lease(
            mapping.address + placed.offset, placed.nbytes, mapping, lambda: self._end(end),
            writable=False,
        )  # fmt: skip
        return lease.array()

    def ended(self) -> list[tuple[int, int]]:
        """The (segment, generation) of each array that nobody sees any more."""
        released = []
        while self._ended:
            segment, generation, nbytes = self._ended.popleft()
            self.held -= nbytes
            released.append((segment, generation))
        return released

    def close(self) -> None:
        """The link is gone; what is still seen stays mapped."""
        self._loop.remove(self._courier.fd)
        self._courier.close()
        self._mappings.clear()

    def _end(self, end: tuple[int, int, int]) -> None:
        """Any thread, inside the garbage collector too: see `Lease`."""
        self._ended.append(end)
        if end[2] >= WORTH_WAKING or len(self._ended) % 16 == 0:
            self._loop.call(self._on_ended)

    def _readable(self) -> bool:
        try:
            self._read()
        except RemoteProtocolError as error:
            # Whatever names the segment will find that it is not there.
            logger.info("%s", error)
            self._loop.remove(self._courier.fd)
        return False

    def _read(self) -> None:
        """Map what was passed."""
        from .segments import Mapping

        while (said := self._courier.receive()) is not None:
            text, descriptor = said
            if not text:
                self._loop.remove(self._courier.fd)
                return
            if len(text) != SEGMENT.size:
                raise RemoteProtocolError("shared memory: not ours")
            number, size = SEGMENT.unpack(text)
            if size == FORGET:
                self._mappings.pop(number, None)
            elif descriptor is not None:
                self._mappings[number] = Mapping(descriptor, size)
