"""The supervisor's bound end: tells every trainer what is served and how it fares."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from ..errors import RemoteProtocolError
from ..link import BEAT_EVERY, DEAD_AFTER, UNGREETED, Link, Numbered
from ..messages import Beat, Error, ErrorCode, GoAway, Hello, Message, Role, Status, Welcome
from ..tables import LinkState
from ..telemetry import Snapshot, TrainerTotals
from ..version import MAGIC, TELEMETRY, agree, compatible, refusal_of
from .bound import Bound
from .loop import Loop
from .sockets import Router

__all__ = ["ControlEnd"]


class ControlEnd(Bound):
    """The supervisor's end: tells every trainer that says HELLO what is served and how it fares."""

    def __init__(
        self, loop: Loop, router: Router, incarnation: int, status: Callable[[], Status],
        measure: Callable[[Iterable[TrainerTotals]], Snapshot] | None = None,
    ) -> None:  # fmt: skip
        """``measure`` makes of what the trainers say what those are told who want to know."""
        super().__init__(loop, router)
        self._incarnation = incarnation
        self._status = status
        self._measure = measure
        #: Who wants to know, and what they said of themselves last.
        self._measured: dict[bytes, TrainerTotals | None] = {}
        self._told = 0.0
        self._links: dict[bytes, Link] = {}
        self._goodbye: GoAway | None = None

    @property
    def trainers(self) -> tuple[TrainerTotals, ...]:
        """What those who read said of themselves last."""
        return tuple(filter(None, self._measured.values()))

    def tick(self, now: float) -> None:
        for peer, link in list(self._links.items()):
            if link.silence(now) >= DEAD_AFTER or link.state is LinkState.GONE:
                self._part(peer)
            elif link.beat_due(now) and peer not in self._measured:
                self._say(peer, Beat(), now)
        if self._measure is not None and self._measured and now - self._told >= BEAT_EVERY:
            self._told = now
            beat = Beat(self._measure(self.trainers))
            for peer in list(self._measured):
                if self._links[peer].state is LinkState.READY:
                    self._say(peer, beat, now)

    def receive(self, peer: bytes, numbered: Numbered, now: float, user: str) -> None:
        del user  # all are told the same
        link = self._links.get(peer)
        if link is None:
            if not isinstance(numbered.message, Hello):
                raise RemoteProtocolError(UNGREETED)
            link = self._links[peer] = Link(Role.SERVER, now)
        if link.receive(numbered, now):
            message = numbered.message
            if isinstance(message, Hello):
                self._hello(peer, message, now)
            elif isinstance(message, Beat) and message.reading and peer in self._measured:
                self._measured[peer] = message.reading
        if link.state is LinkState.LOST:
            self._part(peer)

    def refuse(self, peer: bytes, text: str, now: float) -> None:
        link = self._links.get(peer)
        if link is None:
            self.deliver(peer, Numbered(0, Error(ErrorCode.STRANGER.value, text)))
        elif link.state in (LinkState.GREETING, LinkState.READY):
            self._say(peer, Error(ErrorCode.PROTOCOL.value, text), now)
        self._part(peer)

    def publish(self) -> None:
        """Tell every trainer the status again: it changed."""
        now = time.monotonic()
        for peer, link in list(self._links.items()):
            if link.state is LinkState.READY:
                self._say(peer, self._status(), now)

    def leave(self, reason: str, *, returns: bool = False) -> None:
        """Say goodbye to all trainers, also to those who still come; ``returns`` when another life
        of the server may answer here soon."""
        self._goodbye = GoAway(reason, returns)
        now = time.monotonic()
        for peer, link in list(self._links.items()):
            if link.state is LinkState.READY:
                self._say(peer, self._goodbye, now)

    def start_over(self, incarnation: int, reason: str) -> None:
        """Be another server from now on, at the same socket: those who are here say HELLO again,
        and find out that it is another one."""
        self._incarnation = incarnation
        now = time.monotonic()
        for peer, link in list(self._links.items()):
            if link.state is LinkState.READY:
                self._say(peer, GoAway(reason, returns=True), now)

    def _hello(self, peer: bytes, hello: Hello, now: float) -> None:
        if hello.magic != MAGIC or not compatible(hello.major):
            text = refusal_of(hello.major)
            self._say(peer, Error(ErrorCode.VERSION.value, text), now)
            return
        ours = () if self._measure is None else (TELEMETRY,)
        features = agree(hello.features, ours)
        if features:
            self._measured[peer] = None
        self._say(peer, Welcome(self._incarnation, features=tuple(features)), now)
        self._say(peer, self._status(), now)
        if self._goodbye is not None:
            self._say(peer, self._goodbye, now)

    def _say(self, peer: bytes, message: Message, now: float) -> None:
        link = self._links.get(peer)
        if link is not None and not self.deliver(peer, link.stamp(message, now)):
            self._part(peer)

    def _part(self, peer: bytes) -> None:
        self._links.pop(peer, None)
        self._measured.pop(peer, None)
