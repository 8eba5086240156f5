"""The proxy does to a connection what its methods say, and nothing else."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ..support.proxy import DOWN, UP, Proxy, Toxics
from ..support.servers import eventually

#: A second loopback address.
pytestmark = pytest.mark.linux


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while data := connection.recv(2**16):
                    connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    """A proxy in front of it."""
    with Proxy([echo]) as made:
        yield made


@pytest.fixture
def end(proxy: Proxy, echo: int) -> Iterator[socket.socket]:
    """A connection through it, over which something has passed."""
    with socket.create_connection((proxy.host, echo), timeout=10) as made:
        made.sendall(b"x")
        assert made.recv(1) == b"x"
        yield made


def exchanged(end: socket.socket, data: bytes) -> bytes:
    """What comes back of ``data``."""
    sending = threading.Thread(target=end.sendall, args=(data,), daemon=True)
    sending.start()
    got = b""
    while len(got) < len(data):
        got += end.recv(2**16)
    sending.join(10)  # the caller closes the socket next
    return got


def arrives(end: socket.socket, seconds: float) -> bool:
    return bool(select.select([end], [], [], seconds)[0])


DATA = bytes(range(256)) * 4096


def test_bytes_pass_unchanged(end: socket.socket) -> None:
    """A megabyte there and back."""
    assert exchanged(end, DATA) == DATA


@pytest.mark.parametrize("slice_", [1, 1000])
def test_slices_change_nothing_but_the_writes(
    proxy: Proxy, end: socket.socket, slice_: int
) -> None:
    """A stream is a stream."""
    proxy.spoil(UP, Toxics(slice=slice_))
    assert exchanged(end, DATA[: 2000 * slice_]) == DATA[: 2000 * slice_]


def test_a_cut_resets_both_ends_and_new_connections_work(
    proxy: Proxy, end: socket.socket, echo: int
) -> None:
    """ECONNRESET, not an orderly end."""
    assert proxy.cut() == 1
    with pytest.raises(ConnectionResetError):
        end.recv(1)
    with socket.create_connection((proxy.host, echo), timeout=10) as other:
        assert exchanged(other, DATA) == DATA
    assert eventually(lambda: proxy.connections == 0)
    assert proxy.accepted == 2


def test_a_cut_of_one_port_leaves_the_others(proxy: Proxy, end: socket.socket, echo: int) -> None:
    """The port is the server's."""
    assert proxy.cut(echo + 1) == 0
    assert exchanged(end, b"still there") == b"still there"


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_what_is_held_back_comes_after_healing(
    proxy: Proxy, end: socket.socket, direction: str
) -> None:
    """One way or the other: nothing passes, then everything does, in order."""
    before = proxy.passed(UP)
    proxy.hold(direction)
    end.sendall(b"first ")
    assert not arrives(end, 0.2)
    assert proxy.passed(UP) - before == (0 if direction == UP else 6)
    proxy.heal()
    assert exchanged(end, b"second")[:6] == b"first "


def test_a_held_proxy_accepts_and_is_silent(proxy: Proxy, echo: int) -> None:
    """A half-open connection: accepted, and nobody answers."""
    proxy.hold()
    with socket.create_connection((proxy.host, echo), timeout=10) as made:
        made.sendall(b"anybody?")
        assert not arrives(made, 0.2)
        proxy.heal()
        assert made.recv(8) == b"anybody?"


def test_latency_is_added_once_a_byte_and_not_once_a_write(
    proxy: Proxy, end: socket.socket
) -> None:
    """Pipelined: a megabyte in a hundred writes is late by what one byte is late."""
    proxy.spoil(DOWN, Toxics(latency=0.2, slice=10_000))
    began = time.monotonic()
    assert exchanged(end, DATA) == DATA
    assert 0.2 <= time.monotonic() - began < 10


def test_bandwidth_is_a_limit(proxy: Proxy, end: socket.socket) -> None:
    """200 KB at 500 KB/s take 0.4 s."""
    proxy.spoil(DOWN, Toxics(bandwidth=500_000, slice=10_000))
    began = time.monotonic()
    assert exchanged(end, DATA[:200_000]) == DATA[:200_000]
    assert time.monotonic() - began >= 0.4


def test_a_connection_can_be_reset_in_the_middle_of_a_message(
    proxy: Proxy, end: socket.socket
) -> None:
    """After an exact number of bytes; what was written before it may be lost with it."""
    before = proxy.passed(UP)
    proxy.spoil(UP, Toxics(reset_after=1234))
    end.sendall(DATA[:5000])
    got = b""
    with pytest.raises(ConnectionResetError):  # noqa: PT012  # reads until it happens
        while True:
            got += end.recv(2**16)
    assert len(got) <= 1234
    assert proxy.passed(UP) - before == 1234


def test_where_nobody_listens_a_connection_ends_at_once(proxy: Proxy) -> None:
    """As the server's own port would refuse it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        Proxy([port]) as lonely,
        pytest.raises(ConnectionResetError),  # while it connects already, or after that
        socket.create_connection((lonely.host, port), timeout=10) as made,
    ):
        made.recv(1)
