"""The nemesis does what its table says, in an order that its seed decides."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from genserver.client import Client

from ..support import nemesis
from ..support.checker import Checker, consume, limited
from ..support.hashed import share
from ..support.nemesis import FAULTS, Fault, Nemesis, Target, possible, resting
from ..support.processes import eventually
from ..support.proxy import Proxy
from ..support.server_process import ServerProcess, supports

pytestmark = pytest.mark.linux

WORKERS, N = 2, 1500


def test_only_what_the_build_survives_is_done() -> None:
    """By the options that its ``serve`` has; and only what was asked for."""
    everything = possible()
    assert {fault.name for fault in FAULTS if not fault.needs} <= {f.name for f in everything}
    assert all(not fault.needs or supports(fault.needs) for fault in everything)
    assert [fault.name for fault in possible(["slow", "cut"])] == ["cut", "slow"]
    assert not supports("--no-such-option")


def test_the_same_seed_does_the_same_in_the_same_order() -> None:
    """And another seed something else."""

    def run(seed: int) -> list[tuple[str, str]]:
        faults = [Fault(name, lambda _, chance: f"{chance.random()}") for name in "abc"]
        at_work = Nemesis(Target(None, None), faults, seed, 0.001)  # type: ignore[arg-type]  # unused
        with at_work:
            assert eventually(lambda: len(at_work.done) >= 20)
        return [(done.name, done.text) for done in at_work.done[:20]]

    assert run(1) == run(1) != run(2)


def test_what_fails_is_said_and_ends_it() -> None:
    """A server that does not come back is no reason to go on."""

    def broken(*_: object) -> str:
        raise RuntimeError("the server is not ready")

    with Nemesis(Target(None, None), [Fault("x", broken)], 1, 0.001) as at_work:  # type: ignore[arg-type]  # unused
        assert eventually(lambda: at_work.failure != "")
    assert "x: the server is not ready" in at_work.failure


def test_a_trainer_rests_once_where_it_is_asked_to() -> None:
    """Before the next element; the others come at once."""
    target = Target(None, None)  # type: ignore[arg-type]  # unused
    elements = resting("abc", target)
    assert next(elements) == "a"
    target.rest = 0.2
    began = time.monotonic()
    assert next(elements) == "b"
    assert time.monotonic() - began >= 0.2
    assert target.rest == 0.0
    assert list(elements) == ["c"]


def test_short_faults_of_all_kinds_leave_a_pass_right(
    tmp_path: Path, chance: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that need no option and no new link, ten times, none longer than a tenth second."""
    monkeypatch.setattr(nemesis, "_seconds", lambda chance, _: chance.uniform(0, 0.1))
    names = ["slow", "stop-worker", "stop-supervisor", "rest-trainer"]
    arguments = {"n": N, "pause": 0.001}
    checker = Checker([share(worker, WORKERS, N) for worker in range(WORKERS)])
    with (
        ServerProcess("hashed:seeking", workers=WORKERS, arguments=arguments) as server,
        Proxy(server.ports) as proxy,
        Client(proxy.endpoint(server.ports[0]), transport="tcp") as client,
        limited(client, 20.0),
    ):
        target = Target(server, proxy, str(tmp_path))
        with Nemesis(target, possible(names), chance.randrange(2**32), 0.02) as at_work:
            end = consume(resting(client, target), checker)
            assert eventually(lambda: len(at_work.done) >= 10)
    checker.check(end)
    assert end is None
    assert at_work.failure == ""
    assert sum(at_work.counts().values()) == len(at_work.done)
