"""Processes that are stopped, that pause and that are killed: workers, supervisors and trainers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from genserver.client import Client
from genserver.protocol import trainer_end
from genserver.protocol.worker_end import MAX_STREAMS

from ..support.checker import Checker, consume, limited
from ..support.hashed import share
from ..support.processes import SUPPORT, processes_of, program
from ..support.servers import Serve
from .conftest import is_free, kill_in_a_pass

pytestmark = pytest.mark.linux

WORKERS, N = 2, 3000
LIMIT = 30.0
ARGUMENTS = {"n": N, "pause": 0.0005}


@contextmanager
def stopped(pid: int, seconds: float) -> Iterator[None]:
    """SIGSTOP, the block, and after ``seconds`` SIGCONT."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
        time.sleep(seconds)  # the fault
    finally:
        os.kill(pid, signal.SIGCONT)


def new_checker() -> Checker:
    return Checker([share(worker, WORKERS, N) for worker in range(WORKERS)])


@pytest.mark.parametrize("transport", ["auto", "tcp"])
def test_a_stopped_worker_is_waited_for(
    serve: Serve, chance: random.Random, transport: str
) -> None:
    """At five random elements for 0.2 s: the other one's elements come, then its own."""
    # In the second half the next element might be nobody's but the stopped one's.
    server = serve("hashed:seeking", workers=WORKERS, arguments=ARGUMENTS)
    checker = new_checker()
    with Client(server.endpoint, transport=transport) as client, limited(client, LIMIT):
        elements = iter(client)
        for moment in sorted(chance.sample(range(1, N // 2), 5)):
            assert consume(elements, checker, limit=moment) is None
            with stopped(chance.choice(processes_of(server.pid)), 0.2):
                assert consume(elements, checker, limit=moment + 1) is None
        end = consume(elements, checker)
    checker.check(end)
    assert end is None


def test_a_worker_that_is_stopped_beyond_the_patience_is_found_again(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its link is given up and made anew, as often as it takes; its elements come once."""
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", 1.5)
    server = serve("hashed:seeking", workers=WORKERS, arguments=ARGUMENTS)
    checker = new_checker()
    with Client(server.endpoint, transport="tcp") as client, limited(client, LIMIT):
        elements = iter(client)
        assert consume(elements, checker, limit=100) is None
        with stopped(processes_of(server.pid)[0], 2.5):
            pass
        end = consume(elements, checker)
    checker.check(end)
    assert end is None


def test_a_stopped_supervisor_disturbs_nobody(serve: Serve, chance: random.Random) -> None:
    """The elements come from the workers: while it is stopped the pass goes on, to its end."""
    server = serve("hashed:seeking", workers=WORKERS, arguments=ARGUMENTS)
    checker = new_checker()
    with Client(server.endpoint) as client, limited(client, LIMIT):
        elements = iter(client)
        assert consume(elements, checker, limit=chance.randrange(1, N // 2)) is None
        with stopped(server.pid, 0.0):
            end = consume(elements, checker)
    checker.check(end)
    assert end is None


TRAINER = f"""
import sys
sys.path.insert(0, {str(SUPPORT.parent.parent)!r})
from genserver.client import Client
from tests.support.checker import Checker, consume
from tests.support.hashed import share

checker = Checker([share(worker, {WORKERS}, {N}) for worker in range({WORKERS})])
with Client(sys.argv[1], transport=sys.argv[2]) as client:
    elements = iter(client)
    while checker.taken < {N}:
        end = consume(elements, checker, limit=min(checker.taken + 100, {N}))
        assert end is None, end
        print(checker.taken, flush=True)
    consume(elements, checker)
checker.check()
print("right", flush=True)
"""


@contextmanager
def trainer(endpoint: str, transport: str = "auto") -> Iterator[subprocess.Popen[str]]:
    """A trainer in a process of its own; it says how many elements it took, now and then."""
    with program(TRAINER, endpoint, transport) as process:
        yield process


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.mark.parametrize("transport", ["auto", "tcp"])
def test_a_stopped_trainer_goes_on_where_it_was(serve: Serve, transport: str) -> None:
    """Three times for 0.3 s: nothing is lost, and nobody is taken for dead."""
    server = serve("hashed:seeking", workers=WORKERS, arguments=ARGUMENTS)
    with trainer(server.endpoint, transport) as process:
        for _ in range(3):
            assert read(process).isdigit()
            with stopped(process.pid, 0.3):
                pass
        while (said := read(process)).isdigit():
            pass
        assert said == "right"


def test_a_killed_trainer_frees_the_server_for_the_next(serve: Serve) -> None:
    """SIGKILL to two, which hold all streams that a worker may have; then a whole pass."""
    server = serve("hashed:seeking", workers=WORKERS, arguments={"n": N})
    for _ in range(2):
        kill_in_a_pass(server.endpoint, MAX_STREAMS // 2, WORKERS)
    assert is_free(server.endpoint, [share(worker, WORKERS, N) for worker in range(WORKERS)])
