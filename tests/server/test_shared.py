"""One generator for several streams: its elements by number. Without processes."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from genserver.protocol.messages import Open
from genserver.server import Worker
from genserver.server.items import NOTHING, NoItem
from genserver.server.shared import KEPT_BESIDES, Shared
from hypothesis import given
from hypothesis import strategies as st

OPENING = Open(1, 0, 1, 0, 7, group=5, shared=True)
LENGTH = 12


class Counted:
    """A generator that notes what it makes, from ``worker.start`` on if it seeks."""

    def __init__(self, *, seeks: bool) -> None:
        self.seeks = seeks
        self.made: list[int] = []
        self.closed = 0

    def __call__(self, worker: Worker) -> Iterator[tuple[int, float]]:
        first = worker.start if self.seeks else 0
        try:
            for number in range(first, LENGTH):
                self.made.append(number)
                yield number, random.random()
        finally:
            self.closed += 1


def number_of(shared: Shared, number: int) -> int:
    """The element, in as many turns as it takes."""
    for _ in range(2 * LENGTH):
        element = shared.element(number)
        if element is not NOTHING:
            return int(element[0])
    raise AssertionError("never given")


@given(st.booleans(), st.lists(st.integers(0, LENGTH + 2), max_size=30))
def test_every_element_is_given_whatever_was_asked_before(seeks: bool, numbers: list[int]) -> None:
    """Also again, backwards, from the middle, and behind the end: then with a number from which on
    there are none."""
    shared = Shared(Counted(seeks=seeks), OPENING)
    for number in numbers:
        if number < LENGTH:
            assert number_of(shared, number) == number
        else:
            with pytest.raises(NoItem) as end:
                number_of(shared, number)
            assert LENGTH <= end.value.total <= number


def test_what_is_asked_for_in_order_is_made_once() -> None:
    """By several, each some steps ahead of the other."""
    made = Counted(seeks=False)
    shared = Shared(made, OPENING)
    shared.members = 2
    for number in (1, 0, 2, 4, 3, 5, 4, 6, 8, 7):
        assert number_of(shared, number) == number
    assert made.made == list(range(9))


@pytest.mark.parametrize("seeks", [False, True])
def test_a_pass_may_begin_in_any_order(seeks: bool) -> None:
    """The first few elements are asked for by several streams at once: each is made once."""
    made = Counted(seeks=seeks)
    shared = Shared(made, OPENING)
    shared.members = 3
    assert [number_of(shared, number) for number in (5, 2, 0, 7, 3, 1, 4, 6)]
    assert made.made == list(range(8))


def test_what_is_skipped_is_kept_for_whoever_asks_later_and_bounded() -> None:
    """So many, the latest."""
    made = Counted(seeks=False)
    shared = Shared(made, OPENING)
    assert number_of(shared, LENGTH - 1) == LENGTH - 1
    for number in range(LENGTH - KEPT_BESIDES, LENGTH):
        assert number_of(shared, number) == number
    assert made.made == list(range(LENGTH))
    assert number_of(shared, 0) == 0
    assert made.made == [*range(LENGTH), 0]
    assert made.closed == 1


def test_what_is_forgotten_is_made_again() -> None:
    """From there on by who seeks, from the beginning by who does not."""
    made = Counted(seeks=True)
    shared = Shared(made, OPENING)
    assert [number_of(shared, number) for number in range(4)] == [0, 1, 2, 3]
    shared.forget(2)
    assert number_of(shared, 2) == 2
    assert made.made == [0, 1, 2, 3, 2]


@pytest.mark.parametrize("kind", [OSError, SystemExit])
def test_an_error_is_raised_for_everybody_and_again(kind: type[BaseException]) -> None:
    """The end of a generator that raised is no end of data."""

    def make(_worker: Worker) -> Iterator[int]:
        yield 0
        raise kind("the disk is gone")

    shared = Shared(make, OPENING)
    assert shared.element(0) == 0
    for number in (1, 2, 1):
        with pytest.raises(kind, match="the disk is gone"):
            shared.element(number)
    assert shared.element(0) == 0


def test_its_random_states_are_its_own() -> None:
    """What else draws in between changes nothing, and is not changed."""

    def draws(between: bool) -> list[float]:
        made: list[float] = []

        def make(_worker: Worker) -> Iterator[float]:
            while True:
                yield random.random()

        shared = Shared(make, OPENING)
        for number in range(5):
            made.append(shared.element(number))
            if between:
                random.random()
        return made

    assert draws(between=True) == draws(between=False)
    random.seed(3)
    expected = random.random()
    random.seed(3)
    draws(between=False)
    assert random.random() == expected


def test_streams_of_one_pass_share_and_others_do_not() -> None:
    """Those that looked before there was a trainer are of the first pass that comes."""
    early = Shared(Counted(seeks=True), Open(1, 0, 1, 0, 7, shared=True))
    assert early.fits(OPENING)
    shared = Shared(Counted(seeks=True), OPENING)
    assert shared.fits(OPENING)
    for other in (
        Open(1, 0, 1, 0, 7, group=6), Open(1, 1, 2, 0, 7, group=5), Open(1, 0, 1, 1, 7, group=5),
        Open(1, 0, 1, 0, 8, group=5), Open(1, 0, 1, 0, 7),
    ):  # fmt: skip
        assert not shared.fits(other)
