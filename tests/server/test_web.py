"""The port of --http on real sockets: who is answered, who is cut, and what is left behind."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from genserver.protocol.endpoint import Endpoint
from genserver.protocol.errors import EndpointError
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.telemetry import Snapshot, WorkerTotals
from genserver.server import web as module
from genserver.server.http_reply import Page
from genserver.server.web import MOST, Web

from ..support.servers import PATIENCE, eventually

HERE = Endpoint("tcp", "127.0.0.1", 0)
GET = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"


def status_of(workers: int) -> Status:
    states = tuple(WorkerStatus(i, "ready", 7 + i, "", 0) for i in range(workers))
    return Status("ready", "scans:cubes", "static", 5, -2, "", None, states)


@contextlib.contextmanager
def serving(workers: int = 2) -> Iterator[Web]:
    """A port that answers for so many workers."""
    with Web(HERE, insecure_network=False) as web:
        totals = tuple(WorkerTotals(index=i, elements=5) for i in range(workers))
        snapshot = Snapshot(at=1, cores=1, memory=1, workers=totals)
        web.board.watch(lambda: status_of(workers), lambda: snapshot)
        web.start()
        web.board.tick(time.monotonic())
        yield web


def port_of(web: Web) -> int:
    return int(web.url.rpartition(":")[2])


def connected(web: Web) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(web)), PATIENCE)


def rest_of(client: socket.socket) -> bytes:
    """Everything until the other end closes; what came before a reset is lost."""
    pieces = []
    with contextlib.suppress(ConnectionError):
        while piece := client.recv(1 << 16):
            pieces.append(piece)
    return b"".join(pieces)


def asked(web: Web, request: bytes = GET) -> bytes:
    with connected(web) as client:
        client.sendall(request)
        return rest_of(client)


def test_figures_are_told_whole_and_as_what_they_are() -> None:
    """With their length; a HEAD has the same head."""
    with serving() as web:
        head, _, body = asked(web).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"Content-Type: text/plain; version=0.0.4; charset=utf-8" in head
        assert f"Content-Length: {len(body)}".encode() in head
        assert b'genserver_worker_elements_total{worker="1"} 5.0\n' in body
        assert asked(web, GET.replace(b"GET", b"HEAD")) == head + b"\r\n\r\n"


def test_a_request_in_pieces_is_answered() -> None:
    """As it may come over a network."""
    with serving() as web, connected(web) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in GET:
            client.send(bytes([byte]))
        assert rest_of(client).startswith(b"HTTP/1.1 200 ")


def test_a_refused_body_does_not_take_the_answer_back() -> None:
    """What is not read must not end in a reset before the other end has read why."""
    with serving() as web:
        for size in (0, 10, 50_000):
            answer = asked(web, b"POST /metrics HTTP/1.1\r\n\r\n" + b"x" * size)
            assert answer.startswith(b"HTTP/1.1 405 ")
            assert answer.endswith(b"only GET and HEAD\n")


def test_many_are_answered_while_slow_ones_hold_all_places() -> None:
    """Silent ones, half requests, readers that do not read: the oldest goes when another comes."""
    with serving(workers=300) as web, contextlib.ExitStack() as stack:
        for number in range(3 * MOST):
            slow = stack.enter_context(connected(web))
            slow.sendall((b"", b"GET /metr", GET)[number % 3])
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: asked(web), range(100)))
        assert {len(answer) for answer in answers} == {len(answers[0])}
        assert len(answers[0]) > 100_000


def test_no_more_connections_are_held_than_there_are_places() -> None:
    """However many come: descriptors are the supervisor's, who needs them."""
    with serving() as web, contextlib.ExitStack() as stack:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(4 * MOST):
            stack.enter_context(connected(web))
        ours = 4 * MOST
        asked(web)
        assert len(os.listdir("/proc/self/fd")) <= before + ours + MOST
        stack.close()
        assert eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


@pytest.mark.parametrize("begun", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nX: y"])
def test_who_takes_too_long_is_cut(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if another byte comes now and then: the limit is of the whole request."""
    monkeypatch.setattr(module, "LONGEST", 0.5)
    with serving() as web, connected(web) as client:
        client.sendall(begun)
        started = time.monotonic()
        client.settimeout(0.05)
        over = False
        while not over and time.monotonic() - started < PATIENCE:
            with contextlib.suppress(TimeoutError):
                try:
                    if begun:
                        client.sendall(b"x")
                    over = not client.recv(1)
                except ConnectionError:
                    over = True
        assert over
        assert time.monotonic() - started < 5.0


def test_who_does_not_read_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for him, and what he did not take is gone."""
    monkeypatch.setattr(module, "LONGEST", 0.5)
    asked_for = threading.Event()

    def much(_: object) -> Page:
        asked_for.set()
        return Page(200, bytes(1 << 26))  # more than the system keeps of it

    with serving() as web, socket.socket() as client:
        web._text = much
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PATIENCE)
        client.connect(("127.0.0.1", port_of(web)))
        client.sendall(GET)
        assert asked_for.wait(PATIENCE)
        assert asked(web, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"ok\n")
        assert eventually(lambda: not web._callers)
        assert len(rest_of(client)) < 1 << 26


def test_garbage_is_refused_in_a_line() -> None:
    """No trace of the program, and the next one is answered."""
    with serving() as web:
        for garbage in (b"\xff\n" * 9, os.urandom(5000) + b"\n", b"G" * 20_000, b"\n" * 20_000):
            answer = asked(web, garbage)
            assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
            assert len(answer) < 400
            assert b"Traceback" not in answer
        assert asked(web).startswith(b"HTTP/1.1 200 ")


def test_a_port_is_free_as_soon_as_it_is_stopped() -> None:
    """Whoever is connected is cut, and the thread ends."""
    with serving() as web:
        port = port_of(web)
        asked(web)
        idle = connected(web)
        begun = time.monotonic()
    assert time.monotonic() - begun < 1.0
    assert "genserver-http" not in {thread.name for thread in threading.enumerate()}
    with idle:
        assert rest_of(idle) == b""
    with Web(Endpoint("tcp", "127.0.0.1", port), insecure_network=False) as again:
        again.start()
        assert asked(again, b"GET /readyz HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nstarting\n")


def test_a_text_is_made_once_for_each_look() -> None:
    """However often it is asked for: a scraper cannot take more of a core than that."""
    with serving() as web:
        first = asked(web)
        made = web._last
        assert asked(web) == first
        assert web._last is made
        shown = web.board.shown
        assert shown is not None
        web.board.shown = replace(shown, status=replace(shown.status, generator="other:one"))
        assert b"other:one" in asked(web)


def test_without_descriptors_it_waits_and_goes_on() -> None:
    """A connection that the system cannot hand out is taken when it can, without a busy loop."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving() as web, socket.socket() as client, contextlib.ExitStack() as stack:
        client.settimeout(PATIENCE)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, limits[1]))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        with contextlib.suppress(OSError):
            while True:
                stack.callback(os.close, os.dup(0))
        client.connect(("127.0.0.1", port_of(web)))
        client.sendall(GET)
        assert eventually(lambda: web._resumes is not None)
        spent = time.process_time()
        client.settimeout(1.0)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert time.process_time() - spent < 0.5
        stack.close()
        client.settimeout(PATIENCE)
        assert rest_of(client).startswith(b"HTTP/1.1 200 ")


def test_a_port_that_cannot_be_had_is_one_sentence() -> None:
    """Taken, beyond this host, no name: what it is and what helps."""
    with serving() as web:
        taken = Endpoint("tcp", "127.0.0.1", port_of(web))
        with pytest.raises(EndpointError, match=rf"--http 127.0.0.1:{taken.port}: in use by"):
            Web(taken, insecure_network=False)
    with pytest.raises(EndpointError, match=r"--http 0.0.0.0:0: beyond this host .* keys do not"):
        Web(Endpoint("tcp", "0.0.0.0", 0), insecure_network=False)
    with pytest.raises(EndpointError, match=r"the name 'no\.such\.name\.invalid' is unknown"):
        Web(Endpoint("tcp", "no.such.name.invalid", 0), insecure_network=False)
    with pytest.raises(EndpointError, match="is unknown"):
        Web(Endpoint("tcp", "a" * 70 + "\udcff", 0), insecure_network=False)


def test_it_listens_beyond_this_host_where_that_is_asked_for() -> None:
    """--insecure-network, as for the data without keys."""
    with Web(Endpoint("tcp", "*", 0), insecure_network=True) as web:
        web.start()
        assert asked(web, b"GET /healthz HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\nok\n")


def test_ipv6_is_written_in_brackets() -> None:
    """As a browser takes it."""
    if not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    with Web(Endpoint("tcp", "::1", 0), insecure_network=False) as web:
        assert web.url.startswith("http://[::1]:")
