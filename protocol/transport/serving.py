"""The bound end: a worker's data socket and the supervisor's control socket, on a `Loop`.

Owns its routers and a worker's shared memory. Runs on the loop's thread only. Decides nothing: the pure ends do.
"""

from __future__ import annotations

import functools
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from ..codec import ItemHeader, decode_header, encode
from ..errors import RemoteProtocolError
from ..link import DEAD_AFTER, Link, Numbered
from ..messages import (
    Beat,
    Error,
    ErrorCode,
    GoAway,
    Hello,
    Message,
    Role,
    Status,
    Welcome,
)
from ..spec import ElementSpec
from ..tables import LinkState
from ..version import MAGIC, compatible, refusal_of
from ..worker_end import Event, Joined, Key, Released, WorkerEnd
from .buffers import BufferPool
from .exchange import Exchange
from .leases import Bytes
from .lender import Lender
from .loop import Loop
from .sockets import Router

__all__ = ["ControlEnd", "DataEnd"]

logger = logging.getLogger("genserver")

#: A stream sends small elements at most this often (seconds): a message costs both ends together
#: about 1.5 ms of a core, whatever is in it. A slower generator's elements never wait.
FLUSH_EVERY = 0.02
#: Breaches of the protocol by one peer, after which its messages are dropped unread (rule T10).
MAX_BREACHES = 3
#: Peers whose breaches are remembered.
MAX_BREACHERS = 1024


class _Bound(ABC):
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


class DataEnd(_Bound):
    """A worker's end: moves chunks from the exchange to the trainers that opened the streams."""

    def __init__(
        self, loop: Loop, router: Router, end: WorkerEnd, lender: Lender | None = None
    ) -> None:
        """Closes ``lender``, the worker's shared memory."""
        super().__init__(loop, router)
        self.end = end
        self._lender = lender
        self._buffers = BufferPool()
        self.exchange = Exchange(
            self._notify, lambda key: functools.partial(self.allocate, key[0])
        )
        #: When to look for more of a stream that was sent something lately.
        self._due: dict[Key, float] = {}

    def tick(self, now: float) -> None:
        self._flush_due(now)
        self._apply(self.end.tick(now))
        if self._lender is not None:
            self._lender.prune(self.end.knows)

    def receive(self, peer: bytes, numbered: Numbered, now: float) -> None:
        self._apply(self.end.receive(peer, numbered, now))

    def refuse(self, peer: bytes, text: str, now: float) -> None:
        self.end.refuse(peer, text, now)
        self._send()

    def serve(self, spec: ElementSpec) -> None:
        """The element spec is known: streams may be opened."""
        self.exchange.spec = spec
        self._apply(self.end.serve(time.monotonic()))

    def deliver(self, peer: bytes, numbered: Numbered) -> bool:
        lender = self._lender
        if lender is None:
            return super().deliver(peer, numbered)
        return self._router.send(peer, encode(numbered, lambda array: lender.place(peer, array)))

    def allocate(self, session: int, nbytes: int) -> Bytes:
        """Memory for a column that goes to a session's trainer. The runner's thread."""
        lent = None if self._lender is None else self._lender.allocate(session, nbytes)
        return self._buffers.take(nbytes, time.monotonic()) if lent is None else lent

    def close(self) -> None:
        super().close()
        if self._lender is not None:
            self._lender.close()

    def leave(self, reason: str) -> None:
        """Say goodbye to all trainers."""
        now = time.monotonic()
        self.end.leave(reason, now)
        self._send()

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Joined) and self._lender is not None:
                self._lender.join(event.peer, event.session, event.fence, event.memory)
            elif isinstance(event, Released) and self._lender is not None:
                self._lender.released(event.peer, event.slots)
            else:
                self.exchange.apply(event)
        self._send()

    def _notify(self, key: Key, now: bool) -> None:
        self.loop.call(lambda: self._announced(key, now))

    def _announced(self, key: Key, at_once: bool) -> None:
        if at_once or key not in self._due:
            self._flush(key, time.monotonic())

    def _flush_due(self, now: float) -> None:
        for key, due in list(self._due.items()):
            if now >= due:
                self._flush(key, now)
            else:
                self.loop.hurry(due)

    def _flush(self, key: Key, now: float) -> None:
        chunks, finished = self.exchange.take(key)
        for chunk in chunks:
            self.end.chunk(key, chunk, now)
        self._due.pop(key, None)
        if finished is None and chunks:
            # What comes until then is fetched without being announced, which saves its wake-up.
            self._due[key] = now + FLUSH_EVERY
            self.loop.hurry(self._due[key])
        elif finished is not None:
            failure = finished.failure
            if failure is None:
                self.end.end(key, now)
            else:
                self.end.fail(
                    key, element=failure.element, kind=failure.kind, text=failure.text,
                    trace=failure.traceback, now=now,
                )  # fmt: skip
        self._send()

    def _send(self) -> None:
        for peer, numbered in self.end.outgoing():
            if not self.deliver(peer, numbered):
                self.end.unroutable(peer)


class ControlEnd(_Bound):
    """The supervisor's end: tells every trainer that says HELLO what is served and how it fares."""

    def __init__(
        self, loop: Loop, router: Router, incarnation: int, status: Callable[[], Status]
    ) -> None:
        super().__init__(loop, router)
        self._incarnation = incarnation
        self._status = status
        self._links: dict[bytes, Link] = {}

    def tick(self, now: float) -> None:
        for peer, link in list(self._links.items()):
            if link.silence(now) >= DEAD_AFTER or link.state is LinkState.GONE:
                self._part(peer)
            elif link.beat_due(now):
                self._say(peer, Beat(), now)

    def receive(self, peer: bytes, numbered: Numbered, now: float) -> None:
        link = self._links.get(peer)
        if link is None:
            if not isinstance(numbered.message, Hello):
                raise RemoteProtocolError("the first message must be HELLO")
            link = self._links[peer] = Link(Role.SERVER, now)
        if link.receive(numbered, now) and isinstance(numbered.message, Hello):
            self._hello(peer, numbered.message, now)
        if link.state is LinkState.LOST:
            self._part(peer)

    def refuse(self, peer: bytes, text: str, now: float) -> None:
        link = self._links.get(peer)
        if link is not None and link.state in (LinkState.GREETING, LinkState.READY):
            self._say(peer, Error(ErrorCode.PROTOCOL.value, text), now)
        self._part(peer)

    def publish(self) -> None:
        """Tell every trainer the status again: it changed."""
        now = time.monotonic()
        for peer, link in list(self._links.items()):
            if link.state is LinkState.READY:
                self._say(peer, self._status(), now)

    def leave(self, reason: str) -> None:
        """Say goodbye to all trainers."""
        now = time.monotonic()
        for peer, link in list(self._links.items()):
            if link.state is LinkState.READY:
                self._say(peer, GoAway(reason), now)

    def _hello(self, peer: bytes, hello: Hello, now: float) -> None:
        if hello.magic != MAGIC or not compatible(hello.major):
            text = refusal_of(hello.major)
            self._say(peer, Error(ErrorCode.VERSION.value, text), now)
            return
        self._say(peer, Welcome(self._incarnation), now)
        self._say(peer, self._status(), now)

    def _say(self, peer: bytes, message: Message, now: float) -> None:
        link = self._links.get(peer)
        if link is not None and not self.deliver(peer, link.stamp(message, now)):
            self._part(peer)

    def _part(self, peer: bytes) -> None:
        self._links.pop(peer, None)
