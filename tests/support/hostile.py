"""Peers that mean harm: one that connects by hand, and a server that sends what it likes.

Owns their sockets and the server's thread. Imports nothing of the tests.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import zmq
from genserver.protocol.codec import decode_header, encode
from genserver.protocol.link import Numbered
from genserver.protocol.messages import (
    Beat,
    Error,
    Grant,
    Hello,
    Message,
    Status,
    Welcome,
    WorkerStatus,
)
from genserver.protocol.spec import ElementSpec

__all__ = ["DEALER", "GREETING", "ByHand", "a_hostile_server", "frame"]

#: A ZMTP 3.0 greeting without security, and READY of a DEALER: what follows is a message.
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL".ljust(55, b"\0")
READY = b"\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
DEALER = GREETING + b"\x04" + bytes([len(READY)]) + READY
MORE, LONG = 1, 2


def frame(data: bytes, *, more: bool = False) -> bytes:
    """One frame as ZMTP has it on the wire."""
    return struct.pack(">BQ", LONG | (MORE if more else 0), len(data)) + data


class ByHand:
    """A connection to a port, byte by byte."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)

    def shake(self) -> None:
        """Greet: libzmq hangs up on who sends before it is ready."""
        self.send(DEALER)
        heard = b""
        while b"READY" not in heard:
            more = self._socket.recv(4096)
            assert more, "the server hung up"
            heard += more

    def send(self, data: bytes) -> bool:
        """False when the server has hung up."""
        try:
            self._socket.sendall(data)
        except (ConnectionError, TimeoutError):
            return False
        return True

    def say(self, message: Message, number: int = 0) -> None:
        """As an honest trainer would."""
        (header,) = encode(Numbered(number, message))
        self.send(frame(bytes(header)))

    def hear(self, seconds: float) -> str:
        """The text of the error that it is told; "closed", or "" if neither comes so soon."""
        deadline, heard = time.monotonic() + seconds, b""
        while (left := deadline - time.monotonic()) > 0:
            self._socket.settimeout(left)
            try:
                piece = self._socket.recv(65536)
            except TimeoutError:
                break
            except ConnectionError:
                return "closed"
            if not piece:
                return "closed"
            heard += piece
            for message in _messages(heard):
                if isinstance(message, Error):
                    return message.text
        return ""

    def close(self) -> None:
        self._socket.close()


def _messages(heard: bytes) -> Iterator[Message]:
    while len(heard) > 2:
        long = heard[0] & LONG
        head = 9 if long else 2
        size = int.from_bytes(heard[1:head], "big")
        if len(heard) < head + size:
            return
        if not heard[0] & 4:  # a command of ZMTP
            yield decode_header(heard[head : head + size])[1]  # type: ignore[misc]  # no items
        heard = heard[head + size :]


def status(spec: ElementSpec, port: int) -> Status:
    """Of a server with one worker."""
    worker = WorkerStatus(0, "ready", 1, "", port, "", 0, 0)
    return Status("ready", "hostile:worker", "static", 1, -2, "elsewhere", spec, (worker,))


@contextlib.contextmanager
def a_hostile_server(
    spec: ElementSpec, harm: Callable[[int], list[bytes]]
) -> Iterator[tuple[str, list[int]]]:
    """Its endpoint, and how often it was given credit: each time its worker sends ``harm(stream)``.

    Whatever is asked besides is answered as it should be.
    """
    context = zmq.Context()
    control, data = context.socket(zmq.ROUTER), context.socket(zmq.ROUTER)
    ports = [s.bind_to_random_port("tcp://127.0.0.1") for s in (control, data)]
    for raw in (control, data):
        raw.linger = 0
    stop, credits = threading.Event(), [0]

    def run() -> None:
        numbers: dict[tuple[int, bytes], int] = {}
        while not stop.is_set():
            for which, raw in enumerate((control, data)):
                if raw.poll(10):
                    peer, header, *_ = raw.recv_multipart()
                    for answer in _answers(which, header, spec, ports[1], harm, credits):
                        number = numbers.get((which, peer), 0)
                        numbers[which, peer] = number + 1
                        if isinstance(answer, list):
                            raw.send_multipart([peer, *_numbered(answer, number)])
                        else:
                            raw.send_multipart([peer, *encode(Numbered(number, answer))])

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"tcp://127.0.0.1:{ports[0]}", credits
    finally:
        stop.set()
        thread.join(10)
        context.destroy(linger=0)


def _answers(
    which: int, header: bytes, spec: ElementSpec, port: int,
    harm: Callable[[int], list[bytes]], credits: list[int],
) -> Iterator[Any]:  # fmt: skip
    _, message = decode_header(header)
    if isinstance(message, Hello):
        yield Welcome(7)
        if which == 0:
            yield status(spec, port)
    elif isinstance(message, Grant):
        credits[0] += 1
        yield harm(message.stream)
    elif isinstance(message, Beat):
        yield Beat()


def _numbered(frames: list[bytes], number: int) -> list[bytes]:
    """With the link's next number, where the header can be read at all."""
    try:
        header = msgpack.unpackb(frames[0])
        return [msgpack.packb(header | {"l": number}), *frames[1:]]
    except (ValueError, TypeError, msgpack.exceptions.UnpackException):
        return frames
