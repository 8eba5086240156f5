"""Servers that come and go behind a name; the resolver is a test's, everything else is real."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from genserver.client import Client, EndpointError, PlanError, Progress, Unreachable
from genserver.protocol.endpoint import Endpoint
from genserver.protocol.transport import lookup
from genserver.server import Server

from ..support.ports import free_from
from ..support.servers import PATIENCE, SUPPORT, Serve

#: Addresses of this host: as good as three.
HOSTS = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]

Start = Callable[..., Server]


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses behind every name; none at first."""
    addresses: list[str] = []

    def look(name: Endpoint) -> list[str]:
        if not addresses:
            raise EndpointError(str(name), "unknown")
        return list(addresses)

    monkeypatch.setattr(lookup, "addresses_of", look)
    return addresses


@pytest.fixture
def port() -> int:
    """One that is free with the next at all the addresses."""
    return free_from((0, 1))


@pytest.fixture
def start(serve: Serve, port: int) -> Start:
    """A server of one worker at an address."""

    def start(host: str, target: str = "numbered", **options: object) -> Server:
        return serve(target, workers=1, bind=f"tcp://{host}:{port}", **options)

    return start


def name(port: int) -> str:
    return f"dns+tcp://producer:{port}"


def test_who_joins_serves_from_the_next_pass_on_and_who_left_no_more(
    start: Start, port: int, behind: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Each pass has every element once, over those that are there when it begins; a pass that has
    begun keeps its servers."""
    caplog.set_level(logging.INFO, "genserver")
    first = start(HOSTS[0], "places")
    behind.append(HOSTS[0])
    with Client(name(port)) as client:
        elements = iter(client)
        one = [next(elements)]
        start(HOSTS[1], "places")
        start(HOSTS[2], "places")
        behind += HOSTS[1:]
        one += elements
        assert [(int(e["index"]), int(e["count"])) for e in one] == [(0, 1)]
        assert {(int(e["index"]), int(e["count"])) for e in client} == {(0, 3), (1, 3), (2, 3)}
        del behind[0]
        first.stop()
        last = list(client)
        assert {(int(e["index"]), int(e["count"])) for e in last} == {(0, 2), (1, 2)}
        assert {int(e["seed"]) for e in one} == {int(e["seed"]) for e in last}
    text = caplog.text
    assert f"3 servers from this pass on: tcp://{HOSTS[1]}:{port} joined" in text
    assert f"2 servers from this pass on: tcp://{HOSTS[0]}:{port} left" in text


def test_a_trainer_may_come_first(start: Start, port: int, behind: list[str]) -> None:
    """It waits for the name as for a server."""
    started: list[Server] = []

    def later() -> None:
        started.append(start(HOSTS[0]))
        behind.append(HOSTS[0])

    thread = threading.Thread(target=later)
    thread.start()
    with Client(name(port)) as client:
        assert len(list(client)) == 20
    thread.join()


def test_nobody_behind_the_name_is_an_error_in_time(port: int, behind: list[str]) -> None:
    """It names the name, not an address."""
    with pytest.raises(Unreachable, match=r"dns\+tcp://producer:.*nobody is behind the name"):
        Client(name(port), connect_timeout=1.0)


def test_an_address_that_does_not_answer_is_left_out_after_the_limit(
    start: Start, port: int, behind: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """As that of a container that is gone; alone it would be an error."""
    caplog.set_level(logging.INFO, "genserver")
    behind += HOSTS[:2]
    start(HOSTS[0])
    with Client(name(port), connect_timeout=1.0) as client:
        assert len(list(client)) == 20
    assert f"tcp://{HOSTS[1]}:{port} is not ready: left out of this pass" in caplog.text
    behind[:] = HOSTS[1:2]
    with pytest.raises(Unreachable, match=f"tcp://{HOSTS[1]}:{port} within"):
        Client(name(port), connect_timeout=1.0)


def test_a_server_that_was_stopped_and_keeps_its_address_is_left_out(
    serve: Serve, start: Start, port: int, behind: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Its goodbye said that it may return; a pass that begins waits for it no longer than for any
    other, alone or beside others."""
    caplog.set_level(logging.INFO, "genserver")
    start(HOSTS[0])
    with subprocess.Popen(
        [sys.executable, "-m", "genserver.server", "serve", "generators:numbered", "--workers", "1",
         "--bind", f"tcp://{HOSTS[1]}:{port}"],
        cwd=SUPPORT, stdout=subprocess.PIPE,
    ) as second:  # fmt: skip
        assert second.stdout is not None
        second.stdout.readline()
        behind += HOSTS[:2]
        with Client(name(port), connect_timeout=1.0) as client:
            assert len(list(client)) == 20
            second.terminate()
            assert second.wait(PATIENCE) == 0
            assert len(list(client)) == 20
            assert f"tcp://{HOSTS[1]}:{port} is not ready: left out of this pass" in caplog.text
            del behind[0]
            with pytest.raises(Unreachable, match=r"stopped by SIGTERM|connection refused"):
                list(client)


def test_a_newcomer_that_serves_something_else_is_left_out(
    start: Start, port: int, behind: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """With the reason, and training goes on; where all do, it is an error."""
    caplog.set_level(logging.INFO, "genserver")
    first = start(HOSTS[0])
    start(HOSTS[1], "whole", sharding="off")
    behind.append(HOSTS[0])
    with Client(name(port), connect_timeout=2.0) as client:
        behind.append(HOSTS[1])
        assert len(list(client)) == 20
        assert f"left out: tcp://{HOSTS[1]}:{port} serves int64[]" in caplog.text
        del behind[0]
        first.stop()
        with pytest.raises(Unreachable, match="serves int64"):
            list(client)


def test_who_counts_what_training_uses_keeps_his_servers(
    start: Start, port: int, behind: list[str]
) -> None:
    """A count is one for each worker, so nobody joins such a run."""
    start(HOSTS[0])
    behind.append(HOSTS[0])
    with Client(name(port), resume=Progress()) as client:
        start(HOSTS[1])
        behind.append(HOSTS[1])
        for _ in range(2):
            assert len(list(client)) == 20


def test_a_server_that_is_replaced_between_two_passes_is_found_at_its_address(
    start: Start, port: int, behind: list[str]
) -> None:
    """As a container that is made anew; its connection had ended with a goodbye."""
    server = start(HOSTS[0])
    behind.append(HOSTS[0])
    with Client(name(port)) as client:
        assert len(list(client)) == 20
        server.stop()
        start(HOSTS[0])
        assert len(list(client)) == 20


def test_beyond_this_host_a_name_wants_keys(port: int, behind: list[str]) -> None:
    """What is behind it is judged like any address."""
    behind.append("192.0.2.1")
    with pytest.raises(EndpointError, match="genserver keygen"):
        Client(name(port))


@pytest.fixture
def two(start: Start, behind: list[str]) -> Iterator[None]:
    start(HOSTS[0])
    start(HOSTS[1])
    behind += HOSTS[:2]
    return


def test_a_dataset_follows_the_name_pass_by_pass(
    two: None, start: Start, port: int, behind: list[str]
) -> None:
    """Made for two servers it reads three, in one graph."""
    from genserver.client import from_server

    dataset = from_server(name(port))
    assert sorted(int(number) for number, _ in dataset) == list(range(20))
    start(HOSTS[2])
    behind.append(HOSTS[2])
    assert sorted(int(number) for number, _ in dataset) == list(range(20))
    del behind[1:]
    assert sorted(int(number) for number, _ in dataset.repeat(2)) == sorted([*range(20)] * 2)


def test_a_slow_resolver_holds_nobody(
    start: Start, port: int, behind: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An iterator that is closed while it looks up a name is closed at once."""
    from genserver.client.lane import Lane
    from genserver.client.options import PullOptions
    from genserver.client.source import Source

    start(HOSTS[0])
    behind.append(HOSTS[0])
    source = Source(name(port), PullOptions())
    plan = source.plan()
    asked, answer = threading.Event(), threading.Event()

    def slowly(_: Endpoint) -> list[str]:
        asked.set()
        answer.wait(10)
        return HOSTS[:1]

    monkeypatch.setattr(lookup, "addresses_of", slowly)
    lane = Lane(source, number=0, expect=plan.spec)
    began = time.monotonic()
    assert lane.take(0.1) is None
    assert asked.wait(5)
    lane.close()
    assert time.monotonic() - began < 5
    answer.set()


def test_several_servers_are_named_by_a_range_of_ports(serve: Serve) -> None:
    """Index and count are right over all of them."""
    port = free_from((0, 1, 2, 3))
    for step in (0, 2):
        serve("numbered", workers=1, bind=f"tcp://127.0.0.1:{port + step}")
    with Client(f"tcp://127.0.0.1:{port}-{port + 2}/2") as client:
        assert sorted(int(number) for number, _ in client) == list(range(20))
    with pytest.raises((Unreachable, PlanError), match="a worker of a genserver listens there"):
        Client(f"tcp://127.0.0.1:{port}-{port + 2}")
