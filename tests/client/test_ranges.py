"""Numbers that are mostly neighbours, as a few pairs."""

from __future__ import annotations

from itertools import chain, pairwise

from genserver.client.ranges import Ranges
from hypothesis import given
from hypothesis import strategies as st

numbers = st.integers(0, 30)


@given(st.lists(numbers, max_size=40))
def test_it_is_a_set(added: list[int]) -> None:
    """Whatever is added in whatever order, and again, is in it; nothing else is."""
    ranges, expected = Ranges(), set[int]()
    for number in added:
        ranges.add(number)
        expected.add(number)
        assert {n for n in range(-1, 33) if n in ranges} == expected
        assert {n for pair in ranges.pairs for n in range(*pair)} == expected


@given(st.lists(numbers, max_size=40))
def test_as_few_pairs_as_there_can_be(added: list[int]) -> None:
    """They rise, and no two touch."""
    ranges = Ranges()
    for number in added:
        ranges.add(number)
        assert all(a < b for a, b in pairwise(chain.from_iterable(ranges.pairs)))


@given(st.sets(numbers), st.sets(numbers))
def test_it_goes_on_from_its_pairs(first: set[int], more: set[int]) -> None:
    """Those of one are another, which grows on its own."""
    ranges = Ranges()
    for number in first:
        ranges.add(number)
    before = ranges.pairs
    other = Ranges(before)
    for number in more:
        other.add(number)
    assert {n for n in range(40) if n in other} == first | more
    assert ranges.pairs == before


def test_neighbours_are_one_pair() -> None:
    """However many they are, as soon as the last gap is filled."""
    ranges = Ranges([(0, 500_000), (500_001, 10**9)])
    ranges.add(500_000)
    assert ranges.pairs == ((0, 10**9),)


def test_what_is_no_number_is_not_in_it() -> None:
    """Nor is anything else that can be asked for."""
    assert "1" not in Ranges([(0, 3)])
    assert None not in Ranges([(0, 3)])
