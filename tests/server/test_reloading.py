"""The pure core of a supervisor that reloads: histories of changes, reports and deaths."""

from __future__ import annotations

from typing import Any

import pytest
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.spec import parse_spec
from genserver.protocol.watch import difference
from genserver.server.actions import (
    Abort,
    Action,
    Forget,
    Kill,
    Publish,
    Ready,
    Say,
    Spawn,
    StartOver,
    Tell,
    Terminate,
)
from genserver.server.config import ConfigError, ServeConfig
from genserver.server.lives import Death
from genserver.server.reloading import KILL_AFTER, TERM_AFTER, Reloading
from genserver.server.reports import Bound, Failed, Found, Loaded, Report, Search, Stop, UseSpec
from genserver.server.stalls import Reading

WIRE = parse_spec("float32[2]").to_wire()
OTHER = parse_spec("float32[3]").to_wire()
CHANGED = Say("scans.py changed: the workers start again with the new code")
SERVES = Say("the new code serves")
DONE = Death("exit code 0", code=0)


class Server(Reloading):
    """One whose clock and processes a test moves by hand."""

    def __init__(self, **options: Any) -> None:
        config = ServeConfig(target="scans:cubes", reload=("/code",), **options)
        super().__init__(config, 4, "host", "/code")
        self.now = 1000.0
        #: The last process of each worker that runs.
        self.running: dict[int, Spawn] = {}

    def does(self, actions: list[Action]) -> list[Action]:
        """Start what is to be started; the actions but for publishing."""
        for action in actions:
            if isinstance(action, Spawn):
                assert action.index not in self.running
                self.running[action.index] = action
                self.spawned(action.index, 100 + action.index)
        return [action for action in actions if not isinstance(action, Publish)]

    def says(self, index: int, report: Report) -> list[Action]:
        return self.does(self.report(index, report, self.now))

    def ends(self, index: int, death: Death = DONE) -> list[Action]:
        del self.running[index]
        return self.does(self.exited(index, death, self.now, 0.0))

    def edits(self, *names: str) -> list[Action]:
        paths = [f"/code/{name}" for name in names or ("scans.py",)]
        return self.does(self.changed(paths, self.now))

    def passes(self, seconds: float) -> list[Action]:
        self.now += seconds
        return self.does(self.tick(self.now, {}))

    def all_end(self) -> list[Action]:
        """The processes leave as they are told; what follows the last one."""
        actions: list[Action] = []
        for index in list(self.running):
            actions += self.ends(index)
        return actions

    def comes_up(self, spec: Any = WIRE, length: int = -2) -> list[Action]:
        """Every worker listens, loads, and worker 0 finds this spec; all that followed."""
        actions: list[Action] = []
        known: set[int] = set()
        while new := set(self.running) - known:  # worker 0 may have others started
            for index in sorted(new):
                actions += self.says(index, Bound(f"/x/{index}.sock", 5556 + index))
                actions += self.says(index, Loaded(True, None, length))
            known |= new
        return [*actions, *self.says(0, Found(spec))]


def serving(**options: Any) -> Server:
    """A server of two workers that serves."""
    server = Server(workers=2, **options)
    server.does(server.start())
    assert Ready() in server.comes_up()
    return server


def states(server: Server) -> list[str]:
    return [worker.state for worker in server.status().workers]


def test_a_change_replaces_every_worker_when_the_last_one_has_left() -> None:
    """Each gets its port and the next life; Python forgets what it had compiled."""
    server = serving()
    why = Stop("scans.py changed", returns=True)
    assert server.edits() == [CHANGED, Tell(0, why), Tell(1, why)]
    assert server.ends(1) == []
    assert server.ends(0) == [
        Forget(("/code/scans.py",)), Spawn(0, life=1, port=5556), Spawn(1, life=1, port=5557)
    ]  # fmt: skip
    actions = server.comes_up()
    assert Tell(0, Search(0, 2, 0)) in actions  # the new code's spec is looked for
    assert actions[-3:] == [Tell(0, UseSpec(WIRE)), Tell(1, UseSpec(WIRE)), SERVES]


def test_trainers_see_no_new_life_before_it_is_sure_that_it_serves_the_same() -> None:
    """Until then each worker is between two lives, with the reason, on the terms that are known."""
    server = serving()
    before = server.status()
    server.edits("scans.py", "helpers.py")
    status = server.status()
    assert (status.state, status.cause) == ("starting", "helpers.py, scans.py changed")
    assert difference(before, status) is None
    assert all(worker.between_lives for worker in status.workers)
    assert {worker.cause for worker in status.workers} == {"helpers.py, scans.py changed"}
    server.all_end()
    for index in (0, 1):
        server.says(index, Bound(f"/x/{index}.sock", 5556 + index))
        server.says(index, Loaded(True, None, -2))
        assert [(w.between_lives, w.life) for w in server.status().workers] == [(True, 0)] * 2
    server.says(0, Found(WIRE))
    status = server.status()
    assert status.state == "ready"
    assert [(w.state, w.life, w.cause) for w in status.workers] == [("ready", 1, "")] * 2


def test_who_does_not_leave_is_made_to() -> None:
    """SIGTERM, then SIGKILL, each in its time, to those that are still there."""
    server = serving()
    server.edits()
    server.ends(0)
    assert server.due == server.now + TERM_AFTER
    assert server.passes(TERM_AFTER / 2) == []
    assert server.passes(TERM_AFTER / 2) == [Terminate(1)]
    assert server.due == pytest.approx(server.now + KILL_AFTER - TERM_AFTER)
    assert server.passes(KILL_AFTER - TERM_AFTER + 0.01) == [Kill(1)]
    assert server.due == float("inf")
    assert Spawn(1, life=1, port=5557) in server.ends(1)


def test_a_change_during_a_reload_is_another_reload() -> None:
    """While workers leave, it joins the one that is under way; while they start, it begins anew."""
    server = serving()
    server.edits()
    assert server.edits("helpers.py") == [
        Say("helpers.py changed: the workers start again with the new code")
    ]
    assert server.all_end()[0] == Forget(("/code/helpers.py", "/code/scans.py"))
    server.says(0, Bound("/x/0.sock", 5556))
    assert Tell(1, Stop("scans.py changed", returns=True)) in server.edits()
    assert server.says(0, Loaded(True, None, -2)) == []  # of code that is gone
    assert Spawn(0, life=2, port=5556) in server.all_end()
    assert SERVES in server.comes_up()


def test_reloads_do_not_count_as_restarts() -> None:
    """However many, --max-restarts 0 included, and after each a worker begins anew."""
    server = serving(max_restarts=0)
    for life in range(1, 20):
        server.edits()
        assert Spawn(1, life=life, port=5557) in server.all_end()
        assert server.comes_up()[-1] == SERVES
    assert states(server) == ["ready", "ready"]


@pytest.mark.parametrize("serves", [True, False], ids=["later", "at the start"])
def test_code_that_does_not_start_waits_for_the_next_change(serves: bool) -> None:
    """Its traceback is said once, no process is left, nothing is tried again, and nobody ends."""
    server = Server(workers=2)
    server.does(server.start())
    server.says(0, Bound("/x/0.sock", 5556))
    if serves:
        server.comes_up()
        server.edits()
        server.all_end()
    said = server.says(0, Failed(78, "importing scans raised SyntaxError: bad\n  File ...\n"))
    why = "importing scans raised SyntaxError: bad"
    assert said == [
        Say(f"{why}\n  File ...\ngenserver: waiting until the code changes"),
        Tell(0, Stop(why, returns=True)), Tell(1, Stop(why, returns=True)),
    ]  # fmt: skip
    assert server.all_end() == []
    assert [server.passes(60) for _ in range(5)] == [[]] * 5
    status = server.status()
    assert (status.state, status.cause) == ("starting", why)
    assert {(w.state, w.cause) for w in status.workers} == {("backoff", why)}
    assert server.edits()[0] == CHANGED
    assert set(server.running) == {0, 1}
    assert server.comes_up()[-1] == (SERVES if serves else Ready())


def test_code_that_is_mended_while_its_workers_still_leave_starts_when_they_have() -> None:
    """A change between the failure and the last exit is not lost."""
    server = serving()
    server.edits()
    server.all_end()
    server.says(1, Failed(65, "scans:cubes failed before its first element: no"))
    server.ends(1, Death("exit code 65", code=65))
    assert server.edits() == [CHANGED]
    assert Spawn(0, life=2, port=5556) in server.ends(0)


def test_a_worker_that_dies_too_often_waits_for_a_change_as_well() -> None:
    """What would end another server is a mistake in the code to one that reloads."""
    server = serving(max_restarts=0)
    say, *rest = server.ends(1, Death("SIGSEGV, a crash in native code", code=-11))
    assert isinstance(say, Say)
    assert "worker 1 (pid 101) died: SIGSEGV" in say.text
    assert [type(action) for action in rest] == [Tell]
    assert server.ends(0) == []
    assert Spawn(1, life=1, port=5557) in server.edits()


def test_a_worker_that_dies_is_started_again_as_always() -> None:
    """Within one version of the code it has its restarts."""
    server = serving()
    assert Spawn(1, life=1, port=5557) in server.ends(1, Death("SIGKILL", code=-9))
    server.edits()
    server.all_end()
    assert server.running[0] == Spawn(0, life=1, port=5556)
    assert server.running[1] == Spawn(1, life=2, port=5557)


def test_code_that_serves_something_else_makes_another_server() -> None:
    """Trainers are told, and those who come see the new terms; the next reload compares to them."""
    server = serving()
    server.edits()
    server.all_end()
    *_, say, again = server.comes_up(OTHER)
    assert again == StartOver("its new code serves something else")
    assert isinstance(say, Say)
    assert say.text.endswith("the element spec is float32[3], before it was float32[2]")
    assert str(server.status().spec) == "float32[3]"
    server.edits()
    server.all_end()
    assert server.comes_up(OTHER)[-1] == SERVES
    server.edits()
    server.all_end()
    assert isinstance(server.comes_up(OTHER, length=7)[-1], StartOver)


def test_the_number_of_workers_may_change() -> None:
    """A generator that takes no worker any more has one; later it has three again."""
    server = Server()
    server.does(server.start())
    assert Ready() in server.comes_up()
    assert len(server.status().workers) == 3
    server.edits()
    assert server.all_end()[-1] == Spawn(0, life=1, port=5556)
    server.says(0, Bound("/x/0.sock", 5556))
    server.says(0, Loaded(False, None, -2))
    assert len(server.status().workers) == 3  # as trainers know it
    assert isinstance(server.says(0, Found(WIRE))[-1], StartOver)
    assert len(server.status().workers) == 1
    server.edits()
    server.all_end()
    server.comes_up()
    assert server.running[2] == Spawn(2, life=1, port=5558)


def test_what_is_lost_is_counted_on() -> None:
    """The counts of --recovery stream belong to the place: they never fall, nor count twice."""
    server = serving(recovery="stream", length=-1)
    server.tick(server.now, {1: Reading(lost=5)})
    assert server.status().workers[1].lost == 5
    server.edits()
    server.all_end()
    server.comes_up()
    assert server.status().workers[1].lost == 5


def test_what_no_code_can_mend_ends_the_server() -> None:
    """A port that is taken at the start, and a pipeline."""
    taken = Server(workers=2)
    taken.does(taken.start())
    assert Abort(ExitCode.UNAVAILABLE, "port in use") in taken.says(1, Failed(69, "port in use"))
    pipeline = Server()
    pipeline.does(pipeline.start())
    pipeline.says(0, Bound("/x/0.sock", 5556))
    (abort,) = pipeline.says(0, Loaded(True, None, -2, workers=2, upstream={"workers": 1}))
    assert abort == Abort(
        ExitCode.CONFIG, "scans:cubes is a pipeline, and --reload is for one stage"
    )


def test_a_stop_ends_every_reload() -> None:
    """Whoever is leaving, starting or waiting for a change, nothing is started any more."""
    for moment in ("serves", "leaves", "starts", "waits"):
        server = serving()
        if moment != "serves":
            server.edits()
        if moment in ("starts", "waits"):
            server.all_end()
        if moment == "waits":
            server.says(0, Failed(78, "no"))
        server.stop()
        assert server.status().state == "stopping"
        assert server.edits() == []
        assert server.passes(60) == []
        assert server.all_end() == []
        assert server.stopping


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"workers": 0}, "--reload replaces worker processes, and --workers 0 has none"),
        ({"recovery": "none"}, "--reload replaces workers, and --recovery none makes that an"),
    ],
)
def test_where_reloading_makes_no_sense_it_is_refused(
    options: dict[str, Any], sentence: str
) -> None:
    """With one sentence, before anything starts."""
    with pytest.raises(ConfigError, match=sentence) as caught:
        Server(**options)
    assert caught.value.code is ExitCode.USAGE
