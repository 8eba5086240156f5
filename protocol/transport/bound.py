"""A bound socket on a `Loop`: reads and writes messages, and remembers who misbehaved.

Owns its router. Runs on the loop's thread only.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod

from ..codec import ItemHeader, decode_header, encode
from ..errors import RemoteProtocolError
from ..link import Numbered
from .loop import Loop
from .sockets import Router

__all__ = ["Bound"]

logger = logging.getLogger("genserver")

#: Breaches of the protocol by one peer, after which its messages are dropped unread (rule T10).
MAX_BREACHES = 3
#: Peers whose breaches are remembered.
MAX_BREACHERS = 1024


class Bound(ABC):
    """Reads and writes messages on a bound router; remembers who misbehaved."""

    def __init__(self, loop: Loop, router: Router) -> None:
        self.loop = loop
        self._router = router
        self._breaches: dict[bytes, int] = {}
        loop.add(router, self._readable)
        loop.every_tick(self.tick)

    def close(self) -> None:
        """Close the router and remove its files."""
        self.loop.drop_tick(self.tick)
        self.loop.remove(self._router)
        self._router.close()

    @abstractmethod
    def tick(self, now: float) -> None:
        """Let time pass."""

    @abstractmethod
    def receive(self, peer: bytes, numbered: Numbered, now: float) -> None:
        """Apply a message; `RemoteProtocolError` on a breach."""

    @abstractmethod
    def refuse(self, peer: bytes, text: str, now: float) -> None:
        """Answer a breach and forget the link."""

    def deliver(self, peer: bytes, numbered: Numbered) -> bool:
        """Send one message; False when the peer cannot be reached."""
        return self._router.send(peer, encode(numbered))

    def _readable(self) -> bool:
        got = self._router.receive()
        if got is None:
            return False
        peer, header, further = got
        if self._breaches.get(peer, 0) >= MAX_BREACHES:
            return True
        now = time.monotonic()
        try:
            number, message = decode_header(header)
            if further or isinstance(message, ItemHeader):
                raise RemoteProtocolError("a trainer sends no payload")
            self.receive(peer, Numbered(number, message), now)
        except RemoteProtocolError as error:
            self._note_breach(peer, error)
            self.refuse(peer, str(error), now)
        return True

    def _note_breach(self, peer: bytes, error: RemoteProtocolError) -> None:
        if len(self._breaches) >= MAX_BREACHERS:
            self._breaches.clear()
        self._breaches[peer] = self._breaches.get(peer, 0) + 1
        logger.info("a peer broke the protocol: %s", error)
