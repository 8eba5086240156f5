"""Ordinary memory for elements: aligned, and used again once nobody sees it any more.

For what arrives over sockets, or leaves over them, and for runs that mix workers. Fresh memory
costs a page fault for every 4 KiB, which is a third of the time of a large element; TensorFlow and
the user give a buffer back by forgetting the array over it. Owns the idle buffers.
"""

from __future__ import annotations

import mmap
import sys
import threading
from collections import deque
from dataclasses import dataclass

import numpy as np

from ..columns import aligned_empty
from .leases import Bytes, Lease, address_of

__all__ = ["SMALLEST", "BufferPool"]

#: Less than this many bytes is not worth a buffer of the pool: malloc keeps such memory anyway.
SMALLEST = 64 * 1024
#: An idle buffer is kept so long (seconds).
KEEP_SECONDS = 10.0
#: A buffer of up to so many times the wanted size is taken.
SLACK = 2


def _rounded(nbytes: int) -> int:
    """At most an eighth more, so that buffers of ragged sizes serve each other."""
    step = 1 << max(0, nbytes.bit_length() - 4)
    return -(-nbytes // step) * step


class _Buffer:
    """Pages of our own. Large ones where the system has them: fewer faults."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._map = mmap.mmap(-1, size)
        if sys.platform == "linux":
            self._map.madvise(mmap.MADV_HUGEPAGE)
        self.address = address_of(np.frombuffer(self._map, np.uint8))


@dataclass(slots=True)
class _Idle:
    buffer: _Buffer
    since: float


class BufferPool:
    """Buffers of one end. Any thread; they come back from a finalizer, which takes no lock."""

    def __init__(self) -> None:
        #: Bytes in arrays that somebody still sees.
        self.held = 0
        self._lock = threading.Lock()
        self._idle: list[_Idle] = []
        self._returned: deque[_Buffer] = deque()

    def take(self, nbytes: int, now: float) -> Bytes:
        """Aligned memory of ``nbytes`` whose contents are undefined."""
        if nbytes < SMALLEST:
            return aligned_empty(nbytes)
        with self._lock:
            self._settle(now)
            buffer = self._idle_one(nbytes) or _Buffer(_rounded(nbytes))
            self.held += buffer.size
        # Whoever drops the last array over it only puts the buffer into a queue (see `Lease`).
        lease = Lease(
            buffer.address, nbytes, buffer, lambda: self._returned.append(buffer), writable=True
        )
        return lease.array()

    def tick(self, now: float) -> None:
        """Take back what nobody sees, and let go of what was idle for long."""
        with self._lock:
            self._settle(now)

    def _idle_one(self, nbytes: int) -> _Buffer | None:
        fitting = [i for i in self._idle if nbytes <= i.buffer.size <= SLACK * nbytes]
        if not fitting:
            return None
        found = min(fitting, key=lambda idle: idle.buffer.size)
        self._idle.remove(found)
        return found.buffer

    def _settle(self, now: float) -> None:
        while self._returned:
            buffer = self._returned.popleft()
            self.held -= buffer.size
            self._idle.append(_Idle(buffer, now))
        self._idle = [idle for idle in self._idle if now - idle.since < KEEP_SECONDS]
