"""What a trainer makes of the news about a server and its workers: with a clock in the hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from genserver.protocol.errors import (
    PeerLost,
    Rejected,
    ServerChanged,
    ServerStopped,
    WorkerDied,
)  # fmt: skip
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.spec import parse_spec
from genserver.protocol.watch import (
    PRESENCE,
    Abandon,
    Action,
    GiveUp,
    News,
    Presence,
    Renew,
    Resume,
    Say,
    Watch,
)  # fmt: skip

ENDPOINT = "tcp://a:1"
KILLED = "killed by SIGKILL, perhaps out of memory"
STATUS = Status(
    "ready", "scans:cubes", "static", 0, -2, "host", parse_spec("int64[]"),
    tuple(WorkerStatus(i, "ready", 100 + i, f"/run/{i}.sock", 0) for i in range(2)),
    arguments="a1",
)  # fmt: skip


def worker(index: int, state: str, *, life: int = 0, cause: str = "", lost: int = 0) -> Status:
    """The status with another worker ``index``."""
    changed = replace(STATUS.workers[index], state=state, life=life, cause=cause, lost=lost)
    return replace(
        STATUS, workers=tuple(changed if w.index == index else w for w in STATUS.workers)
    )


def watching(status: Status = STATUS, give_up_after: float = 120.0) -> Watch:
    """A server that serves, with both workers in use."""
    watch = Watch(ENDPOINT, give_up_after, 0.0)
    watch.told(status, 0.0)
    for index in range(2):
        watch.use(index)
    return watch


def passing(watch: Watch, since: float, until: float, heard: dict[int, float]) -> list[Action]:
    """What the ticks of that time bring; both workers have streams."""
    actions, now = [], since
    while now < until:
        now += 0.5
        actions += watch.tick(now, heard, [0, 1])
    return actions


def kinds(actions: list[Action]) -> list[type]:
    return [type(action) for action in actions]


def error_of(actions: list[Action]) -> Exception:
    """The one error among the actions."""
    (error,) = [a.error for a in actions if isinstance(a, GiveUp | Abandon)]
    return error


def test_every_news_has_an_answer_in_every_state() -> None:
    """The table of a server's presence is whole."""
    assert all(news in PRESENCE[presence] for presence, news in product(Presence, News))


def test_a_worker_that_was_started_again_is_linked_again_at_once() -> None:
    """When it is ready, once for each life; nobody fails between two lives."""
    watch = watching()
    assert watch.told(worker(1, "backoff", cause=KILLED), 1.0) == []
    assert watch.told(worker(1, "starting", life=1, cause=KILLED), 1.1) == []
    assert watch.told(worker(1, "loaded", life=1), 1.2) == []
    assert watch.told(worker(1, "ready", life=1), 1.3) == [Renew(1)]
    assert watch.told(worker(1, "ready", life=1), 1.4) == []
    assert watch.told(worker(1, "stalled", life=2), 1.5) == [Renew(1)]


@pytest.mark.parametrize("recovery", ["auto", "seek", "stream"])
def test_streams_go_on_in_a_life_that_was_announced(recovery: str) -> None:
    """With the cause of the death; a life that nobody announced waits until it is."""
    watch = watching(replace(STATUS, recovery=recovery))
    assert watch.worker_reborn(0, 1.0) == []
    watch.welcomed(0)
    told = replace(worker(0, "ready", life=1, cause=KILLED), recovery=recovery)
    assert watch.told(told, 1.0) == [Renew(0)]
    watch.welcomed(0)  # the old life's, read before the link is made anew
    watch.renewed(0)
    assert watch.worker_reborn(0, 1.0) == [Resume(0, KILLED)]
    watch.welcomed(0)
    assert watch.worker_reborn(0, 1.0) == []


def test_the_line_names_the_elements_and_the_cause() -> None:
    """One line per worker; in stream mode the elements are other ones. None for fresh streams."""
    line = watching().gone_on(1, [7, 3], KILLED)
    assert line == f"worker 1 of {ENDPOINT} goes on at element 3, 7: {KILLED}"
    random = watching(replace(STATUS, recovery="stream"))
    assert "new elements in place of 3: " in random.gone_on(1, [3], KILLED)
    assert watching().gone_on(1, [], KILLED) == ""


def test_without_recovery_a_death_ends_the_streams_and_no_later_ones() -> None:
    """Those that are opened afterwards start in the next life."""
    watch = watching(replace(STATUS, recovery="none"))

    def told(state: str, life: int) -> list[Action]:
        changed = worker(0, state, life=life, cause=KILLED)
        return watch.told(replace(changed, recovery="none"), 1.0)

    error = error_of(told("backoff", 0))
    assert isinstance(error, WorkerDied)
    assert (error.worker, error.cause) == (0, KILLED)
    assert told("starting", 1) == []
    assert told("ready", 1) == [Renew(0)]
    watch.renewed(0)
    assert kinds(watch.worker_reborn(0, 1.0)) == [Resume]


def test_a_worker_that_failed_is_an_error_at_once_and_for_later_streams() -> None:
    """It is not started again."""
    watch = watching()
    assert isinstance(error_of(watch.told(worker(1, "failed", cause=KILLED), 1.0)), WorkerDied)
    assert isinstance(error_of(watch.opened(1)), WorkerDied)
    assert watch.opened(0) == []


def test_what_was_lost_is_said_once_with_its_number() -> None:
    """Only what is new since the worker was used first."""
    watch = watching(worker(0, "ready", lost=5))
    (line,) = watch.told(worker(0, "ready", lost=12), 1.0)
    assert isinstance(line, Say)
    assert "7 elements" in line.text
    assert watch.told(worker(0, "ready", lost=12), 1.0) == []


def test_a_worker_that_forgot_the_trainer_starts_the_streams_again() -> None:
    """Where the generator may run again; in stream mode nobody can count what is lost."""
    assert kinds(watching().worker_forgot(0, (3,))) == [Resume]
    (lost,) = watching(replace(STATUS, recovery="stream")).worker_forgot(0, (3,))
    assert isinstance(lost, Resume)
    assert "lost, and nobody counted it" in lost.why
    abandon, resume = watching(replace(STATUS, recovery="none")).worker_forgot(0, (3,))
    assert isinstance(abandon, Abandon)
    assert abandon.streams == (3,)
    assert isinstance(abandon.error, Rejected)
    assert isinstance(resume, Resume)


def test_a_server_that_left_for_good_stops_the_streams_at_once() -> None:
    """With its reason."""
    error = error_of(watching().left("failed: worker 1 died", False, 1.0))
    assert isinstance(error, ServerStopped)
    assert error.reason == "failed: worker 1 died"


def test_a_server_that_may_return_is_waited_for_and_gone_on_with() -> None:
    """A line at once, one when another life answers, and one when that serves; each worker is
    linked again, and its streams go on."""
    watch = watching()
    assert kinds(watch.left("stopped by SIGTERM", True, 1.0)) == [Say]
    assert watch.left("stopped by SIGTERM", True, 1.5) == []  # asked again while it drains
    assert "away for 9 s (stopped by SIGTERM), given up after 120 s" in watch.absence(10.0)
    assert kinds(watch.reborn()) == [Say]
    assert watch.absence(10.0) == "starting again"
    assert watch.told(replace(STATUS, state="starting", spec=None, workers=()), 11.0) == []
    assert watch.status is STATUS
    back = watch.told(STATUS, 12.0)
    assert kinds(back) == [Say, Renew, Renew]
    watch.renewed(1)
    assert watch.worker_reborn(1, 1.0) == [Resume(1, "the server was started again")]
    assert watch.absence(12.0) == ""


def test_a_moment_without_a_link_is_not_worth_a_line() -> None:
    """A cut link is made anew; the same life of the server answers."""
    watch = watching()
    assert watch.lost(10.0, 10.0) == []
    assert watch.told(STATUS, 10.2) == []
    assert watch.presence is Presence.HERE


def test_a_server_is_a_stranger_until_it_serves() -> None:
    """Before that its goodbye, its loss or its next life concerns no stream."""
    watch = Watch(ENDPOINT, 120.0, 0.0)
    watch.told(replace(STATUS, state="starting"), 1.0)
    assert watch.left("stopped by SIGTERM", True, 2.0) == watch.reborn() == []
    assert (watch.status, watch.absence(3.0), watch.presence) == (None, "", Presence.NEW)


def test_a_silent_server_is_said() -> None:
    """When it has served before; and again when its link is given up."""
    new = Watch(ENDPOINT, 120.0, 0.0)
    assert new.suspect() == new.lost(15.0, 0.0) == []
    watch = watching()
    assert kinds(watch.suspect()) == kinds(watch.lost(15.0, 0.0)) == [Say]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"generator": "scans:slices"}, "the generator is scans:slices, before it was scans:cubes"),
        ({"spec": parse_spec("int32[]")}, "the element spec is int32[], before it was int64[]"),
        ({"arguments": "b2"}, "the digest of its arguments is b2, before it was a1"),
        ({"sharding": "off"}, "the sharding is off, before it was static"),
        ({"workers": STATUS.workers[:1]}, "the number of workers is 1, before it was 2"),
        ({"cardinality": 5}, "the cardinality is 5, before it was -2"),
    ],
)
def test_another_server_in_its_place_is_an_error(change: dict[str, object], what: str) -> None:
    """One that serves something else; the sentence says what."""
    watch = watching()
    watch.reborn()
    error = error_of(watch.told(replace(STATUS, **change), 1.0))
    assert isinstance(error, ServerChanged)
    assert what in str(error)
    assert watch.status is STATUS


def test_without_recovery_a_restart_of_the_server_ends_the_streams() -> None:
    """Each worker is named; the next streams start in the new life."""
    none = replace(STATUS, recovery="none")
    watch = watching(none)
    watch.reborn()
    back = watch.told(none, 1.0)
    assert kinds(back) == [Say, Abandon, Abandon, Renew, Renew]


def test_streams_that_are_opened_while_nobody_is_there_wait() -> None:
    """For the server, and for a worker between two lives."""
    watch = watching()
    watch.left("stopped by SIGTERM", True, 1.0)
    watch.use(0)
    assert not watch.reachable(0)
    watch.reborn()
    assert Renew(0) in watch.told(STATUS, 2.0)
    watch.told(worker(1, "starting", life=1), 3.0)
    assert not watch.reachable(1)
    watch.use(1)
    assert watch.told(worker(1, "ready", life=1), 4.0) == [Renew(1)]


def test_a_server_that_does_not_come_back_is_given_up_with_a_table() -> None:
    """After the limit, and not before; the table has every worker's state."""
    watch = watching(worker(1, "ready", life=3, cause=KILLED))
    heard = {0: 10.0, 1: 8.0}
    passing(watch, 0.0, 10.0, heard)
    watch.left("stopped by SIGTERM", True, 10.0)
    assert passing(watch, 10.0, 129.5, heard) == []
    error = error_of(passing(watch, 129.5, 130.0, heard))
    assert isinstance(error, PeerLost)
    assert error.states.splitlines() == [
        "  worker 0: ready, life 0, heard 120 s ago",
        f"  worker 1: ready, life 3, heard 122 s ago, {KILLED}",
    ]
    assert str(error).startswith(f"the server of {ENDPOINT} has been silent for 120 s; given up\n")


def test_a_silent_server_whose_workers_speak_is_not_given_up() -> None:
    """Elements still come."""
    watch = watching()
    watch.lost(15.0, 0.0)
    for second in range(16, 300):
        assert watch.tick(float(second), {0: second - 1.0, 1: 0.0}, []) == []
    assert isinstance(error_of(watch.tick(300.0, {0: 285.0, 1: 0.0}, [])), PeerLost)


def test_a_silent_worker_is_given_up_alone() -> None:
    """With the table; only who has streams."""
    watch = watching()
    for second in range(1, 120):
        assert watch.tick(float(second), {0: float(second), 1: 0.0}, [0, 1]) == []
    assert watch.tick(120.0, {0: 120.0, 1: 0.0}, [0]) == []
    (abandon,) = watch.tick(120.0, {0: 120.0, 1: 0.0}, [0, 1])
    assert isinstance(abandon, Abandon)
    assert abandon.worker == 1
    assert "worker 0: ready, life 0, heard 0 s ago" in str(abandon.error)


@pytest.mark.parametrize(("state", "life"), [("starting", 1), ("stalled", 0)])
def test_a_worker_whose_silence_has_a_reason_is_not_given_up(state: str, life: int) -> None:
    """An import of ten minutes, or a C call that lets no thread run; what comes after it counts."""
    watch = watching()
    watch.told(worker(1, state, life=life), 1.0)
    assert passing(watch, 1.0, 600.0, {0: 600.0, 1: 1.0}) == []
    watch.told(worker(1, "ready", life=life), 600.0)
    assert passing(watch, 600.0, 719.0, {0: 719.0, 1: 1.0}) == []
    assert isinstance(error_of(passing(watch, 719.0, 720.0, {0: 720.0, 1: 1.0})), PeerLost)


def test_a_stranger_in_a_workers_place_is_given_up() -> None:
    """Another process answers there, and the server never says that this is its worker."""
    watch = watching()
    watch.worker_reborn(1, 1.0)
    watch.welcomed(1)
    for second in range(2, 121):
        heard = {0: float(second), 1: float(second)}
        assert watch.tick(float(second), heard, [0, 1]) == []
    assert watch.worker_reborn(1, 120.5) == []
    (abandon,) = watch.tick(121.0, {0: 121.0, 1: 121.0}, [0, 1])
    assert isinstance(abandon, Abandon)
    assert isinstance(abandon.error, PeerLost)


def test_after_a_long_silence_of_all_the_workers_have_their_time() -> None:
    """A partition of nearly the whole limit heals; the server is back before its workers."""
    watch = watching()
    passing(watch, 0.0, 15.0, {0: 0.0, 1: 0.0})
    watch.lost(15.0, 0.0)
    assert passing(watch, 15.0, 119.0, {0: 0.0, 1: 0.0}) == []
    watch.told(STATUS, 119.0)
    assert passing(watch, 119.0, 230.0, {0: 0.0, 1: 0.0}) == []


def test_another_life_that_was_cut_off_is_still_another_one() -> None:
    """Its control link was lost before it served: it is compared and linked all the same."""
    watch = watching()
    watch.reborn()
    watch.lost(2.0, 2.0)
    assert watch.told(replace(STATUS, state="starting", workers=()), 3.0) == []
    assert kinds(watch.told(STATUS, 4.0)) == [Say, Renew, Renew]


def test_the_trainers_own_sleep_is_nobodys_absence() -> None:
    """Stopped for an hour while the server restarts, it waits its whole time afterwards."""
    watch = watching()
    watch.left("stopped by SIGTERM", True, 1.0)
    watch.tick(1.5, {}, [])
    assert watch.tick(3600.0, {}, []) == []
    assert passing(watch, 3600.0, 3715.0, {}) == []
    assert kinds(passing(watch, 3715.0, 3719.5, {})) == [GiveUp]


def test_what_is_heard_right_after_a_sleep_counts_from_then() -> None:
    """A goodbye, or a stranger, that waited while this process slept."""
    watch = watching()
    watch.worker_reborn(0, 50.0)
    watch.left("stopped by SIGTERM", True, 50.0)
    watch.tick(50.0, {0: 50.0, 1: 50.0}, [0, 1])
    assert watch.absence(51.0).startswith("away for 1 s")
    watch.told(STATUS, 51.0)
    heard = {0: 171.0, 1: 171.0}
    assert passing(watch, 51.0, 170.5, heard) == []
    assert kinds(passing(watch, 170.5, 171.0, heard)) == [Abandon]
