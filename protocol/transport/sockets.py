"""The one file that opens sockets: every ZeroMQ option of genserver is set here, once.

Owns the process's ZeroMQ context. A socket belongs to the thread that made it; only `Loop` threads
make any. Options, and why (research of 2026-11, measured with libzmq 4.3.5): no ZMTP heartbeats
(with a full receive queue they abort the process), no linger (a bare term() would hang), a
high-water mark that the credit never reaches, no silent drop of what cannot be routed.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import math
import os
import socket
import stat
from collections.abc import Sequence
from typing import IO, Any

import zmq

from ..codec import MAX_PIECE, Frame
from ..endpoint import Endpoint
from ..errors import EndpointError
from ..fields import MAX_HEADER
from .platform import has_ipc, try_lock

__all__ = [
    "Courier", "Couriers", "Dealer", "Poller", "Router", "WakeUp", "check_reachable", "check_safe",
    "close_context",
]  # fmt: skip

#: A fence against bugs, never the regulator: twice the largest window of credit, and some.
HIGH_WATER_MARK = 4096 + 64
#: Seconds for a ZMTP greeting, so that a scanner's connection does not linger (rule T9).
HANDSHAKE_MS = 5000
#: Seconds that a name look-up or a reachability test may take.
TCP_TEST_SECONDS = 2.0

_context: zmq.Context[zmq.Socket[bytes]] | None = None
_context_pid = 0


def _get_context() -> zmq.Context[zmq.Socket[bytes]]:
    global _context, _context_pid
    if _context is None or _context_pid != os.getpid():
        _context = zmq.Context()
        _context_pid = os.getpid()
    return _context


def close_context() -> None:
    """Close whatever sockets are left and the context. Its loop must have stopped."""
    global _context
    if _context is not None and _context_pid == os.getpid():
        _context.destroy(linger=0)
    _context = None


def _socket(kind: int, largest: int) -> zmq.Socket[bytes]:
    made = _get_context().socket(kind)
    made.linger = 0
    made.sndhwm = made.rcvhwm = HIGH_WATER_MARK
    made.setsockopt(zmq.HEARTBEAT_IVL, 0)
    made.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MS)
    made.setsockopt(zmq.MAXMSGSIZE, largest)
    made.setsockopt(zmq.TCP_KEEPALIVE, 1)
    made.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 15)
    made.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 5)
    made.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    made.setsockopt(zmq.IPV6, 1)
    return made


class Router:
    """A bound ROUTER: many trainers, each known by its routing id."""

    def __init__(self) -> None:
        self.raw = _socket(zmq.ROUTER, MAX_HEADER)
        self.raw.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._locks: list[IO[str]] = []
        self._paths: list[str] = []

    def bind(self, endpoint: Endpoint) -> Endpoint:
        """Bind, and say where (port 0 becomes a real one); `EndpointError` when it is in use."""
        if endpoint.scheme == "ipc":
            self._claim(endpoint)
        try:
            self.raw.bind(str(_resolved(endpoint)))
        except zmq.ZMQError as error:
            raise EndpointError(str(endpoint), _bind_failure(endpoint, error)) from error
        if endpoint.scheme == "ipc":
            os.chmod(endpoint.path, 0o600)
            self._paths.append(endpoint.path)
            return endpoint
        bound = self.raw.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(bound, bytes)
        return endpoint.with_port(int(bound.rstrip(b"\0").rpartition(b":")[2]))

    def receive(self) -> tuple[bytes, bytes, int] | None:
        """(peer, header, further frames) of a waiting message, or None."""
        try:
            peer, *rest = self.raw.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None
        return peer, rest[0] if rest else b"", len(rest) - 1

    def send(self, peer: bytes, frames: Sequence[Frame]) -> bool:
        """Send without waiting; False when the peer is gone or does not read."""
        try:
            self.raw.send(peer, zmq.DONTWAIT | zmq.SNDMORE)
            self.raw.send_multipart(frames, zmq.DONTWAIT, copy=False)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False
            raise
        return True

    def close(self) -> None:
        """Close, and remove what binding made in the file system."""
        self.raw.close(linger=0)
        for path in self._paths:
            _unlink(path)
        for lock in self._locks:
            lock.close()
            _unlink(lock.name)

    def _claim(self, endpoint: Endpoint) -> None:
        """A second ipc bind would steal the first one's endpoint without a word; hence a lock."""
        if not has_ipc():
            raise EndpointError(
                str(endpoint), "ipc endpoints work on Linux alone; use tcp://127.0.0.1:PORT"
            )
        try:
            lock = open(endpoint.path + ".lock", "w")  # noqa: SIM115  # kept while bound
        except OSError as error:
            raise EndpointError(str(endpoint), os.strerror(error.errno or 0)) from error
        if not try_lock(lock.fileno()):
            lock.close()
            raise EndpointError(str(endpoint), "in use by another genserver")
        self._locks.append(lock)


class Dealer:
    """A connected DEALER: one link to one server process."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.raw = _socket(zmq.DEALER, MAX_PIECE)
        resolved = _resolved(endpoint)
        first, longest = resolved.retry_ms
        self.raw.setsockopt(zmq.RECONNECT_IVL, first)
        self.raw.setsockopt(zmq.RECONNECT_IVL_MAX, longest)
        self.raw.connect(str(resolved))

    def send(self, frames: Sequence[Frame]) -> bool:
        """Send without waiting; False when the queue is full, which credit should prevent."""
        try:
            self.raw.send_multipart(frames, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def receive_header(self) -> bytes | None:
        """The first frame of a waiting message, or None."""
        try:
            return self.raw.recv(zmq.DONTWAIT)
        except zmq.Again:
            return None

    @property
    def more(self) -> bool:
        """Whether the message that is being received has a further frame."""
        return bool(self.raw.rcvmore)

    def receive_into(self, buffer: memoryview) -> int:
        """Receive the next frame into ``buffer``; its true length, which may be larger."""
        return self.raw.recv_into(buffer, flags=zmq.DONTWAIT)

    def skip(self) -> None:
        """Drop the rest of the message."""
        while self.more:
            self.raw.recv(zmq.DONTWAIT, copy=False)

    def close(self) -> None:
        self.raw.close(linger=0)


class Courier:
    """Carries file descriptors between two processes of one host, each with a short text.

    One end of a unix socket that keeps messages apart; nothing here waits. What was sent before a
    ZeroMQ message can be received as soon as that message is there.
    """

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        raw.setblocking(False)

    @classmethod
    def connect(cls, path: str) -> Courier:
        """To a `Couriers`; `OSError` when nobody may or can."""
        raw = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            raw.setblocking(False)
            raw.connect(path)
        except OSError:
            raw.close()
            raise
        return cls(raw)

    @property
    def fd(self) -> int:
        """For the poller."""
        return self._raw.fileno()

    def send(self, text: bytes, descriptor: int | None = None) -> bool:
        """False when the other end is gone or does not read."""
        try:
            if descriptor is None:
                self._raw.send(text)
            else:
                socket.send_fds(self._raw, [text], [descriptor])
        except OSError:
            return False
        return True

    def receive(self, longest: int = 64) -> tuple[bytes, int | None] | None:
        """(text, descriptor) of a waiting message, or None; the text is empty at the end."""
        try:
            text, descriptors, flags, _ = socket.recv_fds(self._raw, longest, 1)
        except BlockingIOError:
            return None
        except OSError:
            return b"", None
        if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):  # no descriptor left, or not ours
            for descriptor in descriptors:
                os.close(descriptor)
            return b"", None
        return text, descriptors[0] if descriptors else None

    def close(self) -> None:
        self._raw.close()


class Couriers:
    """The bound end, a file that only its owner may connect to."""

    def __init__(self, path: str) -> None:
        """Raises `OSError` when it cannot be made."""
        self._path = path
        self._raw = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._raw.setblocking(False)
            self._raw.bind(path)
            os.chmod(path, 0o600)
            self._raw.listen(64)
        except OSError:
            self._raw.close()
            raise

    @property
    def fd(self) -> int:
        """For the poller."""
        return self._raw.fileno()

    def accept(self) -> Courier | None:
        """Somebody who waits, or None."""
        try:
            return Courier(self._raw.accept()[0])
        except OSError:
            return None

    def close(self) -> None:
        self._raw.close()
        _unlink(self._path)


class WakeUp:
    """What ends a poller's wait from another thread or a signal handler: a pair of sockets, which
    every system can wait for."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    @property
    def reader(self) -> int:
        """For the poller."""
        return self._reader.fileno()

    @property
    def writer(self) -> int:
        """For `signal.set_wakeup_fd`."""
        return self._writer.fileno()

    def wake(self) -> None:
        """Any thread. A full pair means that a wake-up is under way."""
        with contextlib.suppress(OSError):
            self._writer.send(b"\0")

    def drain(self) -> bytes:
        """What was written: zeros, and the numbers of signals."""
        with contextlib.suppress(BlockingIOError):
            return self._reader.recv(1 << 16)
        return b""


class Poller:
    """Waits for sockets and file descriptors."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()

    def add(self, source: Router | Dealer | int) -> None:
        self._poller.register(source if isinstance(source, int) else source.raw, zmq.POLLIN)

    def remove(self, source: Router | Dealer | int) -> None:
        self._poller.unregister(source if isinstance(source, int) else source.raw)

    def wait(self, seconds: float) -> list[Any]:
        """The raw sockets and descriptors that are readable after at most ``seconds``."""
        return [source for source, _ in self._poller.poll(max(0, math.ceil(seconds * 1000)))]


def check_safe(endpoint: Endpoint, *, insecure_network: bool) -> None:
    """`EndpointError` for an endpoint beyond this host: there are no keys yet (design 10)."""
    if endpoint.scheme == "ipc" or insecure_network:
        return
    for address in _addresses(endpoint):
        if not ipaddress.ip_address(address).is_loopback:
            raise EndpointError(
                str(endpoint),
                "beyond this host anyone could connect, and keys are not supported yet; use "
                "tcp://127.0.0.1:PORT, or --insecure-network (insecure_network=True in Python) "
                "on a network that you trust",
            )


def check_reachable(endpoint: Endpoint) -> str:
    """ "" when something listens at ``endpoint``, else why not. Waits 2 s at most."""
    if endpoint.scheme == "ipc":
        try:
            mode = os.stat(endpoint.path).st_mode
        except OSError:
            return "there is no such socket"
        if not stat.S_ISSOCK(mode):
            return "the path is not a socket"
    try:
        address = "" if endpoint.scheme == "ipc" else _addresses(endpoint)[0]
    except EndpointError as error:
        return error.reason
    family = socket.AF_UNIX if endpoint.scheme == "ipc" else socket.AF_INET
    with socket.socket(socket.AF_INET6 if ":" in address else family) as test:
        test.settimeout(TCP_TEST_SECONDS)
        try:
            test.connect(endpoint.path or (address, endpoint.port))
        except OSError as error:
            return str(error.strerror or error).lower()
    return ""


def _addresses(endpoint: Endpoint) -> list[str]:
    if endpoint.host == "*":
        return ["0.0.0.0"]
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except OSError:
        raise EndpointError(str(endpoint), f"the name {endpoint.host!r} is unknown") from None
    return [str(address[4][0]).partition("%")[0] for address in found]


def _resolved(endpoint: Endpoint) -> Endpoint:
    if endpoint.scheme == "ipc" or endpoint.host == "*":
        return endpoint
    # A name is resolved here, once: libzmq's bind takes no names, and prefers other families.
    addresses = _addresses(endpoint)
    address = next((a for a in addresses if ":" not in a), addresses[0])
    return Endpoint("tcp", address, endpoint.port)


def _bind_failure(endpoint: Endpoint, error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"in use by another program; `genserver probe {endpoint}` says whether it is a server "
            "of yours, --bind takes another port"
        )
    return str(error.strerror or error).lower()


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
