"""The progress page: what is read of a worker while it runs, hangs, and is dead."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from genserver.protocol.worker_end import MAX_STREAMS as MOST_STREAMS
from genserver.protocol.worker_end import Credit, Dropped
from genserver.server import Worker
from genserver.server.lives import Making
from genserver.server.progress_page import ACTIVE, MAX_STREAMS, ROW, ProgressPage
from genserver.server.stalls import Reading

from ..support.bench import PLENTY, Bench


def seen_by(length: int, **rules: int) -> tuple[Bench, list[Reading]]:
    """A bench whose generator reads the page while it makes each element."""
    readings: list[Reading] = []

    def generate(worker: Worker) -> Iterator[int]:
        for number in range(length):
            readings.append(bench.page.read())
            yield number

    bench = Bench(generate, **rules)
    return bench, readings


def test_every_element_is_seen_under_its_number_while_it_is_made() -> None:
    """The first, those of the tight loop, and those that begin new columns."""
    bench, readings = seen_by(3000, exact_until=2**62)
    key = bench.open(1)
    while len(readings) < 3000:
        bench.turns(1)
        bench.chunks(key)
    assert [r.making for r in readings] == [Making(0, 0, n) for n in range(3000)]


def test_elements_that_take_no_time_are_told_turn_by_turn() -> None:
    """The page has about the number at which the turn began; `refine` brings the present one."""
    seen: list[Making | None] = []

    def generate(worker: Worker) -> Iterator[int]:
        for number in range(1000):
            if number == 900:
                seen.append(bench.page.read().making)
                bench.page.refine(0.0)
                seen.append(bench.page.read().making)
            yield number

    bench = Bench(generate)
    key = bench.open(1, elements=500)
    bench.turns(5)
    bench.runner._runs[key]._slow = False
    bench.exchange.apply(Credit(key, 1000, PLENTY))
    bench.turns(1)
    assert seen == [Making(0, 0, 501), Making(0, 0, 900)]


def test_between_elements_nothing_is_being_made() -> None:
    """A stream that has used up its credit leaves the page at rest, with the count and the time."""
    bench, _ = seen_by(100)
    bench.open(1, elements=7)
    bench.turns(5)
    reading = bench.page.read()
    assert (reading.made, reading.making) == (7, None)
    assert reading.seconds > 0.0
    assert bench.page.mean == pytest.approx(reading.seconds / 7)


def test_a_generator_that_raises_is_not_making_anything_any_more() -> None:
    """Nor is one that ends."""

    def failing(worker: Worker) -> Iterator[int]:
        yield 1
        raise ValueError

    for function in (failing, lambda worker: iter([1, 2])):
        bench = Bench(function)
        bench.open(1)
        bench.turns(5)
        assert bench.page.read().making is None


@pytest.mark.parametrize("error", [None, ValueError("late")])
def test_a_generator_that_is_being_closed_is_seen(error: Exception | None) -> None:
    """Under the element that it would make next; nothing is counted, and it ends at rest."""
    seen: list[Reading] = []

    def tidy(worker: Worker) -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            seen.append(bench.page.read())
            if error is not None:
                raise error

    bench = Bench(tidy)
    key = bench.open(1, elements=7)
    bench.turns(3)
    before = bench.page.read()
    bench.exchange.apply(Dropped(key))
    bench.turns(1)
    assert seen == [replace(before, making=Making(0, 0, 7))]
    assert bench.page.read() == before
    assert bench.page.inherit() == {}


def test_what_was_made_is_known_also_when_the_process_dies_in_a_finally_block() -> None:
    """The stream is over only when its generator is closed."""
    made: list[object] = []

    def tidy(worker: Worker) -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            bench.page.settle()  # as the supervisor does when it is dead
            made.append(bench.page.inherit())

    bench = Bench(tidy)
    key = bench.open(1, elements=7)
    bench.turns(3)
    bench.exchange.apply(Dropped(key))
    bench.turns(1)
    assert made == [{key: 7}]


def test_a_process_that_is_given_the_descriptor_writes_the_same_page() -> None:
    """What it wrote can be read after it was killed."""
    page = ProgressPage.shared()
    program = (
        "import os, signal, sys\n"
        "from genserver.server.progress_page import ROW, ProgressPage\n"
        "page = ProgressPage.inherited(int(sys.argv[1]))\n"
        "page.begin(-1, 3, 2, 70, 0)\n"
        "page.words[ROW] = 7\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(page.descriptor)],
        pass_fds=[page.descriptor], check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == -9
    assert page.read().making == Making(3, 2, 77)
    descriptor = page.descriptor
    page.close()
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(descriptor)


def test_the_next_life_learns_what_the_dead_one_made_of_each_stream() -> None:
    """Also of the stream whose turn was cut short."""
    page = ProgressPage()
    assert page.inherit() == {}
    first, second = page.open_stream(11, 1, 100), page.open_stream(11, 2, 0)
    page.begin(first, 0, 0, 100, 0)
    page.rest(first, 5, 1000, 105)
    page.begin(second, 0, 0, 0, 0)
    page.words[ROW] = 9
    assert page.settle() == Making(0, 0, 9)
    assert page.inherit() == {(11, 1): 105, (11, 2): 9}
    assert page.read() == Reading(made=5, seconds=1e-6)


def test_what_a_life_made_outlives_the_next_ones_until_its_stream_is_opened_again() -> None:
    """A life may die before a trainer is back."""
    page = ProgressPage()
    place = page.open_stream(11, 1, 100)
    page.open_stream(11, 2, 7)
    assert page.inherit() == page.inherit() == {(11, 1): 100, (11, 2): 7}
    assert page.open_stream(11, 1, 90) == place
    assert page.inherit() == {(11, 1): 90, (11, 2): 7}


def test_a_stream_takes_the_place_of_one_that_nobody_opened_again_last() -> None:
    """What earlier lives made is forgotten only where the page is full of it."""
    page = ProgressPage()
    for stream in range(MAX_STREAMS - 1):
        page.open_stream(11, stream, 100)
    page.inherit()
    assert page.open_stream(22, 0, 5) == MAX_STREAMS - 1
    assert page.open_stream(22, 1, 5) in range(MAX_STREAMS - 1)
    made = page.inherit()
    assert {key for key in made if key[0] == 22} == {(22, 0), (22, 1)}
    assert len(made) == MAX_STREAMS


def test_a_death_while_the_page_comes_to_rest_costs_no_element() -> None:
    """The number that was reached is written before the page says that nothing is being made."""
    page = ProgressPage()
    place = page.open_stream(11, 1, 100)
    page.begin(place, 0, 0, 100, 0)
    active = page.words[ACTIVE]
    page.rest(place, 5, 1000, 105)
    page.words[ACTIVE] = active  # as if it had been killed before the last word
    page.settle()
    assert page.inherit() == {(11, 1): 105}


def test_a_life_that_dies_before_it_makes_anything_died_of_nothing() -> None:
    """What the one before it was making is not seen again."""
    page = ProgressPage()
    page.begin(-1, 0, 0, 77, 0)
    assert page.settle() == Making(0, 0, 77)
    assert page.read().making is None
    assert page.settle() is None


def test_a_closed_stream_leaves_its_place_to_another() -> None:
    """The page has a place for each stream that a worker may hold open, and refuses no more."""
    assert MAX_STREAMS == MOST_STREAMS
    page = ProgressPage()
    places = [page.open_stream(7, stream, 0) for stream in range(MAX_STREAMS)]
    assert sorted(places) == list(range(MAX_STREAMS))
    assert page.open_stream(7, 100, 0) == -1
    page.close_stream(-1)
    page.close_stream(3)
    assert page.open_stream(7, 100, 0) == 3


def test_numbers_beyond_32_bits_are_read_as_they_are() -> None:
    """Streams of days."""
    page = ProgressPage()
    page.begin(-1, 2**31, 2**40, 2**62, 5)
    assert page.read().making == Making(2**31, 2**40, 2**62 + 5)
