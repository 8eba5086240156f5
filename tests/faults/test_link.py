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
from ..support.processes import eventually
from ..support.proxy import DOWN, UP, Proxy, Toxics
from ..support.servers import Serve
from ..support.status import ports_of
from .conftest import Serving

#: The proxy needs a second loopback address.
pytestmark = pytest.mark.linux

WORKERS = 2
#: Seconds that a test's elements may take, on a loaded machine, too: far below the silence after
#: which a link is given up here, so that what is repaired by that alone fails.
LIMIT, DEAD_AFTER = 40.0, 60.0
#: Bytes that wait in a trainer which must not have everything before a fault begins.
FEW = 10_000


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A silent link is given up later than any test ends, except where a test says otherwise."""
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", DEAD_AFTER)


@contextmanager
def passing(
    through_proxy: Serving, target: str = "seeking", *, n: int = 4000, nbytes: int = TINY,
    pause: float = 0.0, workers: int = WORKERS, budget: int | None = None,
) -> Iterator[tuple[Proxy, Checker, Iterator[object]]]:  # fmt: skip
    """One pass over tcp through a proxy; everything must have come when the block ends."""
    arguments = {"n": n, "nbytes": nbytes, "pause": pause}
    endpoint, proxy = through_proxy(f"hashed:{target}", workers=workers, arguments=arguments)
    checker = Checker([share(w, workers, n) for w in range(workers)], nbytes=nbytes)
    with (
        Client(endpoint, transport="tcp", memory_budget=budget) as client,
        limited(client, LIMIT),
    ):
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
    # Of the 20 elements after each fault no more than 8 are on the way, so the rest is hit.
    with passing(through_proxy, n=80, nbytes=LARGE, budget=8 * LARGE) as (proxy, checker, elements):
        assert consume(elements, checker, limit=10) is None
        before = proxy.accepted
        for moment in (30, 50, 70):
            proxy.spoil(DOWN, Toxics(reset_after=chance.randrange(1, 3 * LARGE)))
            assert consume(elements, checker, limit=moment) is None
        assert eventually(lambda: proxy.accepted >= before + 3)


def test_resets_every_few_hundred_milliseconds(through_proxy: Serving) -> None:
    """Five times: whatever gets through in between is kept, none of it twice."""
    arguments = {"pause": 0.001}
    endpoint, proxy = through_proxy("hashed:open_ended", workers=WORKERS, arguments=arguments)
    checker = Checker([None] * WORKERS)
    with Client(endpoint, transport="tcp") as client, limited(client, LIMIT):
        cuts, cut_at = 0, time.monotonic() + 0.3
        for element in client:
            checker.take(element)
            if time.monotonic() > cut_at:
                cuts += proxy.cut() > 0
                cut_at = time.monotonic() + 0.3
            if cuts == 5:
                break
        assert cuts == 5
    checker.check(whole=False)


def test_the_control_connection_alone_may_be_cut(serve: Serve) -> None:
    """The elements come from the workers' own connections, whether or not it is made anew."""
    server = serve("hashed:seeking", workers=WORKERS, arguments={"n": 1000})
    first, *others = ports_of(server.endpoint)
    checker = Checker([share(w, WORKERS, 1000) for w in range(WORKERS)])
    with (
        Proxy([first]) as control,
        Proxy(others),
        Client(control.endpoint(first), transport="tcp", memory_budget=FEW) as client,
        limited(client, LIMIT),
    ):
        elements = iter(client)
        assert consume(elements, checker, limit=100) is None
        control.hold()
        assert control.cut() == 1
        assert consume(elements, checker, limit=900) is None
        control.heal()
        end = consume(elements, checker)
    checker.check(end)
    assert end is None


@pytest.mark.parametrize("directions", [(UP,), (DOWN,), (UP, DOWN)], ids=["up", "down", "both"])
def test_a_short_partition_is_no_event(through_proxy: Serving, directions: tuple[str, ...]) -> None:
    """One way or both ways for 1.5 s: the same connections go on, nothing is replayed."""
    with passing(through_proxy, n=2000, budget=FEW) as (proxy, checker, elements):
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
    with passing(through_proxy, n=4000, budget=FEW) as (proxy, checker, elements):
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
    """`PeerLost` with the endpoint and every worker's state, after the time for it; what came
    before is right."""
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
    assert end.endpoint == endpoint
    states = [line.partition(":")[0].strip() for line in end.states.splitlines()]
    assert states == [f"worker {worker}" for worker in range(WORKERS)]


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
    """Each worker's seven elements take half a second each, and together longer than the patience:
    the beats wait behind them, and what comes is sign of life enough."""
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", 2.5)
    # The pause has each element travel alone.
    with passing(through_proxy, n=14, nbytes=LARGE, pause=0.05) as (proxy, checker, elements):
        proxy.spoil(DOWN, Toxics(bandwidth=2 * LARGE))
        assert consume(elements, checker, limit=1) is None
        before, began = proxy.accepted, time.monotonic()
        assert consume(elements, checker) is None
        assert time.monotonic() - began > 2.5
        assert proxy.accepted == before


def test_a_slow_consumer_loses_no_link(
    through_proxy: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer that rests between elements for longer than anyone's patience keeps its links."""
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", 4.0)
    with passing(through_proxy, n=100, nbytes=LARGE) as (proxy, checker, elements):
        assert consume(elements, checker, limit=10) is None
        before = proxy.accepted
        time.sleep(5.0)  # the fault
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
