"""Workers and servers that die, and what the trainer gets nevertheless."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from genserver.client import Client, ServerChanged, ServerStopped, WorkerDied

from ..support.checker import Checker, consume, limited
from ..support.hashed import share
from ..support.processes import alive, eventually, kill_one_of, processes_of
from ..support.server_process import ServerProcess
from ..support.servers import Serve
from ..support.status import status_of

WORKERS, N = 2, 3000
LIMIT = 20.0
ARGUMENTS = {"n": N, "pause": 0.0005}

pytestmark = pytest.mark.linux


def new_checker(**options: Any) -> Checker:
    return Checker([share(worker, WORKERS, N) for worker in range(WORKERS)], **options)


@pytest.mark.parametrize("transport", ["auto", "tcp"])
@pytest.mark.parametrize("target", ["seeking", "counting"])
def test_a_killed_worker_is_replaced_and_nothing_is_lost(
    serve: Serve, chance: random.Random, target: str, transport: str
) -> None:
    """SIGKILL at two random elements: each element once, in order, whether it seeks or not."""
    server = serve(f"hashed:{target}", workers=WORKERS, arguments=ARGUMENTS)
    checker = new_checker()
    with Client(server.endpoint, transport=transport) as client, limited(client, LIMIT):
        elements = iter(client)
        for moment in sorted(chance.sample(range(1, N // 2), 2)):
            assert consume(elements, checker, limit=moment) is None
            kill_one_of(server.pid, chance)
        end = consume(elements, checker)
    checker.check(end)
    assert end is None


def test_without_recovery_a_killed_worker_is_an_error_that_names_it(serve: Serve) -> None:
    """recovery="none": `WorkerDied`, and the next pass has a new worker."""
    server = serve("hashed:seeking", workers=WORKERS, arguments=ARGUMENTS, recovery="none")
    checker = new_checker()
    with Client(server.endpoint) as client, limited(client, LIMIT):
        elements = iter(client)
        assert consume(elements, checker, limit=100) is None
        os.kill(processes_of(server.pid)[0], signal.SIGKILL)
        end = consume(elements, checker)
        checker.check(end)
        assert isinstance(end, WorkerDied)
    again = new_checker()
    with Client(server.endpoint) as client, limited(client, LIMIT):
        again.check(consume(client, again))


def test_a_random_generator_goes_on_and_what_was_lost_is_counted(
    serve: Serve, tmp_path: Path
) -> None:
    """recovery="stream": the new life's elements come, and the status counts what nobody got."""
    arguments = {"pause": 0.001, "made": str(tmp_path)}
    server = serve("hashed:open_ended", workers=1, arguments=arguments, recovery="stream")
    checker = Checker([None], by_life=True)
    with Client(server.endpoint) as client, limited(client, LIMIT):
        elements = iter(client)
        assert consume(elements, checker, limit=200) is None
        (worker,) = processes_of(server.pid)
        os.kill(worker, signal.SIGKILL)
        before = checker.taken
        for element in elements:
            checker.take(element)
            if len(checker.lives(0)) > 1:
                break
            before = checker.taken
        checker.check(whole=False)
        made = (tmp_path / str(worker)).stat().st_size
        # Mostly some: none where all that was made had just been sent. The element that was being
        # handed over may count or not.
        status_of(server.endpoint, lambda s: made - before - s.workers[0].lost in (0, 1))


def test_an_element_that_kills_its_worker_is_named(serve: Serve) -> None:
    """Three deaths at one element end the stream with a sentence that says which."""
    server = serve("hashed:poisoned", workers=WORKERS, arguments={"n": N, "at": 50})
    checker = new_checker()
    with Client(server.endpoint) as client, limited(client, LIMIT):
        end = consume(client, checker)
    checker.check(end)
    assert isinstance(end, WorkerDied)
    assert end.worker == 1
    assert "element 50" in str(end)


@pytest.mark.parametrize("order", ["hang", "sleep"])
def test_a_worker_that_hangs_is_replaced_after_its_time(
    tmp_path: Path, chance: random.Random, order: str
) -> None:
    """In C with the interpreter's lock, or in a system call; ``--item-timeout 0.5``."""
    arguments = {**ARGUMENTS, "orders": str(tmp_path)}
    options = ("--item-timeout", "0.5")
    checker = new_checker()
    with (
        ServerProcess("hashed:seeking", workers=2, arguments=arguments, options=options) as server,
        Client(server.endpoint) as client,
        limited(client, LIMIT),
    ):
        elements = iter(client)
        assert consume(elements, checker, limit=chance.randrange(1, N // 2)) is None
        pid = chance.choice(list(server.worker_pids().values()))
        (tmp_path / f"{order}-{pid}").touch()
        end = consume(elements, checker)
    checker.check(end)
    assert end is None


@pytest.mark.parametrize("planned", [True, False], ids=["SIGTERM", "SIGKILL"])
def test_a_server_that_is_started_again_is_found_again(
    chance: random.Random, planned: bool
) -> None:
    """At the same port, under a living trainer: each element once, in order."""
    checker = new_checker()
    with (
        ServerProcess("hashed:seeking", workers=WORKERS, arguments=ARGUMENTS) as server,
        Client(server.endpoint, transport="tcp", seed=1) as client,
        limited(client, LIMIT),
    ):
        elements = iter(client)
        assert consume(elements, checker, limit=chance.randrange(1, N // 2)) is None
        if planned:
            assert server.stop() == 0
        else:
            server.kill()
        server.start()
        end = consume(elements, checker)
    checker.check(end)
    assert end is None


def test_another_server_at_the_same_port_is_refused() -> None:
    """What it serves is something else: `ServerChanged`, never a mixture."""
    checker = new_checker()
    with ServerProcess("hashed:seeking", workers=WORKERS, arguments=ARGUMENTS) as server:
        with Client(server.endpoint, transport="tcp", seed=1) as client, limited(client, LIMIT):
            elements = iter(client)
            assert consume(elements, checker, limit=100) is None
            server.kill()
            server.become("hashed:counting")
            server.start()
            end = consume(elements, checker)
        checker.check(end)
        assert isinstance(end, ServerChanged)
        assert "hashed:counting" in str(end)


def test_a_server_that_is_stopped_by_its_own_program_is_an_error_at_once(serve: Serve) -> None:
    """It will not return: `ServerStopped`, and no silent end."""
    server = serve("hashed:seeking", workers=WORKERS, arguments=ARGUMENTS)
    checker = new_checker()
    with Client(server.endpoint) as client, limited(client, LIMIT):
        elements = iter(client)
        assert consume(elements, checker, limit=100) is None
        server.stop()
        end = consume(elements, checker)
    checker.check(end)
    assert isinstance(end, ServerStopped)


def test_a_killed_supervisor_takes_its_workers_with_it(chance: random.Random) -> None:
    """SIGKILL under load: soon nothing of the server runs, and it starts again."""
    with ServerProcess("hashed:seeking", workers=WORKERS, arguments=ARGUMENTS) as server:
        workers = server.worker_pids()
        assert sorted(workers) == [0, 1]
        with Client(server.endpoint) as client, limited(client, LIMIT):
            elements = iter(client)
            assert consume(elements, new_checker(), limit=100) is None
            os.kill(server.pid, signal.SIGKILL)
            assert eventually(lambda: not any(map(alive, workers.values())))
        server.kill()
        server.start()
        checker = new_checker()
        with Client(server.endpoint) as client, limited(client, LIMIT):
            checker.check(consume(client, checker))
        assert server.stop() == 0
        assert list(server.folder.iterdir()) == []
