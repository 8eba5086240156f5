"""Endpoints: what their text says of where they are."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from genserver.protocol.endpoint import FAR_RETRY_MS, HERE_RETRY_MS, parse_endpoint
from genserver.protocol.transport import sockets
from genserver.protocol.transport.sockets import Dealer, Router


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """No socket of a test outlives it."""
    yield
    sockets.close_context()


@pytest.mark.parametrize(
    ("text", "here"),
    [
        ("ipc:///run/scans.sock", True),
        ("tcp://127.0.0.1:5555", True),
        ("tcp://127.3.2.1:5555", True),
        ("tcp://[::1]:5555", True),
        ("tcp://127.example.org:5555", False),
        ("tcp://localhost:5555", False),
        ("tcp://192.0.2.1:5555", False),
        ("tcp://*:5555", False),
    ],
)
def test_an_address_says_whether_it_is_on_this_host(text: str, here: bool) -> None:
    """A file and a loopback address are; a name is not taken to be before it is looked up."""
    assert parse_endpoint(text).on_this_host is here


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ipc:///run/scans.sock", HERE_RETRY_MS),
        ("tcp://127.0.0.1:5555", HERE_RETRY_MS),
        ("tcp://localhost:5555", HERE_RETRY_MS),
        ("tcp://192.0.2.1:5555", FAR_RETRY_MS),
    ],
)
def test_a_trainer_looks_for_a_server_of_its_host_at_short_and_equal_intervals(
    text: str, expected: tuple[int, int]
) -> None:
    """Only beyond this host do the pauses grow, so that one that waits for long misses nothing."""
    dealer = Dealer(parse_endpoint(text))
    raw = dealer.raw
    assert (raw.reconnect_ivl, raw.reconnect_ivl_max) == expected
    assert HERE_RETRY_MS[0] == HERE_RETRY_MS[1] < FAR_RETRY_MS[0] < FAR_RETRY_MS[1]
    dealer.close()


def test_a_number_that_stands_for_something_else_by_now_is_let_alone(tmp_path: Path) -> None:
    """A pipe, a file and a socket of somebody else are neither cut nor counted, and none is kept
    open."""
    router = Router()
    router.bind(parse_endpoint("tcp://127.0.0.1:0"))
    reader, writer = os.pipe()
    with open(tmp_path / "file", "w") as file, socket.create_server(("127.0.0.1", 0)) as other:
        before = set(os.listdir("/proc/self/fd"))
        for number in (reader, writer, file.fileno(), other.fileno(), 10**6, -1):
            assert router.received(number) is None
            router.cut(number)
        assert set(os.listdir("/proc/self/fd")) == before
        file.write("still open")
        assert other.fileno() > 0
    for end in (reader, writer):
        os.close(end)
    router.close()
