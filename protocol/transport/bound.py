"""A bound socket on a `Loop`: reads and writes messages, and sends away who misbehaves.

Owns its router. Runs on the loop's thread only. What is let in is decided by `Admission`.
"""

from __future__ import annotations

import logging
import time
import weakref
from abc import ABC, abstractmethod

from ..admission import Admission, Cut
from ..codec import ItemHeader, decode_header, encode
from ..errors import RemoteProtocolError
from ..link import Numbered
from ..messages import Hello
from .loop import Loop
from .sockets import Incoming, Router

__all__ = ["Bound", "serves_here"]

logger = logging.getLogger("genserver")

#: Seconds between two looks at what connections over tcp have sent, and while one is not trusted:
#: in that time a peer can send what becomes some ten MiB.
LOOK_EVERY, WARY_EVERY = 0.1, 0.02


#: Those of this process.
_open: weakref.WeakSet[Bound] = weakref.WeakSet()


def serves_here() -> bool:
    """Whether somebody can connect to this very process."""
    return len(_open) > 0


class Bound(ABC):
    """Reads and writes messages on a bound router; sends away who misbehaves."""

    def __init__(self, loop: Loop, router: Router) -> None:
        self.loop = loop
        self._router = router
        _open.add(self)
        self.admission = Admission()
        #: Whether nothing waits that was received.
        self._drained = True
        loop.add(router, self._readable)
        loop.add(router.monitor, self._connected)
        loop.every_tick(self.tick)
        loop.every_tick(self._guard)

    def close(self) -> None:
        """Close the router and remove its files."""
        _open.discard(self)
        self.loop.drop_tick(self.tick)
        self.loop.drop_tick(self._guard)
        self.loop.remove(self._router.monitor)
        self.loop.remove(self._router)
        self._router.close()

    @abstractmethod
    def tick(self, now: float) -> None:
        """Let time pass."""

    @abstractmethod
    def receive(self, peer: bytes, numbered: Numbered, now: float, user: str) -> None:
        """Apply a message of a user, by his key; `RemoteProtocolError` on a breach."""

    @abstractmethod
    def refuse(self, peer: bytes, text: str, now: float) -> None:
        """Answer a breach and forget the link."""

    def deliver(self, peer: bytes, numbered: Numbered) -> bool:
        """Send one message; False when the peer cannot be reached."""
        return self._router.send(peer, encode(numbered))

    def _readable(self) -> bool:
        if self._router.skip():
            return True
        self._hear_news()  # whose connection it is that a message comes by
        got = self._router.receive()
        self._drained = got is None
        if got is None:
            return False
        now = time.monotonic()
        if self.admission.arrived(got.connection, len(got.header), now):
            self._read(got, now)
        return True

    def _read(self, got: Incoming, now: float) -> None:
        try:
            number, message = decode_header(got.header)
            if got.further or isinstance(message, ItemHeader):
                raise RemoteProtocolError("a trainer sends no payload")
            self.receive(got.peer, Numbered(number, message), now, got.user)
            if isinstance(message, Hello):
                self.admission.greeted(got.connection)
        except RemoteProtocolError as error:
            logger.debug("a peer broke the protocol: %s", error)
            self.refuse(got.peer, str(error), now)
            self._cut(self.admission.breach(got.connection))

    def _hear_news(self) -> None:
        while self._connected():
            pass

    def _connected(self) -> bool:
        news = self._router.monitor.accepted()
        if news is None:
            return False
        connection, new = news
        if new:
            now = time.monotonic()
            self._cut(self.admission.accepted(connection, now))
            self.loop.hurry(now + WARY_EVERY)
        else:
            self.admission.gone(connection)
        return True

    def _guard(self, now: float) -> None:
        """What the system received, but for what is still to be read."""
        self._hear_news()  # numbers that stand for others by now
        received = {
            connection: nbytes
            for connection in self.admission.connections
            if (nbytes := self._router.received(connection)) is not None
        }
        self._cut(self.admission.tick(now, received, drained=self._drained))
        if received:
            self.loop.hurry(now + (WARY_EVERY if self.admission.wary else LOOK_EVERY))
        report = self.admission.report(now)
        if report:
            logger.warning("%s", report)

    def _cut(self, cuts: list[Cut]) -> None:
        for cut in cuts:
            logger.info("a connection is cut: %s", cut.why)
            self._router.cut(cut.connection)
