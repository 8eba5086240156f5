"""Counting what is read in slices of time, with a clock that the elements move."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from genserver.protocol.child.rates import Flow, NothingCame, Plan, percentiles, rates_of
from hypothesis import given
from hypothesis import strategies as st


class Clock:
    """Seconds, which pass while elements are made."""

    def __init__(self) -> None:
        self.now = 0.0
        self.made = 0

    def __call__(self) -> float:
        return self.now

    def passes(self, seconds: float, length: int = 10**9) -> Any:
        def begin() -> Iterator[int]:
            for number in range(length):
                self.now += seconds
                self.made += 1
                yield number

        return begin


def plan(**fields: Any) -> Plan:
    return Plan(**{"warm_up": 0.25, "seconds": 0.25, "slices": 3} | fields)


@given(st.floats(1e-3, 20.0), st.integers(1, 1000))
def test_every_slice_has_the_rate_that_elements_are_made_at(seconds: float, length: int) -> None:
    """However fast they are, over the ends of passes; and a stage ends, at its limit in good time:
    at most one element of each begins after it."""
    clock = Clock()
    found = rates_of(Flow(clock.passes(seconds, length)), plan(limit=2.0), clock)
    assert found.rates == pytest.approx([1 / seconds] * len(found.rates))
    assert len(found.rates) == 3 or clock.now > 2.0
    assert clock.now <= 2.0 + 2 * seconds + 0.01
    assert found.length == (length if clock.made > length else 0)


def test_the_first_elements_do_not_count() -> None:
    """They were made before anybody read."""
    clock = Clock()

    def begin() -> Iterator[int]:
        yield from range(50)
        yield from clock.passes(0.1)()

    found = rates_of(Flow(begin), plan(least=51), clock)
    assert found.rates == pytest.approx([10.0] * 3)


def test_a_pass_without_elements_ends_it() -> None:
    """Instead of beginning passes for ever; it says how long the one before was."""
    lengths = iter([4, 0])
    with pytest.raises(NothingCame) as end:
        rates_of(Flow(lambda: iter(range(next(lengths)))), plan())
    assert end.value.before == 4


def test_no_element_is_kept_while_the_next_is_made() -> None:
    """A generator of large ones has the memory of one for the next."""
    alive = 0

    class Element:
        def __init__(self) -> None:
            nonlocal alive
            alive += 1
            assert alive <= 2  # the one before may still be in the reader's hand

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    clock = Clock()
    rates_of(Flow(lambda: (Element() for _ in clock.passes(0.01)())), plan(), clock)
    assert alive <= 2


def test_percentiles_are_those_of_single_elements() -> None:
    """One slow element of fifty is the 99th, not the middle."""
    clock = Clock()

    def some() -> Iterator[int]:
        for number in range(10**6):
            clock.now += 1.0 if number % 50 == 49 else 0.01
            yield number

    half, most = percentiles(some(), 10.0, clock)
    assert (half, most) == (pytest.approx(0.01), pytest.approx(1.0))
