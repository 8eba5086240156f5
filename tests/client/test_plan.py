"""How several servers are put together, and how the memory is divided: pure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from genserver.client.options import OptionError, PullOptions
from genserver.client.plan import GIB, INFINITE, MIB, UNKNOWN, Plan, PlanError, make_plan
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.spec import parse_spec


def status(
    workers: int = 1, *, spec: str = "float32[2]", sharding: str = "static", length: int = UNKNOWN
) -> Status:
    return Status(
        "ready", "scans:cubes", sharding, 5, length, "host", parse_spec(spec),
        tuple(WorkerStatus(i, "ready", 100 + i, "", 5556 + i) for i in range(workers)),
    )  # fmt: skip


def plan(*statuses: Status, memory: int = 64 * GIB, **options: object) -> Plan:
    names = [f"tcp://127.0.0.1:{5555 + i}" for i in range(len(statuses))]
    return make_plan(names, statuses, PullOptions(**options), memory=memory)  # type: ignore[arg-type]  # as given


def test_workers_are_numbered_through_all_servers() -> None:
    """Global indices run on from server to server, and the count is of all."""
    made = plan(status(2), status(3))
    assert [(m.server, m.worker, m.index) for m in made.members] == [
        (0, 0, 0), (0, 1, 1), (1, 0, 2), (1, 1, 3), (1, 2, 4),
    ]  # fmt: skip
    assert made.count == 5


def test_servers_of_different_elements_are_refused() -> None:
    """Both specs are named."""
    with pytest.raises(PlanError, match=r"float32\[3\].*float32\[2\]"):
        plan(status(), status(spec="float32[3]"))


def test_what_cannot_be_divided_may_be_used_alone() -> None:
    """A single worker of a whole generator is fine; beside another server it is not."""
    assert plan(status(sharding="single")).count == 1
    with pytest.raises(PlanError, match="cannot be divided"):
        plan(status(sharding="single"), status(sharding="single"))
    with pytest.raises(PlanError, match="some of the servers"):
        plan(status(sharding="off"), status(sharding="static"))


def test_cardinality_is_of_one_pass_over_all_servers() -> None:
    """Divided work has one length; whole copies add up; endless and unknown win."""
    assert plan(status(3, length=10), status(2, length=10)).cardinality == 10
    assert plan(status(3, length=10, sharding="off")).cardinality == 30
    assert plan(status(length=INFINITE), status(length=INFINITE)).cardinality == INFINITE
    assert plan(status(length=10), status(length=12)).cardinality == UNKNOWN
    assert plan(status(length=UNKNOWN), status(length=INFINITE)).cardinality == UNKNOWN


def test_the_seed_is_the_trainers_or_the_servers() -> None:
    """A trainer that names none takes the one that the spec search ran with."""
    assert plan(status()).seed == 5
    assert plan(status(), seed=9).seed == 9


def test_other_elements_after_a_death_are_not_deterministic() -> None:
    """A server that goes on with random ones is refused together with deterministic=True."""
    random = replace(status(2), recovery="stream")
    assert plan(random).count == 2
    with pytest.raises(PlanError, match="--recovery stream"):
        plan(status(1), random, deterministic=True)


def test_the_window_stays_within_the_budget() -> None:
    """Small elements: 128 MiB a worker; large: four; a small machine: a quarter of its memory; and
    never more than half of what may be held."""
    assert plan(status(2)).window.nbytes == 128 * MIB
    assert plan(status(2)).window.elements == 8192
    four = plan(status(2, spec="float32[16,1024,1024]"))
    assert four.window.nbytes == 4 * 64 * MIB
    tight = plan(status(4), memory=64 * MIB)
    assert tight.window.nbytes * 4 <= 16 * MIB
    own = plan(status(), memory_budget=1000).window
    assert (own.nbytes, own.held) == (500, 1000)
    assert "quarter" in plan(status()).memory


def test_very_large_elements_come_one_at_a_time() -> None:
    """Above 64 MiB an element is begun only when none is ahead."""
    assert plan(status(spec="float32[65,1024,1024]")).window.nbytes == 1


def test_batches_are_the_elements_of_a_plan() -> None:
    """The spec has their leading dimension, and a batch's bytes decide what may wait."""
    single = "(float32[1024,1024], str[])"
    assert str(plan(status(spec=single), batch=8).spec) == "(float32[None,1024,1024], str[None])"
    exact = plan(status(spec="float32[2]"), batch=8, drop_remainder=True)
    assert str(exact.spec) == "float32[8,2]"
    four = plan(status(2, spec="float32[1024,1024]"), batch=8)
    assert four.nbytes == 32 * MIB
    assert four.window.nbytes == 4 * 32 * MIB
    assert "workers x 4 x batch" in four.memory
    assert plan(status(spec="float32[1024,1024]"), batch=17).window.nbytes == 1
    assert plan(status(spec="float32[None]"), batch=8).nbytes is None


def test_a_count_of_batches_is_known_where_each_workers_elements_are() -> None:
    """One worker, or each with a whole copy; divided work may end in several smaller batches."""
    assert plan(status(length=10), batch=4).cardinality == 3
    assert plan(status(length=10), batch=4, drop_remainder=True).cardinality == 2
    assert plan(status(2, length=10, sharding="off"), batch=4).cardinality == 6
    assert plan(status(2, length=10), batch=4).cardinality == UNKNOWN
    assert plan(status(2, length=INFINITE), batch=4).cardinality == INFINITE


@pytest.mark.parametrize(
    "options",
    [{"seed": -1}, {"epoch": -1}, {"transport": "pigeon"}, {"memory_budget": 0},
     {"connect_timeout": 0.0}, {"first_element_timeout": -1.0}, {"give_up_after": 0.0},
     {"batch": 0}, {"batch": 2**20 + 1}, {"drop_remainder": True}],
)  # fmt: skip
def test_options_that_cannot_be_are_refused_by_name(options: dict[str, object]) -> None:
    """The sentence names the option."""
    with pytest.raises(OptionError, match=next(iter(options))):
        PullOptions(**options)  # type: ignore[arg-type]  # wrong on purpose
