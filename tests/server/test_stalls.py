"""For how long an element has been in the making, from readings and times alone."""

from __future__ import annotations

import pytest
from genserver.protocol.link import OVERSLEPT
from genserver.protocol.transport import loop
from genserver.server import supervisor, worker_main
from genserver.server.lives import Making
from genserver.server.stalls import Reading, StallWatch, tick_for

AT = Reading(made=6, making=Making(0, 0, 7))
NEXT = Reading(made=7, making=Making(0, 0, 8))
IDLE = Reading(made=6)


def looks(
    *readings: Reading, watch: StallWatch | None = None, start: float = 1000.0
) -> list[float]:
    """Seconds within the element at looks half a second apart."""
    watch = watch or StallWatch()
    return [watch.look(reading, start + 0.5 * n) for n, reading in enumerate(readings)]


def test_the_time_within_one_element_adds_up() -> None:
    """From the first look that sees it."""
    assert looks(AT, AT, AT, AT) == [0.0, 0.5, 1.0, 1.5]


def test_the_next_element_starts_anew() -> None:
    """A worker that makes slow elements one after the other is not stalled."""
    assert looks(AT, AT, NEXT, NEXT) == [0.0, 0.5, 0.0, 0.5]


def test_an_element_that_is_made_again_starts_anew() -> None:
    """The count of elements tells it from one that never ended."""
    again = Reading(made=7, making=AT.making)
    assert looks(AT, AT, again, again) == [0.0, 0.5, 0.0, 0.5]


def test_a_worker_without_credit_is_not_stalled() -> None:
    """Between elements no time adds up, however long it rests."""
    assert looks(*[IDLE] * 50) == [0.0] * 50
    assert looks(AT, IDLE, AT, AT) == [0.0, 0.0, 0.0, 0.5]


def test_the_watchers_own_sleep_is_not_the_workers() -> None:
    """After a gap between two looks only what was seen before it and after it counts."""
    watch = StallWatch()
    assert looks(AT, AT, AT, watch=watch) == [0.0, 0.5, 1.0]
    after = 1001.0 + 600.0
    assert watch.look(AT, after) == 1.0
    assert watch.look(AT, after + OVERSLEPT) == 1.0 + OVERSLEPT


@pytest.mark.parametrize("limit", [0.1, 0.15, 0.3, 1.0, 2.0, 60.0])
def test_a_worker_that_notes_each_turn_is_seen_before_the_limit(limit: float) -> None:
    """However the two clocks lie, two looks within the limit see two notes."""
    notes = tick_for(limit, worker_main.SHORTEST_TICK, loop.TICK_SECONDS)
    looks = tick_for(limit, supervisor.SHORTEST_TICK, supervisor.TICK_SECONDS)
    assert notes + looks < limit


def test_without_a_limit_nobody_hurries() -> None:
    """The longest is enough."""
    assert tick_for(None, 0.02, 0.5) == 0.5
