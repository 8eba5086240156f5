"""A server on another host, behind a cable that loses, drops, resets and is slow.

Real packets in a network namespace: needs root, see support/namespaces.py. test_link.py has what a
proxy can do without.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from genserver.client import Client
from genserver.protocol import trainer_end
from genserver.protocol.trainer_end import TrainerEnd

from ..support.checker import Checker, consume, limited
from ..support.hashed import LARGE, TINY, share
from ..support.namespaces import IN, OUT, Host, host, why_not
from ..support.processes import eventually
from ..support.servers import Serve

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(why_not() != "", reason=why_not() or "there are namespaces"),
]

WORKERS = 2
#: Seconds that a test's elements may take, on a loaded machine, too: far below the silence after
#: which a link is given up here, so that what is repaired by that alone fails.
LIMIT, DEAD_AFTER = 40.0, 60.0
#: Bytes that wait in a trainer which must not have everything before a fault begins.
FEW = 10_000


@pytest.fixture(autouse=True)
def lost(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Why links to workers were lost. A silent one is given up later than any test ends, except
    where a test says otherwise."""
    reasons: list[str] = []
    lose = TrainerEnd.lose

    def told(end: TrainerEnd, reason: str) -> list[trainer_end.Event]:
        reasons.append(reason)
        return lose(end, reason)

    monkeypatch.setattr(TrainerEnd, "lose", told)
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", DEAD_AFTER)
    return reasons


@pytest.fixture
def other(nothing_left: None) -> Iterator[Host]:
    """Another host."""
    with host() as made:
        yield made


@contextmanager
def passing(
    serve: Serve, other: Host, *, n: int = 3000, nbytes: int = TINY, pause: float = 0.0
) -> Iterator[tuple[Checker, Iterator[object]]]:
    """One pass from a server on the other host; everything must have come when the block ends."""
    arguments = {"n": n, "nbytes": nbytes, "pause": pause}
    bind = f"tcp://{other.address}:0"
    with other.entered():
        server = serve(
            "hashed:seeking", workers=WORKERS, arguments=arguments, bind=bind,
            insecure_network=True,
        )  # fmt: skip
    checker = Checker([share(w, WORKERS, n) for w in range(WORKERS)], nbytes=nbytes)
    budget = FEW if nbytes == TINY else None
    with (
        Client(
            server.endpoint, transport="tcp", insecure_network=True, memory_budget=budget
        ) as client,
        limited(client, LIMIT),
    ):
        elements = iter(client)
        yield checker, elements
        end = consume(elements, checker)
    checker.check(end)
    assert end is None


@pytest.mark.parametrize("directions", [(IN,), (OUT,), (IN, OUT)], ids=["in", "out", "both"])
def test_a_short_partition_is_repaired_by_tcp(
    serve: Serve, other: Host, lost: list[str], directions: tuple[str, ...]
) -> None:
    """Packets vanish for a second, one way or both: late, by the same connections."""
    with passing(serve, other) as (checker, elements):
        assert consume(elements, checker, limit=100) is None
        other.drop(*directions)
        time.sleep(1.0)  # the fault
        other.heal()
        assert consume(elements, checker) is None
        assert lost == []


def test_a_partition_that_outlasts_the_patience_is_repaired_by_replay(
    serve: Serve, other: Host, lost: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer finds the server again by new connections; each element comes once."""
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", 1.5)
    with passing(serve, other) as (checker, elements):
        assert consume(elements, checker, limit=100) is None
        other.drop()
        time.sleep(2.5)  # the fault
        other.heal()
        assert consume(elements, checker) is None
        assert lost != []


def test_connections_that_a_firewall_resets(serve: Serve, other: Host, lost: list[str]) -> None:
    """RST for every packet from one beat to the next, twice: new connections, and each element
    once."""
    with passing(serve, other, n=1500) as (checker, elements):
        for moment in (100, 500):
            assert consume(elements, checker, limit=moment) is None
            lost.clear()
            other.reset(IN)
            time.sleep(1.5)  # the fault
            other.heal()
            assert eventually(lambda: lost != [])


@pytest.mark.parametrize(("n", "nbytes"), [(3000, TINY), (20, LARGE)], ids=["tiny", "1MB"])
def test_lost_packets_cost_time_and_nothing_else(
    serve: Serve, other: Host, lost: list[str], n: int, nbytes: int
) -> None:
    """One of twenty, each way: no link is given up."""
    with passing(serve, other, n=n, nbytes=nbytes) as (checker, elements):
        other.lose(5)
        assert consume(elements, checker) is None
        assert lost == []


def test_a_thin_cable_is_no_fault(serve: Serve, other: Host, lost: list[str]) -> None:
    """20 MB at 100 Mbit/s: the beats wait behind the data, and nobody is taken for dead."""
    with passing(serve, other, n=20, nbytes=LARGE) as (checker, elements):
        other.shape(100)
        assert consume(elements, checker) is None
        assert lost == []


def test_a_pass_begins_although_the_first_packets_are_lost(serve: Serve, other: Host) -> None:
    """The connection is made in the end."""
    healing = threading.Timer(1.0, other.heal)
    with passing(serve, other, n=200) as (checker, elements):
        other.drop(IN)
        healing.start()
        assert consume(elements, checker) is None
    healing.join()
