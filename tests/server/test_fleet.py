"""The supervisor's pure core: histories of events, and the actions that must follow."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.spec import parse_spec
from genserver.server.actions import (
    Abort,
    Action,
    DumpStacks,
    Kill,
    Publish,
    Ready,
    Say,
    Spawn,
    Tell,
)
from genserver.server.config import ServeConfig
from genserver.server.fleet import Fleet
from genserver.server.lifecycle import WORKER_STATES, WorkerEvent, WorkerState, next_state
from genserver.server.lives import Death, Making
from genserver.server.reports import (
    Bound,
    Empty,
    Failed,
    Found,
    Leaving,
    Loaded,
    Report,
    Search,
    UseSpec,
)
from genserver.server.stalls import Reading

SPEC = parse_spec("float32[2]")
WIRE = SPEC.to_wire()


KILLED = Death("SIGKILL, perhaps out of memory")


class Server(Fleet):
    """A fleet whose clock a test moves by hand."""

    now = 1000.0

    def says(self, index: int, report: Report) -> list[Action]:
        return self.report(index, report, self.now)

    def ends(self, index: int, death: Death = KILLED) -> list[Action]:
        return self.exited(index, death, self.now, 0.0)


def fleet(cores: int = 4, **options: Any) -> Server:
    return Server(ServeConfig(target="scans:cubes", **options), cores, "host")


def ready(workers: int = 2, **options: Any) -> Server:
    """A server that serves, its workers bound at 0.sock and 5556, and so on."""
    server = fleet(workers=workers, spec=SPEC, **options)
    server.start()
    for index in range(workers):
        server.spawned(index, 100 + index)
        server.says(index, Bound(f"/x/{index}.sock", 5556 + index))
        server.says(index, loaded())
    assert server.status().state == "ready"
    return server


def loaded(*, divisible: bool = True, spec: Any = None, length: int = -2) -> Loaded:
    return Loaded(divisible, spec, length)


def without_publish(actions: list[Action]) -> list[Action]:
    return [action for action in actions if not isinstance(action, Publish)]


def abort_of(actions: list[Action]) -> Abort:
    (abort,) = (action for action in actions if isinstance(action, Abort))
    return abort


def test_every_state_and_event_is_listed_or_refused() -> None:
    """The worker's life-cycle is a table; what is not in it raises."""
    for state, event in itertools.product(WorkerState, WorkerEvent):
        if event in WORKER_STATES[state]:
            assert next_state(state, event) in WorkerState
        else:
            with pytest.raises(ValueError, match=state.value):
                next_state(state, event)


def test_the_default_number_of_workers_waits_for_the_generator() -> None:
    """Worker 0 alone starts; a divisible generator gets the cores less one."""
    server = fleet(cores=4)
    assert server.start() == [Spawn(0)]
    actions = without_publish(server.says(0, loaded()))
    assert actions == [Spawn(1), Spawn(2), Tell(0, Search(0, 3, 0))]


def test_an_indivisible_generator_gets_one_worker() -> None:
    """Nothing asked, nothing divided: one worker, and trainers are told so."""
    server = fleet(cores=8)
    server.start()
    assert without_publish(server.says(0, loaded(divisible=False))) == [Tell(0, Search(0, 1, 0))]
    assert server.status().sharding == "single"


def test_more_workers_than_can_divide_are_refused() -> None:
    """The sentence names the three ways out."""
    server = fleet(workers=3)
    assert server.start() == [Spawn(0), Spawn(1), Spawn(2)]
    abort = abort_of(server.says(0, loaded(divisible=False)))
    assert abort.code is ExitCode.CONFIG
    for way in ("worker.index", "--sharding off", "--workers 1"):
        assert way in abort.text


def test_sharding_off_allows_whole_copies() -> None:
    """--sharding off takes all cores less one for an indivisible generator too."""
    server = fleet(cores=3, sharding="off")
    server.start()
    actions = without_publish(server.says(0, loaded(divisible=False)))
    assert actions == [Spawn(1), Tell(0, Search(0, 2, 0))]
    assert server.status().sharding == "off"


def test_one_core_still_gives_one_worker() -> None:
    """Cores less one is never none."""
    server = fleet(cores=1)
    server.start()
    assert without_publish(server.says(0, loaded())) == [Tell(0, Search(0, 1, 0))]


def test_the_found_spec_makes_everyone_ready() -> None:
    """Workers that have loaded are told; the last one makes the server ready, once."""
    server = fleet(workers=2)
    server.start()
    server.says(0, Bound("/x/0.sock", 5556))
    server.says(0, loaded(length=7))
    assert Ready() not in server.says(0, Found(WIRE))
    actions = without_publish(server.says(1, loaded()))
    assert actions == [Tell(1, UseSpec(WIRE)), Ready()]
    status = server.status()
    assert (status.state, status.spec, status.cardinality) == ("ready", SPEC, 7)
    assert [(w.ipc, w.port) for w in status.workers] == [("/x/0.sock", 5556), ("", 0)]


def test_a_declared_spec_needs_no_search() -> None:
    """Neither --spec nor an attribute of the function makes an element."""
    by_flag = fleet(workers=1, spec=SPEC)
    by_flag.start()
    assert without_publish(by_flag.says(0, loaded())) == [Tell(0, UseSpec(WIRE)), Ready()]
    by_attribute = fleet(workers=1)
    by_attribute.start()
    actions = without_publish(by_attribute.says(0, loaded(spec=WIRE)))
    assert actions == [Tell(0, UseSpec(WIRE)), Ready()]


def test_an_empty_worker_passes_the_search_on() -> None:
    """Also to a worker that has not loaded yet; after the last one the server gives up."""
    server = fleet(workers=3)
    server.start()
    server.says(0, loaded())
    server.says(1, loaded())
    assert server.says(0, Empty()) == [Tell(1, Search(1, 3, 0))]
    assert server.says(1, Empty()) == []
    assert without_publish(server.says(2, loaded())) == [Tell(2, Search(2, 3, 0))]
    assert abort_of(server.says(2, Empty())).code is ExitCode.GENERATOR


def test_a_worker_that_cannot_start_ends_the_server_with_its_code() -> None:
    """The first failure is the one that is told."""
    server = fleet(workers=2)
    server.start()
    assert abort_of(server.says(1, Failed(78, "no module"))).code is ExitCode.CONFIG
    assert server.status().state == "failed"
    assert server.says(0, Failed(69, "port")) == []


def test_a_death_before_the_server_is_ready_is_published_and_ends_it() -> None:
    """A start-up error is not tried again; trainers learn of it before the server leaves."""
    server = fleet(workers=2, spec=SPEC)
    server.start()
    server.says(0, loaded())
    assert server.status().workers[0].state == "ready"
    actions = server.ends(0)
    assert actions[0] == Publish()
    assert abort_of(actions).code is ExitCode.WORKER_DIED
    dead = server.status().workers[0]
    assert (dead.state, dead.cause) == ("failed", "SIGKILL, perhaps out of memory")


def test_a_worker_that_dies_is_started_again_at_once_and_told_the_spec() -> None:
    """In its place, with its port; the status has the new life as soon as it listens."""
    server = ready()
    say, *actions = without_publish(server.ends(1))
    assert actions == [Spawn(1, life=1, port=5557), Tell(1, UseSpec(WIRE))]
    assert isinstance(say, Say)
    assert say.text == (
        "worker 1 (pid 101) died: SIGKILL, perhaps out of memory; it is started again at once"
    )
    assert (server.status().workers[1].state, server.status().workers[1].life) == ("starting", 0)
    assert server.says(1, Bound("/x/1.sock", 5557)) == [Publish()]
    assert server.status().workers[1].life == 1
    assert server.says(1, loaded()) == [Publish()]
    again = server.status().workers[1]
    assert (again.state, again.ipc, again.port) == ("ready", "/x/1.sock", 5557)
    assert again.cause == "SIGKILL, perhaps out of memory"
    assert server.status().state == "ready"


def test_a_second_death_waits_for_its_time() -> None:
    """The worker is in back-off until a tick finds it due."""
    server = ready()
    server.ends(1)
    server.says(1, loaded())
    say, publish = server.ends(1)
    assert isinstance(say, Say)
    assert say.text.endswith("again in 0.5 s")
    assert publish == Publish()
    assert server.status().workers[1].state == "backoff"
    assert server.due == server.now + 0.5
    assert server.tick(server.now + 0.4, {}) == []
    assert Spawn(1, life=2, port=5557) in server.tick(server.now + 0.5, {})
    assert server.due == float("inf")


def test_one_death_more_than_allowed_ends_the_server() -> None:
    """With 70 and the count; trainers see a failed worker."""
    server = ready(max_restarts=2)
    for _ in range(2):
        assert not [a for a in server.ends(0) if isinstance(a, Abort)]
        server.now += 10
        server.tick(server.now, {})
        server.says(0, loaded())
    actions = server.ends(0)
    assert actions[0] == Publish()
    abort = abort_of(actions)
    assert abort.code is ExitCode.WORKER_DIED
    assert abort.text == (
        "worker 0 (pid 100) died: SIGKILL, perhaps out of memory, after 2 restarts within 60 s, "
        "which is all that --max-restarts allows"
    )
    assert server.status().workers[0].state == "failed"
    assert server.status().state == "failed"


def test_without_restarts_the_first_death_ends_the_server() -> None:
    """--max-restarts 0 says nothing of counts."""
    abort = abort_of(ready(max_restarts=0).ends(1))
    assert abort.text == "worker 1 (pid 101) died: SIGKILL, perhaps out of memory"


def test_a_later_life_that_cannot_start_is_not_tried_again() -> None:
    """Its module was changed meanwhile: the server ends with that code."""
    server = ready()
    server.ends(1)
    abort = abort_of(server.says(1, Failed(78, "importing scans raised SyntaxError\n  ^")))
    assert abort.code is ExitCode.CONFIG
    worker = server.status().workers[1]
    assert (worker.state, worker.cause) == ("failed", "importing scans raised SyntaxError")
    assert server.ends(1) == []


def test_a_later_life_whose_port_is_taken_is_tried_again() -> None:
    """It is a death like any other: with its reason, a wait and the budget."""
    server = ready(max_restarts=2)
    server.ends(1)
    for _ in range(2):
        assert server.says(1, Failed(69, "tcp://127.0.0.1:5557 is in use")) == []
        *_, say, _ = server.ends(1, Death("exit code 69", code=69))
        assert isinstance(say, Say)
        assert "died: tcp://127.0.0.1:5557 is in use; it is started again in" in say.text
        server.tick(server.due, {})
        if server.due == float("inf"):
            break
    server.says(1, Failed(69, "tcp://127.0.0.1:5557 is in use"))
    assert "is in use, after 2 restarts" in abort_of(server.ends(1, Death("", code=69))).text


def test_the_first_worker_of_a_later_life_decides_nothing_anew() -> None:
    """Sharding and the number of workers are settled once."""
    server = ready()
    server.ends(0)
    assert server.says(0, loaded(divisible=False)) == [Publish()]
    assert server.status().sharding == "static"
    assert len(server.workers) == 2


def at(element: int) -> Reading:
    return Reading(made=element, making=Making(0, 0, element))


def run_on(server: Server, seconds: float, **pages: Reading) -> list[Action]:
    """Ticks twice a second, worker i showing page ``wi``; what followed but for publishing."""
    readings = {int(name[1:]): page for name, page in pages.items()}
    actions: list[Action] = []
    for _ in range(int(seconds * 2)):
        server.now += 0.5
        actions += server.tick(server.now, readings)
    return actions


def test_a_worker_that_makes_one_element_for_long_is_shown_as_stalled() -> None:
    """From 10 s on, and no longer than that element takes; it is not disturbed."""
    server = ready()
    assert run_on(server, 10, w0=at(7), w1=Reading()) == []
    assert run_on(server, 1, w0=at(7), w1=Reading()) == [Publish()]
    assert [w.state for w in server.status().workers] == ["stalled", "ready"]
    assert run_on(server, 0.5, w0=at(8), w1=Reading()) == [Publish()]
    assert [w.state for w in server.status().workers] == ["ready", "ready"]


def test_the_stacks_of_a_stalled_worker_are_printed_once() -> None:
    """After 60 s, with a line that names the element; for another element again."""
    server = ready()
    for element in (7, 8):
        say, dump = without_publish(run_on(server, 200, w0=at(element)))
        assert isinstance(say, Say)
        assert say.text == (
            f"worker 0 (pid 100) has been making element {element} of epoch 0 (worker.index 0) "
            "for 60 s. It is here:"
        )
        assert dump == DumpStacks(0)


def test_an_element_that_takes_too_long_costs_its_worker_the_life() -> None:
    """Only where --item-timeout says so; that is the cause of death, and counts as one."""
    server = ready(item_timeout=3.0)
    assert run_on(server, 3, w1=at(7)) == []
    assert run_on(server, 2, w1=at(7)) == [Kill(1)]
    say, *_ = server.ends(1, Death("SIGKILL, perhaps out of memory", at(7).making, -9))
    assert isinstance(say, Say)
    cause = "killed after --item-timeout 3 s in element 7 of epoch 0 (worker.index 0)"
    assert say.text == f"worker 1 (pid 101) died: {cause}; it is started again at once"
    assert server.status().workers[1].cause == cause
    server.says(1, loaded())
    assert run_on(server, 2, w1=at(7)) == []
    server.ends(1)
    assert server.status().workers[1].cause == "SIGKILL, perhaps out of memory"


def test_an_element_that_takes_too_long_three_times_is_named() -> None:
    """Our own kills are deaths at that element like any other."""
    server = ready(item_timeout=1.0)
    for _ in range(3):
        run_on(server, 5, w1=at(7))
        actions = server.ends(1, Death("SIGKILL", at(7).making, -9))
        server.now += 30
        server.tick(server.now, {})
        if not server.failure:
            server.says(1, loaded())
    assert "3 times in a row while it made element 7" in abort_of(actions).text
    assert "3 times in a row while it made element 7" in server.status().workers[1].cause


def test_a_worker_that_says_it_leaves_is_replaced_without_a_word() -> None:
    """A planned end with code 0 is no death, however often it comes; a new life each time."""
    server = ready(max_restarts=0, max_items=100)
    for life in range(1, 20):
        assert server.says(1, Leaving()) == []
        assert without_publish(server.ends(1, Death("exit code 0", code=0))) == [
            Spawn(1, life=life, port=5557), Tell(1, UseSpec(WIRE)),
        ]  # fmt: skip
        server.says(1, Bound("/x/1.sock", 5557))
        server.says(1, loaded())
        assert server.status().workers[1].life == life
        assert server.status().workers[1].cause == ""


@pytest.mark.parametrize("code", [0, 1, -9])
def test_a_worker_that_ends_unasked_died_whatever_its_code(code: int) -> None:
    """Exit code 0 without a goodbye is the user's os._exit; a goodbye that is cut short is none."""
    server = ready(max_restarts=0)
    if code:
        server.says(1, Leaving())
    abort = abort_of(server.ends(1, Death(f"code {code}", code=code)))
    assert f"died: code {code}" in abort.text


def test_what_was_lost_is_published() -> None:
    """With --recovery stream, as the worker's page has it."""
    server = ready(recovery="stream", length=-1)
    assert run_on(server, 1, w1=Reading(lost=12)) == [Publish()]
    status = server.status()
    assert (status.recovery, status.workers[1].lost) == ("stream", 12)


def test_seek_is_refused_for_a_generator_that_does_not() -> None:
    """Known when it is loaded, or when its first element was made without asking where to begin."""
    server = fleet(workers=1, recovery="seek")
    server.start()
    abort = abort_of(server.says(0, loaded(divisible=False)))
    assert abort.code is ExitCode.CONFIG
    assert "does not read worker.start" in abort.text
    server = fleet(workers=1, recovery="seek")
    server.start()
    server.says(0, loaded())
    assert abort_of(server.says(0, Found(WIRE, seeks=False))).code is ExitCode.CONFIG
    server = fleet(workers=1, recovery="seek")
    server.start()
    server.says(0, loaded())
    assert Ready() in server.says(0, Found(WIRE, seeks=True))


def test_stream_is_refused_for_a_generator_of_known_length() -> None:
    """By its attribute or by --length; one that never ends is what it is for."""
    for length, option in ((7, None), (-1, 7), (-2, 0)):
        server = fleet(workers=1, recovery="stream", length=option)
        server.start()
        abort = abort_of(server.says(0, loaded(length=length)))
        assert abort.code is ExitCode.CONFIG
        assert "--length infinite" in abort.text
    server = fleet(workers=1, recovery="stream", length=-1, spec=SPEC)
    server.start()
    assert Ready() in server.says(0, loaded(length=7))


def test_a_stop_ends_a_back_off() -> None:
    """Nothing is started any more, and nothing is waited for."""
    server = ready()
    server.ends(1)
    server.ends(1)
    server.stop()
    assert [worker.state for worker in server.status().workers] == ["stopping", "stopped"]
    assert server.tick(server.now + 100, {}) == []


def test_exits_while_stopping_are_expected() -> None:
    """A worker that ends after the stop is stopped, not dead."""
    server = fleet(workers=2, spec=SPEC)
    server.start()
    server.stop()
    assert without_publish(server.says(0, loaded())) == []
    assert server.ends(0, Death("exit code 0")) == []
    assert server.status().workers[0].state == "stopped"
    server.stop()
    assert server.status().workers[1].state == "stopping"
