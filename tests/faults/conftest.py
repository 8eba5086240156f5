"""Faults come at random moments whose seed is printed, and afterwards nothing is left."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator, Sequence

import pytest
from genserver.client import Client
from genserver.protocol.transport import core, platform
from genserver.protocol.transport.process import acquire_loop, release_loop

from ..support.checker import Checker, consume, limited
from ..support.processes import PATIENCE, eventually, program
from ..support.proxy import Proxy
from ..support.remains import Remains
from ..support.servers import Serve
from ..support.status import ports_of

Serving = Callable[..., tuple[str, Proxy]]

#: Holds several streams to each worker, every one of which has brought an element of hashed.py.
#: The budget keeps them open: what fits would come, and end, without anybody's asking.
_HOLDER = """
import sys
from genserver.client import Client

endpoint, streams, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = Client(endpoint, memory_budget=10_000)
passes = [iter(client) for _ in range(streams)]
for elements in passes:
    seen = set()
    while len(seen) < workers:
        seen.add(int(next(elements)[0][0]))
print("all", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="session", autouse=True)
def wake_up() -> None:
    """What the I/O loop keeps for the life of the process is no remains of a test."""
    acquire_loop()
    release_loop()


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No process, descriptor, mapped memory or thread of genserver after the test.

    Made before every other fixture, and so left after them.
    """
    if not platform.has_memory():  # what Remains reads is Linux'
        yield
        return
    remains = Remains()
    # A connection is kept for the next pass; here that would be two seconds after each test.
    monkeypatch.setattr(core, "GRACE", 0.1)
    yield
    assert eventually(lambda: not remains.since()), remains.since()


@pytest.fixture
def chance() -> random.Random:
    """Moments and choices; a failing test shows the seed."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201  # pytest shows it where the test fails
    return random.Random(seed)


@pytest.fixture
def through_proxy(serve: Serve) -> Iterator[Serving]:
    """Serve a generator; its endpoint behind a proxy, and the proxy."""
    proxies: list[Proxy] = []

    def start(target: str, **options: object) -> tuple[str, Proxy]:
        server = serve(target, **options)
        ports = ports_of(server.endpoint)
        proxies.append(Proxy(ports))
        return proxies[-1].endpoint(ports[0]), proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()


def kill_in_a_pass(endpoint: str, streams: int, workers: int) -> None:
    """SIGKILL a trainer that has so many streams open to each worker."""
    with program(_HOLDER, endpoint, streams, workers) as trainer:
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == "all\n"


def is_free(endpoint: str, each: Sequence[int | None]) -> bool:
    """Whether a trainer gets its whole pass, soon: a dead one is not noticed in an instant."""

    def whole() -> bool:
        checker = Checker(each)
        with Client(endpoint) as client, limited(client, PATIENCE):
            end = consume(client, checker)
        checker.check(end)
        return end is None

    return eventually(whole)
