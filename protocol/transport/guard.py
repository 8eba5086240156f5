"""The door of a process that has keys: answers who may come in, and tries it as a stranger first.

Owns the process's `Door`. Runs on the loop's thread; before the loop runs, on the thread that will
run it. There is one such process for the control socket, and one for each worker's.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time

from ..endpoint import Endpoint
from ..errors import NotGuarded
from ..handshake import Shake
from ..keys import ServerKeys, TrainerKeys
from ..zap import answer, read_knock
from .key_files import changed_at, trainers_in
from .loop import Loop
from .sockets import Dealer, Door, Poller, Router, make_key_pair, raw_key

__all__ = ["Guard"]

logger = logging.getLogger("genserver")

#: Seconds after which the folder of trainers is read again, although none came or went.
READ_AGAIN = 1.0
#: Seconds in which a stranger must have been refused.
TRIAL_SECONDS = 5.0


class Guard:
    """Lets in whom the keys say; without keys, everybody who can connect."""

    def __init__(self, loop: Loop, keys: ServerKeys | None) -> None:
        self._loop = loop
        self._keys = keys
        self._always: frozenset[bytes] = frozenset()
        #: Those in the folder of trainers, and when they were read.
        self._listed: frozenset[bytes] = frozenset()
        self._read_at, self._changed = -math.inf, 0
        self._door: Door | None = None

    def bind(self, router: Router, endpoint: Endpoint) -> Endpoint:
        """Bind, and say where. What is no file is behind the door, which is tried.

        Raises `EndpointError`, and `NotGuarded` if the door is open.
        """
        if self._keys is None or endpoint.scheme == "ipc":
            return router.bind(endpoint)
        if self._door is None:
            self._always = frozenset(map(raw_key, (self._keys.public, *self._keys.trainers)))
            self._door = Door()
            self._loop.add(self._door, self._knocked)
        router.guard(self._keys.secret)
        bound = router.bind(endpoint)
        self._try_door(self._keys, self._door, bound)
        return bound

    def _try_door(self, keys: ServerKeys, door: Door, bound: Endpoint) -> None:
        """Connect as a stranger, who must be refused by name (rule T3): that catches every setting
        with which CURVE lets everybody in."""
        public, secret = make_key_pair()
        endpoint = _from_here(bound)
        stranger = Dealer(endpoint, TrainerKeys(public, secret, keys.public))
        monitor = stranger.monitor
        assert monitor is not None  # it is no file
        poller = Poller()
        for source in (door, monitor):
            poller.add(source)
        try:
            shake = None
            deadline = time.monotonic() + TRIAL_SECONDS
            while shake is None and (left := deadline - time.monotonic()) > 0:
                poller.wait(left)
                while self._knocked():
                    pass
                shake = monitor.shake()
        finally:
            stranger.close()
        if shake is not Shake.REFUSED:
            found = "no answer" if shake is None else f"the handshake {shake.value}"
            raise NotGuarded(str(endpoint), found)

    def close(self) -> None:
        """Nobody is let in any more."""
        door, self._door = self._door, None
        if door is not None:
            self._loop.remove(door)
            door.close()

    def _knocked(self) -> bool:
        got = None if self._door is None else self._door.receive()
        if got is None or self._door is None:
            return False
        asker, frames = got
        knock = read_knock(frames)
        if knock is None:
            return True
        reply, admitted = answer(knock, self._admits)
        if not admitted:
            logger.debug("refused a stranger from %s", knock.address)
        self._door.send(asker, reply)
        return True

    def _admits(self, key: bytes) -> bool:
        assert self._keys is not None  # there is a door
        if key in self._always:
            return True
        if self._keys.folder:
            self._read_again(self._keys.folder)
        return key in self._listed

    def _read_again(self, folder: str) -> None:
        """Who is taken out of the folder is out; whoever knocks without end costs little."""
        now, changed = time.monotonic(), changed_at(folder)
        if changed != self._changed or now - self._read_at >= READ_AGAIN:
            self._read_at, self._changed = now, changed
            self._listed = frozenset(map(raw_key, trainers_in(folder)))


def _from_here(bound: Endpoint) -> Endpoint:
    """Where this process reaches what it has bound."""
    if bound.host == "*":
        return Endpoint("tcp", "127.0.0.1", bound.port)
    try:
        address = ipaddress.ip_address(bound.host)
    except ValueError:  # a name
        return bound
    loopback = "127.0.0.1" if address.version == 4 else "::1"
    return Endpoint("tcp", loopback, bound.port) if address.is_unspecified else bound
