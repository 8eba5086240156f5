"""The one file that opens sockets: every ZeroMQ option of genserver is set here, once.

Owns the process's ZeroMQ context. A socket belongs to the thread that made it; only `Loop` threads
make any. Options, and why (research of 2026-11, measured with libzmq 4.3.5): no ZMTP heartbeats
(with a full receive queue they abort the process), no linger (a bare term() would hang), a
high-water mark that the credit never reaches, no silent drop of what cannot be routed.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import zmq
from zmq.utils import z85

from ..codec import MAX_PIECE, Frame
from ..endpoint import Endpoint
from ..errors import EndpointError
from ..fields import MAX_HEADER
from ..handshake import Shake
from ..keys import TrainerKeys
from ..zap import DOMAIN
from .claims import claim, remove

__all__ = [
    "Courier", "Couriers", "Dealer", "Door", "Incoming", "Monitor", "Plain", "Poller", "Router",
    "WakeUp", "addresses_of", "check_reachable", "close_context", "end_sending", "listen",
    "make_key_pair", "mechanism_at", "public_key_of", "raw_key",
]  # fmt: skip

#: A fence against bugs, never the regulator: twice the largest window of credit, and some.
HIGH_WATER_MARK = 4096 + 64
#: Messages of one trainer that wait to be read, each a header at most: the connection waits with
#: the rest.
WAITING_HEADERS = 256
#: What the system takes of a trainer's connection before it is read, in bytes: trainers send
#: headers. What it took would still be handed on after the connection is cut.
WAITING_BYTES = 2**17
#: Frames that are dropped in one go.
SKIPPED_AT_ONCE = 64
#: What encryption adds to a message, in bytes, with some to spare: libzmq's limit counts it.
SEALED = 64
#: Where Linux's tcp_info has the bytes that were received, and how much of it is asked for.
TCP_RECEIVED, TCP_INFO_SIZE = slice(128, 136), 192
#: Seconds for a ZMTP greeting, so that a scanner's connection does not linger (rule T9).
HANDSHAKE_MS = 5000
#: The same for an attempt to connect, of which the next begins then: the system's own goes on with
#: pauses that double, so that a host that is back after 30 s was tried again 5 s later only.
CONNECT_MS = 2000
#: The beginning of ZMTP 3's greeting, and where the other end's names its mechanism.
_GREETING, _MECHANISM = b"\xff" + bytes(8) + b"\x7f\x03\x00", slice(12, 32)
#: Seconds that a name look-up or a reachability test may take.
TCP_TEST_SECONDS = 2.0
#: Connections that the system keeps until a plain port's owner takes them.
BACKLOG = 64

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
    made.setsockopt(zmq.MAXMSGSIZE, largest + SEALED)
    made.setsockopt(zmq.TCP_KEEPALIVE, 1)
    made.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 15)
    made.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 5)
    made.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    made.setsockopt(zmq.IPV6, 1)
    return made


def make_key_pair() -> tuple[str, str]:
    """A new public key and its secret, in Z85."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def public_key_of(secret: str) -> str:
    """What belongs to a secret key, both in Z85."""
    return zmq.curve_public(secret.encode()).decode()


def raw_key(key: str) -> bytes:
    """A key as it travels, of its Z85."""
    return z85.decode(key.encode())


class Door:
    """Where libzmq asks, for every socket of the process with keys, who may come in."""

    #: The one that libzmq knows, in each context.
    WHERE = "inproc://zeromq.zap.01"

    def __init__(self) -> None:
        self.raw = _get_context().socket(zmq.ROUTER)
        self.raw.linger = 0
        self.raw.bind(self.WHERE)

    def receive(self) -> tuple[list[bytes], list[bytes]] | None:
        """(whom to answer, the request) of one who waits, or None."""
        try:
            frames = self.raw.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None
        return frames[:2], frames[2:]

    def send(self, asker: list[bytes], answer: list[bytes]) -> None:
        self.raw.send_multipart([*asker, *answer], zmq.DONTWAIT)

    def close(self) -> None:
        self.raw.unbind(self.WHERE)  # at once, where closing takes its time
        self.raw.close(linger=0)


class Monitor:
    """What becomes of a socket's connections. Close it before the socket."""

    def __init__(self, watched: zmq.Socket[bytes]) -> None:
        self._watched = watched
        #: Of a connecting socket: the descriptor of its latest connection, and how many it has had.
        self.connection, self.connections = -1, 0
        self.raw = watched.get_monitor_socket(
            zmq.EVENT_ACCEPTED | zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
            | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH
            | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
        )  # fmt: skip

    def accepted(self) -> tuple[int, bool] | None:
        """Of a bound socket: (the descriptor of a connection, whether it is new or gone)."""
        while (news := self._next()) is not None:
            if news[0] in (zmq.EVENT_ACCEPTED, zmq.EVENT_DISCONNECTED):
                return news[1], news[0] == zmq.EVENT_ACCEPTED
        return None

    def shake(self) -> Shake | None:
        """Of a connecting socket: how a handshake went."""
        while (news := self._next()) is not None:
            event, value = news
            if event == zmq.EVENT_CONNECTED:
                self.connection, self.connections = value, self.connections + 1
            if event == zmq.EVENT_DISCONNECTED:
                self.connection = -1
            if event == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
                mismatch = value == zmq.PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH
                return Shake.MISMATCH if mismatch else Shake.CLOSED
            if event == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL and value == errno.ETIMEDOUT:
                continue  # it is busy, or no genserver
            if event in _SHAKES:
                return _SHAKES[event]
        return None

    def close(self) -> None:
        self._watched.disable_monitor()
        self.raw.close(linger=0)

    def _next(self) -> tuple[int, int] | None:
        try:
            data, _ = self.raw.recv_multipart(zmq.DONTWAIT)
        except zmq.Again:
            return None
        event, value = struct.unpack("=HI", data)
        return event, value


_SHAKES: dict[int, Shake] = {
    zmq.EVENT_HANDSHAKE_SUCCEEDED: Shake.SUCCEEDED,
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: Shake.REFUSED,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: Shake.CLOSED,
    zmq.EVENT_CLOSED: Shake.ABSENT,
}


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as a bound socket got it."""

    peer: bytes
    header: bytes
    #: Whether there are frames behind the header.
    further: bool
    #: The descriptor of the connection that it came by; -1 where that is not known.
    connection: int
    #: The key that its sender has proved to be his, as `Door` was answered; "" without.
    user: str = ""


@contextlib.contextmanager
def _line(connection: int, ours: Callable[[socket.socket], bool]) -> Iterator[socket.socket | None]:
    """libzmq's own, if the number still stands for one that is ``ours``."""
    try:
        duplicate = os.dup(connection)
    except OSError:
        yield None
        return
    try:
        line = socket.socket(fileno=duplicate)
    except OSError:  # the number stands for a pipe or a file by now
        os.close(duplicate)
        yield None
        return
    with line:
        try:
            known = ours(line)
        except OSError:  # it is no longer connected
            known = False
        yield line if known else None


def _received(line: socket.socket | None) -> int | None:
    """Bytes that the system took from a connection; None where it does not say."""
    if line is None or line.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
        return None
    info = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
    return int.from_bytes(info[TCP_RECEIVED], sys.byteorder)


def _connection_of(frame: zmq.Frame) -> int:
    try:
        return int(frame.get(zmq.SRCFD))
    except zmq.ZMQError:  # ZeroMQ 2 and 3 say nothing of themselves, nor does noise like theirs
        return -1


def _user_of(frame: zmq.Frame) -> str:
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:  # nobody was asked
        return ""


class Router:
    """A bound ROUTER: many trainers, each known by its routing id."""

    def __init__(self) -> None:
        self.raw = _socket(zmq.ROUTER, MAX_HEADER)
        self.raw.rcvhwm = WAITING_HEADERS
        self.raw.setsockopt(zmq.RCVBUF, WAITING_BYTES)
        self.raw.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.monitor = Monitor(self.raw)
        self._locks: list[IO[str]] = []
        self._paths: list[str] = []
        self._ports: list[int] = []
        #: Whether the rest of a message waits to be dropped.
        self._more = False

    def guard(self, secret: str) -> None:
        """What is bound from now on lets in whom the process's `Door` does, and nobody else: also
        where there is none."""
        self.raw.curve_server = True
        self.raw.curve_secretkey = secret.encode()
        self.raw.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)
        self.raw.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def bind(self, endpoint: Endpoint) -> Endpoint:
        """Bind, and say where (port 0 becomes a real one); `EndpointError` when it is in use."""
        if endpoint.scheme == "ipc":
            self._locks.append(claim(endpoint))
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
        self._ports.append(int(bound.rstrip(b"\0").rpartition(b":")[2]))
        return endpoint.with_port(self._ports[-1])

    def receive(self) -> Incoming | None:
        """A waiting message, or None. What follows its first frame is left to `skip`."""
        try:
            peer = self.raw.recv(zmq.DONTWAIT)
        except zmq.Again:
            return None
        if not self.raw.rcvmore:
            return Incoming(peer, b"", False, -1)
        frame = self.raw.recv(zmq.DONTWAIT, copy=False)
        self._more = bool(self.raw.rcvmore)
        connection, user = _connection_of(frame), _user_of(frame)
        return Incoming(peer, frame.bytes, self._more, connection, user)

    def skip(self) -> bool:
        """Drop some of what is left of a message; False when there is nothing. A hundred thousand
        frames take their time, in which others must have their turn."""
        if not self._more:
            return False
        for _ in range(SKIPPED_AT_ONCE):
            # A frame knows what follows it, which takes a fifth of asking the socket.
            if not self.raw.recv(zmq.DONTWAIT, copy=False).more:
                self._more = False
                break
        return True

    def received(self, connection: int) -> int | None:
        """Bytes that the system took from a connection, as it came, also of messages that are not
        whole; None where it does not say."""
        with _line(connection, self._ours) as line:
            return _received(line)

    def cut(self, connection: int) -> None:
        """End a connection; what is not read of it is thrown away."""
        with _line(connection, self._ours) as line, contextlib.suppress(OSError):
            if line is not None:
                # The other end hears of it at once, also where it waits for us to read.
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                line.shutdown(socket.SHUT_RDWR)

    def _ours(self, line: socket.socket) -> bool:
        name = line.getsockname()
        return name in self._paths if isinstance(name, str) else name[1] in self._ports

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
        self.monitor.close()
        self.raw.close(linger=0)
        for path in self._paths:
            remove(path)
        for lock in self._locks:
            lock.close()
            remove(lock.name)


class Dealer:
    """A connected DEALER: one link to one server process."""

    def __init__(self, endpoint: Endpoint, keys: TrainerKeys | None = None) -> None:
        """``keys`` are for tcp; a file has its owner."""
        self.raw = _socket(zmq.DEALER, MAX_PIECE)
        resolved = _resolved(endpoint)
        self._port = resolved.port
        #: Bytes that were handed on of the latest connection, and which one that is.
        self._handed_on, self._counted = 0, 0
        #: Of handshakes, over tcp.
        self.monitor = None if endpoint.scheme == "ipc" else Monitor(self.raw)
        if keys is not None and endpoint.scheme != "ipc":
            self.raw.curve_serverkey = keys.server.encode()
            self.raw.curve_publickey = keys.public.encode()
            self.raw.curve_secretkey = keys.secret.encode()
        first, longest = resolved.retry_ms
        self.raw.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MS)
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
            header = self.raw.recv(zmq.DONTWAIT)
        except zmq.Again:
            return None
        self._handed_on += len(header)
        return header

    @property
    def backlog(self) -> int:
        """Bytes of the connection that were received and not handed on; 0 where nobody says."""
        monitor = self.monitor
        if monitor is None:
            return 0
        if self._counted != monitor.connections:
            self._counted, self._handed_on = monitor.connections, 0
        with _line(monitor.connection, lambda line: line.getpeername()[1] == self._port) as line:
            return (_received(line) or 0) - self._handed_on

    @property
    def more(self) -> bool:
        """Whether the message that is being received has a further frame."""
        return bool(self.raw.rcvmore)

    def receive_into(self, buffer: memoryview) -> int:
        """Receive the next frame into ``buffer``; its true length, which may be larger."""
        size = self.raw.recv_into(buffer, flags=zmq.DONTWAIT)
        self._handed_on += size
        return size

    def skip(self) -> None:
        """Drop the rest of the message."""
        while self.more:
            self._handed_on += len(self.raw.recv(zmq.DONTWAIT, copy=False))

    def close(self) -> None:
        if self.monitor is not None:
            self.monitor.close()
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
        remove(self._path)


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

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


#: What a poller waits for: something of this file that has a socket, or a descriptor.
Source = Router | Dealer | Door | Monitor | int


class Poller:
    """Waits for sockets and file descriptors."""

    def __init__(self) -> None:
        self._poller = zmq.Poller()

    def add(self, source: Source) -> None:
        self._poller.register(source if isinstance(source, int) else source.raw, zmq.POLLIN)

    def remove(self, source: Source) -> None:
        self._poller.unregister(source if isinstance(source, int) else source.raw)

    def wait(self, seconds: float) -> list[Any]:
        """The raw sockets and descriptors that are readable after at most ``seconds``."""
        return [source for source, _ in self._poller.poll(max(0, math.ceil(seconds * 1000)))]


def mechanism_at(endpoint: Endpoint) -> str:
    """How whatever listens at a tcp endpoint wants to be talked to: "NULL" or "CURVE", "" where it
    is not ZeroMQ or says nothing within 2 s.

    libzmq's own handshake tells that as well, if the connection is not closed before.
    """
    greeting = b""
    deadline = time.monotonic() + TCP_TEST_SECONDS
    try:
        address = addresses_of(endpoint)[0], endpoint.port
        with socket.create_connection(address, TCP_TEST_SECONDS) as test:
            test.sendall(_GREETING)
            while len(greeting) < _MECHANISM.stop and time.monotonic() < deadline:
                piece = test.recv(_MECHANISM.stop - len(greeting))
                if not piece:
                    break
                greeting += piece
    except (OSError, EndpointError):
        return ""
    named = greeting[_MECHANISM] if greeting[:1] == b"\xff" else b""
    return named.rstrip(b"\0").decode("ascii", "replace")


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
        address = "" if endpoint.scheme == "ipc" else addresses_of(endpoint)[0]
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


def addresses_of(endpoint: Endpoint) -> list[str]:
    """What its host means; `EndpointError` where that is nothing."""
    if endpoint.host == "*":
        return ["0.0.0.0"]
    try:
        found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # the latter of what cannot be a name at all
        raise EndpointError(str(endpoint), f"the name {endpoint.host!r} is unknown") from None
    return [str(address[4][0]).partition("%")[0] for address in found]


def _resolved(endpoint: Endpoint) -> Endpoint:
    if endpoint.scheme == "ipc" or endpoint.host == "*":
        return endpoint
    # A name is resolved here, once: libzmq's bind takes no names, and prefers other families.
    return Endpoint("tcp", _address(endpoint), endpoint.port)


def _address(endpoint: Endpoint) -> str:
    addresses = addresses_of(endpoint)
    return next((a for a in addresses if ":" not in a), addresses[0])


def _bind_failure(endpoint: Endpoint, error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"in use by another program; `genserver probe {endpoint}` says whether it is a server "
            "of yours, --bind takes another port"
        )
    return str(error.strerror or error).lower()


#: A socket that speaks no ZeroMQ.
Plain = socket.socket


def listen(endpoint: Endpoint) -> tuple[Plain, Endpoint]:
    """A tcp port that does not block, and where it is (port 0 becomes a real one).

    Raises `OSError` where it cannot be had, `EndpointError` for an unknown name.
    """
    address = _address(endpoint)
    raw = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        raw.setblocking(False)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # free as soon as it is closed
        raw.bind((address, endpoint.port))
        raw.listen(BACKLOG)
    except OSError:
        raw.close()
        raise
    return raw, endpoint.with_port(raw.getsockname()[1])


def end_sending(raw: Plain) -> None:
    """Nothing more will be sent; the other end may still send. `OSError` where it is gone."""
    raw.shutdown(socket.SHUT_WR)
