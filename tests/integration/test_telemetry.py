"""What both ends measure, as it comes over the wire."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from genserver.client import Client, telemetry
from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.link import SUSPECT_AFTER
from genserver.protocol.telemetry import Snapshot, Span
from genserver.protocol.transport.connection import Connection, connect
from genserver.protocol.verdict import Bottleneck, judge

from ..support.servers import PATIENCE, Serve, eventually
from ..support.status import status_of


@contextmanager
def watched(endpoint: str) -> Iterator[Connection]:
    """A connection that only looks."""
    connection = connect(parse_endpoint(endpoint), give_up_after=60.0)
    try:
        yield connection
    finally:
        connection.release()


def until(connection: Connection, enough: int) -> tuple[Snapshot, ...]:
    """So many snapshots."""
    assert eventually(lambda: len(connection.snapshots) >= enough, PATIENCE)
    return connection.snapshots


def test_a_generator_that_is_slow_is_found_to_be_with_its_time(serve: Serve) -> None:
    """Whoever looks sees the workers and the other trainer; the time of an element is that of its
    sleep."""
    server = serve("napping", workers=2, arguments={"seconds": 0.05})
    with watched(server.endpoint) as connection, Client(server.endpoint) as client:
        elements = iter(client)
        next(elements)
        first = until(connection, 1)[-1]
        deadline = time.monotonic() + 4.0
        while time.monotonic() < deadline:
            next(elements)
        span = Span.between(first, connection.snapshots[-1])
    assert judge(span).bottleneck is Bottleneck.PRODUCER
    assert span.wait > 0.8
    for worker in span.workers:
        assert worker.making > 0.8
        assert 45_000 < worker.last.p50 <= worker.last.p99
        assert worker.last.rss > 2**20
        assert worker.last.cpu > 0


def test_a_trainer_that_is_slow_is_found_to_be(serve: Serve) -> None:
    """The workers are blocked by then, with all that may wait; the client says the same once, over
    whatever number of connections."""
    server = serve("endless", workers=1, arguments={"kib": 64})
    with (
        watched(server.endpoint) as connection,
        Client(server.endpoint, memory_budget=2**22) as client,
    ):
        elements = iter(client)
        next(elements)
        first = until(connection, 1)[-1]
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            next(elements)
            time.sleep(0.02)  # a training step
            seen = telemetry()
            if seen[0].verdict.bottleneck is not Bottleneck.UNKNOWN:
                break
        span = Span.between(first, connection.snapshots[-1])
    assert judge(span).bottleneck is Bottleneck.TRAINER
    assert [one.endpoint for one in seen] == [server.endpoint]
    assert seen[0].verdict.bottleneck is Bottleneck.TRAINER
    (worker,) = span.workers
    assert worker.blocked > 0.8
    assert worker.fill > 0.5
    assert 0 < span.trainers[0].nbytes <= worker.nbytes + 2**22


def test_what_a_generator_raised_is_the_workers_error(serve: Serve) -> None:
    """Also after the stream that it ended."""
    server = serve("failing", workers=1)
    with watched(server.endpoint) as connection:
        with Client(server.endpoint) as client:
            try:
                list(client)
            except Exception as error:  # noqa: BLE001  # any: it is compared
                text = str(error)
        assert eventually(
            lambda: any(w.error for s in connection.snapshots[-1:] for w in s.workers), PATIENCE
        )
        (worker,) = connection.snapshots[-1].workers
    assert worker.error.partition(": ")[2] in text


def test_elements_that_are_made_again_count_as_such(serve: Serve) -> None:
    """And the restart that it took."""
    server = serve("napping", workers=1, arguments={"seconds": 0.01, "n": 60})
    with watched(server.endpoint) as connection, Client(server.endpoint) as client:
        elements = iter(client)
        got = [int(next(elements)) for _ in range(30)]
        os.kill(status_of(server.endpoint).workers[0].pid, signal.SIGKILL)
        assert got + [int(number) for number in elements] == list(range(60))
        assert eventually(lambda: connection.snapshots[-1].workers[0].replayed >= 30, PATIENCE)
        assert connection.snapshots[-1].workers[0].restarts == 1


def test_of_batches_their_elements_are_counted(serve: Serve) -> None:
    """As the workers count them, the last batch being a smaller one."""
    server = serve("napping", workers=1, arguments={"seconds": 0.0, "n": 50})
    with watched(server.endpoint) as connection, Client(server.endpoint, batch=8) as client:
        assert len(list(client)) == 7

        def counted() -> list[tuple[int, int]]:
            last = connection.snapshots[-1:]
            return [(s.workers[0].elements, t.elements) for s in last for t in s.trainers]

        assert eventually(lambda: (50, 50) in counted(), PATIENCE)


def test_a_server_whose_generator_nobody_asks_has_no_verdict(serve: Serve) -> None:
    """Its snapshots come all the same, one a second."""
    server = serve("endless", workers=1)
    with watched(server.endpoint) as connection:
        one, two = until(connection, 2)[:2]
    assert two.at - one.at > 0.5e6
    assert judge(Span.between(one, two)).bottleneck is Bottleneck.UNKNOWN


def test_of_a_server_that_is_away_nothing_is_known(serve: Serve) -> None:
    """What it said last says nothing of now."""
    server = serve("endless", workers=1)
    with watched(server.endpoint) as connection:
        until(connection, 1)
        connection._core.measures._heard -= SUSPECT_AFTER
        assert connection.snapshots == ()
        assert eventually(lambda: connection.snapshots != (), PATIENCE)
