"""Who serves a pass where servers come and go: pure."""

from __future__ import annotations

import math

import pytest
from genserver.client.roll_call import (
    FRESH,
    LOOK_EVERY,
    NEWCOMER_SECONDS,
    Chosen,
    RollCall,
    Standing,
)
from genserver.protocol.endpoint import Endpoint, parse_endpoint
from hypothesis import given
from hypothesis import strategies as st

A, B, C = (parse_endpoint(f"tcp://10.0.0.{number}:5555") for number in (1, 2, 3))
LIMITS = {Standing.SILENT: 30.0, Standing.STARTING: 300.0}


def call(*found: Endpoint, before: tuple[Endpoint, ...] = (), now: float = 0.0) -> RollCall:
    """A roll call after the first look."""
    made = RollCall(before, LIMITS)
    assert made.look_due(now)
    made.found(found, now)
    return made


def look_again(roll: RollCall, now: float, *found: Endpoint) -> None:
    assert roll.look_due(now)
    roll.found(found or roll.candidates, now)


def test_all_who_are_ready_serve_in_the_order_of_the_look() -> None:
    """Workers are numbered through in that order."""
    roll = call(A, B)
    roll.stands(B, Standing.READY)
    assert roll.decide(0.1) is None
    roll.stands(A, Standing.READY)
    assert roll.decide(0.1) == Chosen((A, B))


@pytest.mark.parametrize("standing", [Standing.SILENT, Standing.STARTING])
def test_the_first_pass_waits_for_all_until_the_limit(standing: Standing) -> None:
    """Then it begins without who is not ready, and says who that is."""
    roll = call(A, B)
    assert not roll.anybody
    roll.stands(A, Standing.READY)
    roll.stands(B, standing)
    assert roll.anybody
    last = LIMITS[standing] - 0.1
    look_again(roll, last)
    assert roll.decide(last) is None
    look_again(roll, last + LOOK_EVERY)
    assert roll.decide(last + LOOK_EVERY) == Chosen((A,), (B,))


def test_a_later_pass_waits_for_its_old_servers_and_hardly_for_newcomers() -> None:
    """Who starts while a pass ends serves the one behind the next."""
    roll = call(A, B, before=(A,))
    roll.stands(A, Standing.READY)
    roll.stands(B, Standing.STARTING)
    assert roll.awaited == (A,)
    assert roll.decide(0.9) is None
    look_again(roll, NEWCOMER_SECONDS)
    assert roll.decide(NEWCOMER_SECONDS) == Chosen((A,), (B,))


def test_who_left_the_name_is_not_waited_for() -> None:
    """Where all did, those who are there now are waited for like the first."""
    roll = call(B, before=(A,))
    assert roll.awaited == (B,)
    roll.stands(B, Standing.READY)
    assert roll.decide(0.1) == Chosen((B,))


def test_who_comes_while_others_are_waited_for_is_there_at_the_start() -> None:
    """A pass begins with a look that is no older than a second."""
    roll = call(A)
    roll.stands(A, Standing.READY)
    assert roll.decide(FRESH) is None
    look_again(roll, FRESH, A, B, C)
    assert roll.decide(FRESH) is None
    roll.stands(B, Standing.READY)
    roll.stands(C, Standing.READY)
    assert roll.decide(FRESH + 0.1) == Chosen((A, B, C))


def test_who_is_of_no_use_is_not_waited_for() -> None:
    """Nor is it said to be late; of such alone there is no pass."""
    roll = call(A, B)
    roll.stands(A, Standing.UNFIT)
    assert roll.awaited == (B,)
    roll.stands(B, Standing.READY)
    assert roll.decide(0.1) == Chosen((B,))
    roll.stands(B, Standing.UNFIT)
    assert roll.decide(0.1) is None


def test_of_nobody_there_is_no_pass_however_late() -> None:
    """Whoever waits for it decides when that is enough."""
    roll = call()
    assert (roll.decide(0.1), roll.candidates) == (None, ())
    look_again(roll, 1e6)
    assert roll.decide(1e6) is None


def test_without_limits_it_is_waited_for_ever() -> None:
    """As with wait=True, for those who were there and in the first pass."""
    roll = RollCall((), dict.fromkeys(LIMITS, math.inf))
    roll.found((A, B), 0.0)
    roll.stands(A, Standing.READY)
    look_again(roll, 1e6)
    assert roll.decide(1e6) is None


@given(
    st.lists(
        st.tuples(
            st.frozensets(st.sampled_from([A, B, C])),
            st.dictionaries(st.sampled_from([A, B, C]), st.sampled_from(Standing)),
        ),
        min_size=1,
        max_size=20,
    ),
    st.frozensets(st.sampled_from([A, B, C])),
)
def test_only_who_is_ready_and_was_found_last_serves(
    steps: list[tuple[frozenset[Endpoint], dict[Endpoint, Standing]]],
    before: frozenset[Endpoint],
) -> None:
    """Whatever happens, and nobody of the pass before is passed over early."""
    roll, stood = RollCall(before, LIMITS), dict.fromkeys((A, B, C), Standing.SILENT)
    for step, (found, news) in enumerate(steps):
        now = step * LOOK_EVERY
        for endpoint in set(roll.candidates) - found:
            stood[endpoint] = Standing.SILENT  # it is new when it comes back
        roll.found(sorted(found, key=str), now)
        for endpoint in found & set(news):
            roll.stands(endpoint, news[endpoint])
            stood[endpoint] = news[endpoint]
        chosen = roll.decide(now)
        if chosen is not None:
            assert chosen.members
            assert all(stood[endpoint] is Standing.READY for endpoint in chosen.members)
            assert set(chosen.members) | set(chosen.left_out) <= found
            early = now < LIMITS[Standing.SILENT]
            assert not early or not before & set(chosen.left_out)
