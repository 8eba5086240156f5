"""The supervisor's pure core: histories of events, and the actions that must follow."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from genserver.protocol.spec import parse_spec
from genserver.server.config import ServeConfig
from genserver.server.exit_codes import ExitCode
from genserver.server.fleet import (
    WORKER_STATES,
    Abort,
    Action,
    Fleet,
    FleetEvent,
    Publish,
    Ready,
    Spawn,
    Tell,
    WorkerState,
    next_state,
)
from genserver.server.reports import Bound, Empty, Failed, Found, Loaded, Search, UseSpec

SPEC = parse_spec("float32[2]")
WIRE = SPEC.to_wire()


def fleet(cores: int = 4, **options: Any) -> Fleet:
    return Fleet(ServeConfig(target="scans:cubes", **options), cores, "host")


def loaded(*, divisible: bool = True, spec: Any = None, length: int = -2) -> Loaded:
    return Loaded(divisible, spec, length)


def without_publish(actions: list[Action]) -> list[Action]:
    return [action for action in actions if not isinstance(action, Publish)]


def abort_of(actions: list[Action]) -> Abort:
    (abort,) = (action for action in actions if isinstance(action, Abort))
    return abort


def test_every_state_and_event_is_listed_or_refused() -> None:
    """The worker's life-cycle is a table; what is not in it raises."""
    for state, event in itertools.product(WorkerState, FleetEvent):
        if event in WORKER_STATES[state]:
            assert next_state(state, event) in WorkerState
        else:
            with pytest.raises(ValueError, match=state.value):
                next_state(state, event)


def test_the_default_number_of_workers_waits_for_the_generator() -> None:
    """Worker 0 alone starts; a divisible generator gets the cores less one."""
    server = fleet(cores=4)
    assert server.start() == [Spawn(0)]
    actions = without_publish(server.report(0, loaded()))
    assert actions == [Spawn(1), Spawn(2), Tell(0, Search(0, 3, 0))]


def test_an_indivisible_generator_gets_one_worker() -> None:
    """Nothing asked, nothing divided: one worker, and trainers are told so."""
    server = fleet(cores=8)
    server.start()
    assert without_publish(server.report(0, loaded(divisible=False))) == [Tell(0, Search(0, 1, 0))]
    assert server.status().sharding == "single"


def test_more_workers_than_can_divide_are_refused() -> None:
    """The sentence names the three ways out."""
    server = fleet(workers=3)
    assert server.start() == [Spawn(0), Spawn(1), Spawn(2)]
    abort = abort_of(server.report(0, loaded(divisible=False)))
    assert abort.code is ExitCode.CONFIG
    for way in ("worker.index", "--sharding off", "--workers 1"):
        assert way in abort.text


def test_sharding_off_allows_whole_copies() -> None:
    """--sharding off takes all cores less one for an indivisible generator too."""
    server = fleet(cores=3, sharding="off")
    server.start()
    actions = without_publish(server.report(0, loaded(divisible=False)))
    assert actions == [Spawn(1), Tell(0, Search(0, 2, 0))]
    assert server.status().sharding == "off"


def test_one_core_still_gives_one_worker() -> None:
    """Cores less one is never none."""
    server = fleet(cores=1)
    server.start()
    assert without_publish(server.report(0, loaded())) == [Tell(0, Search(0, 1, 0))]


def test_the_found_spec_makes_everyone_ready() -> None:
    """Workers that have loaded are told; the last one makes the server ready, once."""
    server = fleet(workers=2)
    server.start()
    server.report(0, Bound("/x/0.sock", 5556))
    server.report(0, loaded(length=7))
    assert Ready() not in server.report(0, Found(WIRE))
    actions = without_publish(server.report(1, loaded()))
    assert actions == [Tell(1, UseSpec(WIRE)), Ready()]
    status = server.status()
    assert (status.state, status.spec, status.cardinality) == ("ready", SPEC, 7)
    assert [(w.ipc, w.port) for w in status.workers] == [("/x/0.sock", 5556), ("", 0)]


def test_a_declared_spec_needs_no_search() -> None:
    """Neither --spec nor an attribute of the function makes an element."""
    by_flag = fleet(workers=1, spec=SPEC)
    by_flag.start()
    assert without_publish(by_flag.report(0, loaded())) == [Tell(0, UseSpec(WIRE)), Ready()]
    by_attribute = fleet(workers=1)
    by_attribute.start()
    actions = without_publish(by_attribute.report(0, loaded(spec=WIRE)))
    assert actions == [Tell(0, UseSpec(WIRE)), Ready()]


def test_an_empty_worker_passes_the_search_on() -> None:
    """Also to a worker that has not loaded yet; after the last one the server gives up."""
    server = fleet(workers=3)
    server.start()
    server.report(0, loaded())
    server.report(1, loaded())
    assert server.report(0, Empty()) == [Tell(1, Search(1, 3, 0))]
    assert server.report(1, Empty()) == []
    assert without_publish(server.report(2, loaded())) == [Tell(2, Search(2, 3, 0))]
    assert abort_of(server.report(2, Empty())).code is ExitCode.GENERATOR


def test_a_worker_that_cannot_start_ends_the_server_with_its_code() -> None:
    """The first failure is the one that is told."""
    server = fleet(workers=2)
    server.start()
    assert abort_of(server.report(1, Failed(78, "no module"))).code is ExitCode.CONFIG
    assert server.status().state == "failed"
    assert server.report(0, Failed(69, "port")) == []


def test_a_death_is_published_with_its_cause_and_ends_the_server() -> None:
    """Trainers learn which worker died and how before the server leaves."""
    server = fleet(workers=2, spec=SPEC)
    server.start()
    server.report(0, loaded())
    server.report(1, loaded())
    actions = server.exited(1, "SIGKILL, perhaps out of memory")
    assert actions[0] == Publish()
    assert abort_of(actions).code is ExitCode.WORKER_DIED
    dead = server.status().workers[1]
    assert (dead.state, dead.cause) == ("failed", "SIGKILL, perhaps out of memory")


def test_exits_while_stopping_are_expected() -> None:
    """A worker that ends after the stop is stopped, not dead."""
    server = fleet(workers=2, spec=SPEC)
    server.start()
    assert server.stop() == [0, 1]
    assert without_publish(server.report(0, loaded())) == []
    assert server.exited(0, "exit code 0") == []
    assert server.status().workers[0].state == "stopped"
    assert server.stop() == [1]
