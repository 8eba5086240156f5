"""What happens to a connection must not happen to the data: cuts, partitions, odd links."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from genserver.client import Client, PeerLost
from genserver.protocol import trainer_end, watch

from ..support.checker import Checker, consume, limited
from ..support.hashed import LARGE, TINY, share
from ..support.proxy import DOWN, UP, Proxy, Toxics
from .conftest import Serving

#: The proxy needs a second loopback address.
pytestmark = pytest.mark.linux

WORKERS = 2
#: Seconds that a test's elements may take: far below the silence after which a link is given up,
#: so that what is repaired by that alone fails.
LIMIT = 12.0


@contextmanager
def passing(
    through_proxy: Serving, target: str = "seeking", *, n: int = 4000, nbytes: int = TINY,
    pause: float = 0.0, workers: int = WORKERS,
) -> Iterator[tuple[Proxy, Checker, Iterator[object]]]:  # fmt: skip
    """One pass over tcp through a proxy; everything must have come when the block ends."""
    arguments = {"n": n, "nbytes": nbytes, "pause": pause}
    endpoint, proxy = through_proxy(f"hashed:{target}", workers=workers, arguments=arguments)
    checker = Checker([share(w, workers, n) for w in range(workers)], nbytes=nbytes)
    with Client(endpoint, transport="tcp") as client, limited(client, LIMIT):
        elements = iter(client)
        yield proxy, checker, elements
        end = consume(elements, checker)
    checker.check(end)
    assert end is None


@pytest.mark.parametrize("target", ["seeking", "counting"])
@pytest.mark.parametrize(
    ("n", "nbytes", "pause"), [(4000, TINY, 0.0005), (120, LARGE, 0.01)], ids=["tiny", "1MB"]
)
def test_links_that_are_cut_lose_and_repeat_nothing(
    through_proxy: Serving, chance: random.Random, target: str, n: int, nbytes: int, pause: float
) -> None:
    """Every connection is reset at 3 random elements: each element comes once, in order."""
    with passing(through_proxy, target, n=n, nbytes=nbytes, pause=pause) as (proxy, checker, rest):
        cut = 0
        for moment in sorted(chance.sample(range(1, n * 3 // 4), 3)):
            assert consume(rest, checker, limit=moment) is None
            cut += proxy.cut()
        assert cut >= 3


def test_a_connection_that_is_reset_in_the_middle_of_an_element(
    through_proxy: Serving, chance: random.Random
) -> None:
    """At a random byte, three times: no half element is ever seen."""
    with passing(through_proxy, n=100, nbytes=LARGE) as (proxy, checker, elements):
        for moment in (10, 40, 70):
            assert consume(elements, checker, limit=moment) is None
            proxy.spoil(DOWN, Toxics(reset_after=chance.randrange(1, 3 * LARGE)))


def test_resets_every_few_hundred_milliseconds(through_proxy: Serving) -> None:
    """Whatever gets through in between is kept: the pass ends."""
    with passing(through_proxy, n=400, pause=0.002) as (proxy, checker, elements):
        cut_at = time.monotonic() + 0.3
        for element in elements:
            checker.take(element)
            if time.monotonic() > cut_at:
                proxy.cut()
                cut_at = time.monotonic() + 0.3


def test_the_control_connection_alone_may_be_cut(through_proxy: Serving) -> None:
    """The elements come from the workers' own connections, and are not even late."""
    with passing(through_proxy, n=400, pause=0.001) as (proxy, checker, elements):
        assert consume(elements, checker, limit=100) is None
        assert proxy.cut(proxy.ports[0]) == 1
        began = time.monotonic()
        assert consume(elements, checker, limit=200) is None
        assert time.monotonic() - began < 0.9


@pytest.mark.parametrize("directions", [(UP,), (DOWN,), (UP, DOWN)], ids=["up", "down", "both"])
def test_a_short_partition_is_no_event(through_proxy: Serving, directions: tuple[str, ...]) -> None:
    """One way or both ways for 1.5 s: the same connections go on, nothing is replayed."""
    with passing(through_proxy, n=2000, pause=0.0002) as (proxy, checker, elements):
        assert consume(elements, checker, limit=200) is None
        before = proxy.accepted
        proxy.hold(*directions)
        time.sleep(1.5)  # the fault
        proxy.heal()
        assert consume(elements, checker) is None
        assert proxy.accepted == before


@pytest.mark.parametrize("directions", [(DOWN,), (UP, DOWN)], ids=["down", "both"])
def test_a_partition_that_outlasts_the_patience_is_repaired_by_replay(
    through_proxy: Serving, monkeypatch: pytest.MonkeyPatch, directions: tuple[str, ...]
) -> None:
    """The trainer gives the links up, makes new ones, and gets what lies between, once."""
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", 1.5)
    with passing(through_proxy, n=4000) as (proxy, checker, elements):
        assert consume(elements, checker, limit=200) is None
        before = proxy.accepted
        proxy.hold(*directions)
        time.sleep(2.5)  # the fault
        proxy.heal()
        assert consume(elements, checker) is None
        assert proxy.accepted > before


def test_a_server_that_never_returns_is_an_error(
    through_proxy: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`PeerLost` with the endpoint, after the time for it; what came before is right."""
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", 1.5)
    monkeypatch.setattr(watch, "DEAD_AFTER", 1.5)
    endpoint, proxy = through_proxy("hashed:open_ended", workers=WORKERS)
    checker = Checker([None] * WORKERS)
    with (
        Client(endpoint, transport="tcp", give_up_after=2.5) as client,
        limited(client, LIMIT),
    ):
        elements = iter(client)
        assert consume(elements, checker, limit=100) is None
        proxy.hold()
        end = consume(elements, checker)
    checker.check(end)
    assert isinstance(end, PeerLost)


def test_bytes_that_come_one_by_one(through_proxy: Serving) -> None:
    """Frames may be cut anywhere on the way."""
    with passing(through_proxy, n=200) as (proxy, _, _):
        proxy.spoil(DOWN, Toxics(slice=1))
        proxy.spoil(UP, Toxics(slice=1))


def test_a_link_with_latency_keeps_its_connections(through_proxy: Serving) -> None:
    """300 ms each way: late, and otherwise right."""
    with passing(through_proxy, n=24, nbytes=LARGE) as (proxy, checker, elements):
        assert consume(elements, checker, limit=1) is None
        before = proxy.accepted
        proxy.spoil(UP, Toxics(latency=0.3))
        proxy.spoil(DOWN, Toxics(latency=0.3))
        assert consume(elements, checker) is None
        assert proxy.accepted == before


def test_a_link_that_is_busy_for_long_is_not_taken_for_dead(
    through_proxy: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At 10 MB/s the window takes longer than the patience; beats are late, elements come."""
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", 1.5)
    with passing(through_proxy, n=20, nbytes=LARGE) as (proxy, checker, elements):
        assert consume(elements, checker, limit=1) is None
        before = proxy.accepted
        proxy.spoil(DOWN, Toxics(bandwidth=10**7))
        assert consume(elements, checker) is None
        assert proxy.accepted == before


def test_a_slow_consumer_loses_no_link(
    through_proxy: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer that rests between elements for longer than anyone's patience keeps its links."""
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", 2.0)
    with passing(through_proxy, n=100, nbytes=LARGE) as (proxy, checker, elements):
        assert consume(elements, checker, limit=10) is None
        before = proxy.accepted
        time.sleep(3.0)  # the fault
        assert consume(elements, checker) is None
        assert proxy.accepted == before


def test_the_order_of_a_deterministic_pass_survives_cuts(
    through_proxy: Serving, chance: random.Random
) -> None:
    """The workers' turns are kept, too."""
    n = 3000
    arguments = {"n": n, "pause": 0.0005}
    endpoint, proxy = through_proxy("hashed:seeking", workers=3, arguments=arguments)
    checker = Checker([share(w, 3, n) for w in range(3)], in_turn=True)
    with Client(endpoint, transport="tcp", deterministic=True) as client, limited(client, LIMIT):
        elements = iter(client)
        for moment in sorted(chance.sample(range(1, n // 2), 2)):
            assert consume(elements, checker, limit=moment) is None
            proxy.cut()
        end = consume(elements, checker)
    checker.check(end)
    assert end is None
