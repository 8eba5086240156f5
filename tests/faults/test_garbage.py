"""Strangers at a server's ports during a pass: garbage, other protocols, silence."""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Callable

import msgpack
import pytest
from genserver.client import Client

from ..support.checker import Checker, consume, limited
from ..support.hashed import share
from ..support.hostile import DEALER, GREETING
from ..support.servers import Serve
from ..support.status import ports_of

WORKERS, N = 2, 2000
#: Seconds that a pass may take, on a loaded machine, too.
LIMIT = 40.0
ARGUMENTS = {"n": N, "pause": 0.0005}


def noise(chance: random.Random) -> bytes:
    return chance.randbytes(2000)


def http(_: random.Random) -> bytes:
    return b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


def tls(chance: random.Random) -> bytes:
    return b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + chance.randbytes(508)


def nothing(_: random.Random) -> bytes:
    return b""


def half_a_greeting(_: random.Random) -> bytes:
    return GREETING[:30]


def a_dealer_with_noise(chance: random.Random) -> bytes:
    frames = [chance.randbytes(chance.randrange(1, 200)) for _ in range(20)]
    return DEALER + b"".join(b"\x00" + bytes([len(frame)]) + frame for frame in frames)


def a_huge_announcement(_: random.Random) -> bytes:
    return DEALER + b"\x02" + struct.pack(">Q", 2**62) + bytes(1000)


def a_hello_of_another_protocol(_: random.Random) -> bytes:
    frame = b"\x83\xa1k\x01\xa1l\x00\xa1m\xa3xyz"
    return DEALER + b"\x00" + bytes([len(frame)]) + frame


def a_status_that_is_long_to_quote(_: random.Random) -> bytes:
    frame = msgpack.packb({"k": 4, "l": 0, "st": "", "g": "", "sh": "", "sd": 0, "ca": 0, "h": "",
                           "sp": ["array", "\0" * 64_000, []], "ws": []})  # fmt: skip
    return DEALER + b"\x02" + struct.pack(">Q", len(frame)) + frame


KINDS = [noise, http, tls, nothing, half_a_greeting, a_dealer_with_noise, a_huge_announcement,
         a_hello_of_another_protocol, a_status_that_is_long_to_quote]  # fmt: skip


def say(stranger: socket.socket, garbage: bytes) -> None:
    """Send it, behind the handshake when it has one: libzmq hangs up on who does not wait."""
    if garbage.startswith(DEALER):
        stranger.sendall(DEALER)
        hear(stranger, b"READY")
        garbage = garbage[len(DEALER) :]
    stranger.sendall(garbage)


def hear(stranger: socket.socket, wanted: bytes) -> bytes:
    """What the server says, up to this at least."""
    heard = b""
    while wanted not in heard:
        more = stranger.recv(4096)
        assert more, "the server hung up"
        heard += more
    return heard


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_strangers_do_not_disturb_a_pass(
    serve: Serve, chance: random.Random, kind: Callable[[random.Random], bytes]
) -> None:
    """At every port of the server, ten times; they stay connected until the end."""
    server = serve("hashed:seeking", workers=WORKERS, arguments=ARGUMENTS)
    ports = ports_of(server.endpoint)
    checker = Checker([share(worker, WORKERS, N) for worker in range(WORKERS)])
    strangers: list[socket.socket] = []
    try:
        with Client(server.endpoint, transport="tcp") as client, limited(client, LIMIT):
            elements = iter(client)
            for moment in range(100, 1100, 100):
                assert consume(elements, checker, limit=moment) is None
                for port in ports:
                    stranger = socket.create_connection(("127.0.0.1", port), timeout=5)
                    strangers.append(stranger)
                    say(stranger, kind(chance))
                    if kind is a_status_that_is_long_to_quote:  # is told so in few words
                        assert len(hear(stranger, b"...")) < 1000
            end = consume(elements, checker)
    finally:
        for stranger in strangers:
            stranger.close()
    checker.check(end)
    assert end is None
