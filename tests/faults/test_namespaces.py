"""The other host is reached over its cable, and each rule does to packets what it says."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ..support.namespaces import IN, OUT, Host, host, why_not
from ..support.processes import eventually

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(why_not() != "", reason=why_not() or "there are namespaces"),
]


@pytest.fixture(scope="module")
def other() -> Iterator[Host]:
    """A host for all tests of this file."""
    with host() as made:
        yield made


@pytest.fixture
def pair(other: Host) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection from here to the other host: both its ends."""
    other.heal()
    with other.entered():
        listening = socket.create_server((other.address, 0))
    with listening:
        here = socket.create_connection(listening.getsockname(), timeout=5)
        there, _ = listening.accept()
    with here, there:
        there.settimeout(5)
        yield here, there
    other.heal()


def silent(end: socket.socket, seconds: float = 0.3) -> bool:
    end.settimeout(seconds)
    try:
        end.recv(1)
    except TimeoutError:
        return True
    finally:
        end.settimeout(5)
    return False


def test_a_dropped_direction_is_silent_and_comes_after_healing(
    other: Host, pair: tuple[socket.socket, socket.socket]
) -> None:
    """TCP sends it again."""
    here, there = pair
    other.drop(IN)
    here.sendall(b"in")
    assert silent(there)
    other.heal()
    assert there.recv(2) == b"in"
    other.drop(OUT)
    there.sendall(b"out")
    assert silent(here)
    other.heal()
    assert here.recv(3) == b"out"


def test_a_reset_ends_the_connection(
    other: Host, pair: tuple[socket.socket, socket.socket]
) -> None:
    """With RST."""
    here, _ = pair
    other.reset(IN)
    here.sendall(b"x")
    with pytest.raises(ConnectionResetError):
        here.recv(1)


def test_lost_packets_are_sent_again(
    other: Host, pair: tuple[socket.socket, socket.socket]
) -> None:
    """A tenth of them: a stream is a stream."""
    here, there = pair
    other.lose(10)
    data = bytes(range(256)) * 400
    here.sendall(data)
    got = b""
    while len(got) < len(data):
        got += there.recv(2**16)
    assert got == data


def test_a_shaped_cable_is_as_slow_as_it_says() -> None:
    """A megabyte at 20 Mbit/s takes 0.4 s."""
    with host() as slow:
        slow.shape(20)
        with slow.entered():
            listening = socket.create_server((slow.address, 0))
        with (
            listening,
            socket.create_connection(listening.getsockname(), timeout=5) as here,
            listening.accept()[0] as there,
        ):
            began = time.monotonic()
            here.setblocking(False)
            sent = got = 0
            while got < 10**6:
                with suppress(BlockingIOError):
                    sent += here.send(bytes(min(2**16, 10**6 - sent))) if sent < 10**6 else 0
                got += len(there.recv(2**16))
            assert time.monotonic() - began > 0.35


def test_a_host_leaves_nothing(other: Host) -> None:
    """Neither its namespace nor its cable."""

    def links() -> str:
        return subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout

    with host() as gone:
        assert gone._cable in links()
    names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert gone.name not in names
    assert other.name in names
    assert eventually(lambda: gone._cable not in links())  # the kernel takes its time
