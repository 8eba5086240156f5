"""Worlds of a server, its workers and a trainer: every order of events in small ones, and random
orders in larger ones. No element is lost, none comes twice, each stream ends with its count or with
one typed error, and nothing is left of it."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)  # fmt: skip

from ..support.world import WORK, Faults, World, explore


@pytest.mark.parametrize(
    ("fault", "worlds"),
    [("cuts", 1000), ("drops", 100), ("crashes", 700), ("leaves", 400), ("repeats", 400),
     ("naps", 200), ("restarts", 500), ("returns", 300), ("silences", 100)],
)  # fmt: skip
def test_every_moment_of_a_fault(fault: str, worlds: int) -> None:
    """One worker, three elements, two of them ahead: wherever the fault strikes, from the first
    message on, everything comes once."""
    reached, ends = explore(World((3,), Faults(**{fault: 1})))
    assert reached > worlds
    assert ends > 1


@pytest.mark.parametrize("recovery", ["seek", "stream", "none"])
@pytest.mark.parametrize("fault", ["crashes", "restarts", "naps"])
def test_every_moment_of_a_death_in_every_mode(recovery: str, fault: str) -> None:
    """Without recovery the stream fails, unless it is over before the news comes."""
    reached, _ = explore(World((3,), Faults(**{fault: 1}), recovery=recovery).greet())
    assert reached > 90


def test_two_workers_do_not_disturb_each_other() -> None:
    """Every order of what happens at one and at the other, with a worker's death at any moment."""
    reached, _ = explore(World((1, 0), Faults(crashes=1)).greet())
    assert reached > 1000


class Fates(RuleBasedStateMachine):
    """Three workers and any amount of bad luck."""

    world: World

    @initialize(
        lengths=st.lists(st.integers(0, 12), min_size=3, max_size=3), window=st.integers(1, 5),
        recovery=st.sampled_from(["auto", "seek", "stream", "none"]),
    )  # fmt: skip
    def begin(self, lengths: list[int], window: int, recovery: str) -> None:
        self.world = World(tuple(lengths), Faults(), recovery=recovery, window=window)
        self.recovery = recovery
        self.struck: set[str] = set()

    @rule(picks=st.lists(st.integers(0, 1000), min_size=1, max_size=12))
    def work(self, picks: list[int]) -> None:
        for pick in picks:
            steps = self.world.steps()
            if steps:
                self.world.take(steps[pick % len(steps)])

    @precondition(lambda self: not self.world.over)
    @rule(
        fault=st.sampled_from([field.name for field in fields(Faults)]),
        pick=st.integers(0, 1000),
    )  # fmt: skip
    def strike(self, fault: str, pick: int) -> None:
        self.world.faults = Faults(**{fault: 1})
        steps = [step for step in self.world.steps() if step[0] not in WORK]
        if steps:
            self.world.take(steps[pick % len(steps)])
            self.struck.add(fault)
        self.world.faults = Faults()

    @rule()
    def wait(self) -> None:
        self.world.second()  # far fewer than a peer is given up after

    @rule()
    def wait_long(self) -> None:
        for _ in range(16):
            self.world.second()
            self.everything()

    @rule(seconds=st.sampled_from([3, 16, 125]))
    def sleep(self, seconds: int) -> None:
        self.world.sleep(seconds)
        self.world.second()

    @rule()
    def everything(self) -> None:
        for _ in range(100):
            steps = self.world.steps()
            if steps:
                self.world.take(steps[-1])

    @invariant()
    def nothing_is_wrong(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        assert self.world.settle(), "a stream never ended"
        self.world.check()
        for place in self.world.places:
            if self.recovery != "none":
                assert place.error is None
                assert place.count == place.taken == place.length
            event(f"ended with {place.error or 'its count'}")
        for fault in self.struck:
            event(f"struck by {fault}")


TestFates = Fates.TestCase
TestFates.settings = settings(
    max_examples=40, stateful_step_count=30, report_multiple_bugs=False,
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
)  # fmt: skip
