"""Workers that die, hang or leak, and what the server makes of it: real processes."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from genserver.client import Client, ServerStopped
from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.transport.connection import connect
from genserver.server import Server

from ..support.servers import PATIENCE, Serve, alive, eventually, processes_of


class Watch:
    """A server's status as a trainer is told it."""

    def __init__(self, server: Server) -> None:
        self._connection = connect(parse_endpoint(server.endpoint))

    def until(self, condition: Callable[[Status], bool]) -> Status:
        """The first status that fulfils ``condition``."""
        status = self._connection.wait(condition, PATIENCE)
        assert status is not None
        return status

    def worker(self, index: int, condition: Callable[[WorkerStatus], bool]) -> WorkerStatus:
        return self.until(lambda s: condition(s.workers[index])).workers[index]

    def release(self) -> None:
        self._connection.release()


@contextmanager
def watching(server: Server) -> Iterator[Watch]:
    watch = Watch(server)
    try:
        yield watch
    finally:
        watch.release()


def ready_in_life(life: int) -> Callable[[WorkerStatus], bool]:
    return lambda worker: worker.state == "ready" and worker.life == life


def test_a_killed_worker_is_back_at_its_place_in_a_new_life(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same index, file and port, another process; the server says so, the other worker stays."""
    server = serve("numbered", workers=2)
    with watching(server) as watch:
        before = watch.until(lambda s: s.state == "ready").workers
        os.kill(before[1].pid, signal.SIGKILL)
        after = watch.worker(1, ready_in_life(1))
        assert after.pid != before[1].pid
        assert (after.ipc, after.port) == (before[1].ipc, before[1].port)
        assert after.cause == "SIGKILL, perhaps out of memory"
        status = watch.until(lambda s: s.state == "ready")
        assert status.workers[0] == before[0]
    assert server.stop() == 130
    said = f"genserver: worker 1 (pid {before[1].pid}) died: SIGKILL, perhaps out of memory; it is"
    assert f"{said} started again at once" in capsys.readouterr().err


def test_more_deaths_than_allowed_end_the_server(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 70 and a sentence, which trainers are told as well."""
    server = serve("numbered", workers=2, max_restarts=1)
    with watching(server) as watch:
        for life in (0, 1):
            worker = watch.worker(1, ready_in_life(life))
            os.kill(worker.pid, signal.SIGKILL)
        sentence = f"worker 1 (pid {worker.pid}) died 2 times within 60 s, and --max-restarts is 1"
        with pytest.raises(ServerStopped, match=re.escape(sentence)):
            watch.until(lambda s: False)
    assert eventually(lambda: not alive(server.pid))
    assert server.stop() == 70
    assert f"genserver: {sentence}" in capsys.readouterr().err


def test_a_dead_workers_own_children_end_with_it(serve: Serve) -> None:
    """They are gone before its next life begins to make anything."""
    server = serve("parental")
    with watching(server) as watch:
        worker = watch.until(lambda s: s.state == "ready").workers[0]
        children = processes_of(worker.pid)
        assert children
        os.kill(worker.pid, signal.SIGKILL)
        watch.worker(0, ready_in_life(1))
    assert eventually(lambda: not any(map(alive, children)))


def test_a_worker_that_is_back_serves_a_new_trainer(serve: Serve) -> None:
    """The spec is known to it without a search, and it answers at its old endpoints."""
    server = serve("numbered", workers=2)
    with watching(server) as watch:
        for index in (0, 1):
            os.kill(watch.worker(index, ready_in_life(0)).pid, signal.SIGKILL)
        for index in (0, 1):
            watch.worker(index, ready_in_life(1))
    with Client(server.endpoint) as client:
        assert sorted(int(number) for number, _ in client) == list(range(20))
