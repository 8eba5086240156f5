"""When a worker is started again, and when no more: deaths, time and chance as arguments."""

from __future__ import annotations

import pytest
from genserver.server.lives import (
    FIRST_WAIT,
    LONGEST_WAIT,
    POISON_DEATHS,
    STABLE,
    WINDOW,
    Death,
    GiveUp,
    Lives,
    Making,
    Restart,
)
from hypothesis import given
from hypothesis import strategies as st

KILLED = Death("SIGKILL")
#: Seconds between two events: within a wait, within a window, beyond both.
gaps = st.one_of(st.floats(0, 2), st.floats(2, 40), st.floats(40, 200))
chances = st.floats(0, 1, exclude_max=True)


def died(lives: Lives, now: float, death: Death = KILLED, chance: float = 0.0) -> Restart | GiveUp:
    return lives.died(death, now, chance)


def test_the_first_restart_is_immediate_and_the_waits_double() -> None:
    """0, 0.5, 1, 2, 4 seconds; the sixth death within a minute is one too many."""
    lives = Lives()
    waits = [died(lives, now) for now in (0.0, 1.0, 2.0, 4.0, 8.0)]
    assert waits == [Restart(0.0), Restart(0.5), Restart(1.0), Restart(2.0), Restart(4.0)]
    assert lives.life == 5
    end = died(lives, 16.0)
    assert isinstance(end, GiveUp)
    assert "after 5 restarts within 60 s, which is all that --max-restarts allows" in end.text


def test_deaths_that_are_far_apart_are_never_too_many() -> None:
    """One every 15 s stays within the budget for ever."""
    lives = Lives()
    for n in range(200):
        assert isinstance(died(lives, 15.0 * n), Restart)


def test_a_minute_without_a_death_starts_anew() -> None:
    """Counted from when the worker was ready, not from the death before."""
    lives = Lives(budget=10)
    died(lives, 0.0)
    died(lives, 1.0)
    lives.ready(30.0)
    assert died(lives, 30.0 + STABLE - 1) == Restart(1.0)
    lives.ready(100.0)
    assert died(lives, 100.0 + STABLE) == Restart(0.0)


def test_a_planned_end_neither_counts_nor_waits_nor_disturbs_a_stable_time() -> None:
    """A worker that is recycled every second is stable after a minute of it."""
    lives = Lives(budget=2)
    died(lives, 0.0)
    for now in range(1, 100):
        lives.ready(float(now))
        assert lives.left() == Restart(0.0)
    assert lives.life == 100
    assert died(lives, 100.0) == Restart(0.0)


def test_many_allowed_restarts_can_be_had() -> None:
    """The waits never keep a worker from dying as often as --max-restarts says."""
    for budget in (1, 5, 60, 1000):
        lives, now = Lives(budget=budget), 0.0
        for _ in range(budget):
            verdict = died(lives, now)
            assert isinstance(verdict, Restart)
            now += verdict.wait
        assert now < WINDOW
        assert isinstance(died(lives, now), GiveUp)


def test_an_element_that_kills_three_times_is_named() -> None:
    """Same element, same cause, three in a row: no restart, whatever the budget."""
    lives = Lives(budget=1000)
    death = Death("SIGABRT, an abort in native code", Making(1, 0, 77))
    for n in range(POISON_DEATHS - 1):
        assert isinstance(died(lives, 200.0 * n, death), Restart)
    end = died(lives, 200.0 * POISON_DEATHS, death)
    assert isinstance(end, GiveUp)
    assert end.text.startswith(
        "SIGABRT, an abort in native code, 3 times in a row while it made element 77 of epoch 0 "
        "(worker.index 1); "
    )


@pytest.mark.parametrize(
    "other",
    [
        Death("SIGSEGV", Making(0, 0, 77)),
        Death("SIGABRT", Making(0, 0, 78)),
        Death("SIGABRT", Making(0, 1, 77)),
        Death("SIGABRT", Making(1, 0, 77)),
        Death("SIGABRT", None),
    ],
)
def test_deaths_that_differ_are_no_poison(other: Death) -> None:
    """Another element, epoch, share or signal in between begins the count anew."""
    lives = Lives(budget=1000)
    same = Death("SIGABRT", Making(0, 0, 77))
    for n, death in enumerate([same, same, other, same, same, other] * 5):
        assert isinstance(died(lives, float(n), death), Restart)


def test_deaths_between_elements_are_no_poison() -> None:
    """A worker that is killed from outside is judged by the budget alone."""
    lives = Lives(budget=10)
    assert all(isinstance(died(lives, float(n)), Restart) for n in range(10))


@given(
    budget=st.integers(0, 8),
    events=st.lists(st.tuples(st.sampled_from(["die", "ready", "leave"]), gaps, chances)),
)
def test_no_window_has_more_restarts_than_the_budget(
    budget: int, events: list[tuple[str, float, float]]
) -> None:
    """Whatever happens when; and every process that is started is a new life."""
    lives, now, lifes = Lives(budget=budget), 0.0, 0
    restarts: list[float] = []
    for event, gap, chance in events:
        now += gap
        if event == "ready":
            lives.ready(now)
            continue
        verdict = lives.left() if event == "leave" else lives.died(KILLED, now, chance)
        if isinstance(verdict, GiveUp):
            recent = [at for at in restarts if now - at < WINDOW]
            assert len(recent) == budget
            return
        lifes += 1
        assert lives.life == lifes
        if event == "die":
            restarts.append(now)
            assert sum(now - at < WINDOW for at in restarts) <= budget
            now += verdict.wait


@given(chances=st.lists(chances, min_size=2, max_size=30), budget=st.integers(1, 100))
def test_waits_in_a_row_never_shrink_and_are_bounded(chances: list[float], budget: int) -> None:
    """Each is between half of the doubled time and all of it, up to the longest."""
    # As many restarts as wanted, by deaths that are far enough apart without a stable time.
    lives, now, before = Lives(budget=budget), 0.0, 0.0
    longest = min(LONGEST_WAIT, WINDOW / budget)
    for n, chance in enumerate(chances):
        verdict = lives.died(KILLED, now, chance)
        assert isinstance(verdict, Restart)
        full = 0.0 if n == 0 else min(longest, FIRST_WAIT * 2 ** (n - 1))
        assert full / 2 <= verdict.wait <= full
        assert verdict.wait >= before or full == longest
        before = verdict.wait
        now += WINDOW + 1
