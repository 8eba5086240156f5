"""Faults that outlast the real patience of both ends: 15 s until a link is given up."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from genserver.client import Client
from genserver.protocol.link import DEAD_AFTER
from genserver.protocol.worker_end import LEASE

from ..support.checker import Checker, consume, limited
from ..support.hashed import LARGE, share
from ..support.namespaces import IN, OUT, host, why_not
from ..support.processes import eventually, processes_of, program
from ..support.proxy import DOWN, UP, Proxy
from ..support.remains import shared_memory
from ..support.servers import Serve
from ..support.status import ports_of

pytestmark = [pytest.mark.soak, pytest.mark.linux]

WORKERS, N = 2, 40_000
#: Seconds that a fault lasts here: longer than either end waits, and than the back-off after it.
LONG = DEAD_AFTER + 8
LIMIT = 200.0


def new_checker() -> Checker:
    return Checker([share(worker, WORKERS, N) for worker in range(WORKERS)])


@pytest.fixture
def proxied(serve: Serve) -> Iterator[tuple[str, Proxy]]:
    """A server of ``N`` elements behind a proxy."""
    server = serve("hashed:seeking", workers=WORKERS, arguments={"n": N})
    ports = ports_of(server.endpoint)
    with Proxy(ports) as proxy:
        yield proxy.endpoint(ports[0]), proxy


@pytest.mark.parametrize("directions", [(UP,), (DOWN,), (UP, DOWN)], ids=["up", "down", "both"])
def test_a_partition_that_both_ends_give_up(
    proxied: tuple[str, Proxy], directions: tuple[str, ...]
) -> None:
    """One way, whose other end hears everything, or both ways: each element once."""
    endpoint, proxy = proxied
    checker = new_checker()
    with Client(endpoint, transport="tcp") as client, limited(client, LIMIT):
        elements = iter(client)
        assert consume(elements, checker, limit=100) is None
        proxy.hold(*directions)
        time.sleep(LONG)  # the fault
        proxy.heal()
        end = consume(elements, checker)
    checker.check(end)
    assert end is None


@pytest.mark.skipif(why_not() != "", reason=why_not() or "there are namespaces")
@pytest.mark.parametrize("directions", [(IN,), (OUT,), (IN, OUT)], ids=["in", "out", "both"])
def test_a_partition_of_real_packets(serve: Serve, directions: tuple[str, ...]) -> None:
    """The same between two hosts, where TCP itself waits longer and longer."""
    checker = new_checker()
    with host() as other:
        with other.entered():
            server = serve(
                "hashed:seeking", workers=WORKERS, arguments={"n": N},
                bind=f"tcp://{other.address}:0", insecure_network=True,
            )  # fmt: skip
        with (
            Client(server.endpoint, transport="tcp", insecure_network=True) as client,
            limited(client, LIMIT),
        ):
            elements = iter(client)
            assert consume(elements, checker, limit=100) is None
            other.drop(*directions)
            time.sleep(LONG)  # the fault
            other.heal()
            end = consume(elements, checker)
        checker.check(end)
        assert end is None
        server.stop()


@pytest.mark.parametrize("transport", ["auto", "tcp"])
def test_a_worker_that_is_stopped_for_long(serve: Serve, transport: str) -> None:
    """Its link is given up and made anew until it answers; its elements come once."""
    server = serve("hashed:seeking", workers=WORKERS, arguments={"n": N})
    checker = new_checker()
    with Client(server.endpoint, transport=transport) as client, limited(client, LIMIT):
        elements = iter(client)
        assert consume(elements, checker, limit=100) is None
        worker = processes_of(server.pid)[0]
        os.kill(worker, signal.SIGSTOP)
        time.sleep(LONG)  # the fault
        os.kill(worker, signal.SIGCONT)
        end = consume(elements, checker)
    checker.check(end)
    assert end is None


HOLDER = """
import sys
from genserver.client import Client
with Client(sys.argv[1], transport="memory") as client:
    kept = [element for element, _ in zip(client, range(20))]
    print(len(kept), flush=True)
    sys.stdin.readline()
"""


def test_what_a_killed_trainer_was_lent_is_given_back(serve: Serve) -> None:
    """SIGKILL while it holds 20 MB: what is kept for it to return goes with its lease."""
    server = serve("hashed:open_ended", workers=1, arguments={"nbytes": LARGE})
    (worker,) = processes_of(server.pid)
    before = shared_memory(worker)
    with program(HOLDER, server.endpoint) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "20\n"
        assert shared_memory(worker) > before + 20 * LARGE
    assert eventually(lambda: shared_memory(worker) <= before, LEASE + DEAD_AFTER)
