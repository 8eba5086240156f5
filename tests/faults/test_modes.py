"""What ``--recovery stream`` and ``none`` leave as it is, and what a server's return is to them."""

from __future__ import annotations

import pytest
from genserver.client import Client, PeerLost, WorkerDied
from genserver.protocol import trainer_end, watch
from genserver.protocol.worker_end import MAX_STREAMS

from ..support.checker import Checker, consume, limited
from ..support.hashed import share
from ..support.server_process import ServerProcess
from ..support.servers import Serve
from .conftest import Serving, is_free, kill_in_a_pass

pytestmark = pytest.mark.linux

WORKERS, N = 2, 2000
LIMIT = 20.0
ARGUMENTS = {"n": N, "pause": 0.0005}
MODES = ("stream", "none")


def new_checker() -> Checker:
    return Checker([share(worker, WORKERS, N) for worker in range(WORKERS)])


@pytest.mark.parametrize("recovery", MODES)
def test_a_cut_link_is_repaired_in_every_mode(through_proxy: Serving, recovery: str) -> None:
    """What a worker that lives has sent is replayed: each element once, in order."""
    endpoint, proxy = through_proxy(
        "hashed:seeking", workers=WORKERS, arguments=ARGUMENTS, recovery=recovery
    )
    checker = new_checker()
    with Client(endpoint, transport="tcp") as client, limited(client, LIMIT):
        elements = iter(client)
        for moment in (300, 900):
            assert consume(elements, checker, limit=moment) is None
            assert proxy.cut()
        end = consume(elements, checker)
    checker.check(end)
    assert end is None


@pytest.mark.parametrize("recovery", MODES)
def test_a_host_that_is_lost_is_an_error_in_every_mode(
    through_proxy: Serving, monkeypatch: pytest.MonkeyPatch, recovery: str
) -> None:
    """`PeerLost`, after the time for it."""
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", 1.0)
    monkeypatch.setattr(watch, "DEAD_AFTER", 1.0)
    endpoint, proxy = through_proxy("hashed:open_ended", workers=WORKERS, recovery=recovery)
    checker = Checker([None] * WORKERS)
    with (
        Client(endpoint, transport="tcp", give_up_after=2.0) as client,
        limited(client, LIMIT),
    ):
        elements = iter(client)
        assert consume(elements, checker, limit=100) is None
        proxy.hold()
        assert isinstance(consume(elements, checker), PeerLost)


@pytest.mark.parametrize("recovery", MODES)
def test_a_dead_trainer_leaves_the_server_to_the_next_in_every_mode(
    serve: Serve, recovery: str
) -> None:
    """SIGKILL while it holds all streams that a worker may have; then a whole pass."""
    server = serve("hashed:seeking", workers=WORKERS, arguments={"n": N}, recovery=recovery)
    kill_in_a_pass(server.endpoint, MAX_STREAMS, WORKERS)
    assert is_free(server.endpoint, [share(worker, WORKERS, N) for worker in range(WORKERS)])


def test_random_elements_go_on_when_their_server_returns() -> None:
    """recovery="stream": the new server's elements follow those of the old one."""
    with (
        ServerProcess(
            "hashed:open_ended", workers=1, arguments={"pause": 0.001},
            options=("--recovery", "stream"),
        ) as server,
        Client(server.endpoint, transport="tcp", seed=1) as client,
        limited(client, LIMIT),
    ):  # fmt: skip
        checker = Checker([None], by_life=True)
        elements = iter(client)
        assert consume(elements, checker, limit=100) is None
        server.kill()
        server.start()
        for element in elements:
            checker.take(element)
            if len(checker.lives(0)) > 1:
                break
        checker.check(whole=False)


def test_without_recovery_a_server_that_returns_is_an_error() -> None:
    """recovery="none": `WorkerDied`; the next pass is whole."""
    with (
        ServerProcess(
            "hashed:seeking", workers=WORKERS, arguments=ARGUMENTS, options=("--recovery", "none")
        ) as server,
        Client(server.endpoint, transport="tcp", seed=1) as client,
        limited(client, LIMIT),
    ):
        checker = new_checker()
        elements = iter(client)
        assert consume(elements, checker, limit=100) is None
        server.kill()
        server.start()
        assert isinstance(consume(elements, checker), WorkerDied)
        again = new_checker()
        with Client(server.endpoint, transport="tcp") as fresh:
            end = consume(fresh, again)
        again.check(end)
        assert end is None
