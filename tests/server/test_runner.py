"""The runner against an exchange, in one thread: what the worker's main thread does."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from genserver.protocol.messages import Open
from genserver.protocol.spec import parse_spec
from genserver.protocol.transport.exchange import Failure
from genserver.protocol.worker_events import Credit, Dropped
from genserver.server import Worker
from genserver.server.runner import StopRequested

from ..support.bench import PLENTY, SPEC, Bench


def count_up(worker: Worker) -> Iterator[int]:
    yield from range(5)


def test_a_stream_runs_as_far_as_its_credit() -> None:
    """Three elements of credit are three elements; the end needs one more."""
    bench = Bench(count_up)
    key = bench.open(1, elements=3)
    bench.turns(3)
    assert bench.taken(key) == ([0, 1, 2], None)
    bench.exchange.apply(Credit(key, PLENTY, PLENTY))
    bench.turns(3)
    numbers, finished = bench.taken(key)
    assert numbers == [3, 4]
    assert finished is not None
    assert finished.failure is None


def test_streams_take_turns() -> None:
    """Two streams with credit advance alike, each with its own generator."""
    bench = Bench(count_up)
    keys = [bench.open(1), bench.open(2)]
    bench.turns(6)
    assert [bench.taken(key)[0] for key in keys] == [[0, 1, 2], [0, 1, 2]]


def test_a_dropped_stream_is_closed_at_once() -> None:
    """Its generator's finally block runs at the next turn."""
    closed: list[int] = []

    def tidy(worker: Worker) -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(1)

    bench = Bench(tidy)
    key = bench.open(1)
    bench.turns(2)
    bench.exchange.apply(Dropped(key))
    bench.turns(1)
    assert closed == [1]


def test_a_generator_that_reads_start_seeks_any_other_is_run_again() -> None:
    """Either way the stream begins at element 3."""

    def seeking(worker: Worker) -> Iterator[int]:
        yield from range(worker.start, 5)

    for function in (count_up, seeking):
        bench = Bench(function)
        key = bench.open(1, start=3)
        bench.turns(3)
        numbers, finished = bench.taken(key)
        assert numbers == [3, 4]
        assert finished is not None


def test_the_searched_generator_goes_on() -> None:
    """The generator that found the spec is used by the stream that asks for the same."""
    begun: list[int] = []

    def counted(worker: Worker) -> Iterator[int]:
        begun.append(1)
        yield from range(3)

    bench = Bench(counted)
    assert bench.runner.search(Open(0, 0, 1, 0, 7)) == SPEC
    key = bench.open(1)
    bench.turns(4)
    assert bench.taken(key)[0] == [0, 1, 2]
    assert begun == [1]
    bench.open(2)
    bench.turns(1)
    assert begun == [1, 1]


def test_a_searched_generator_that_nobody_asks_for_is_closed() -> None:
    """Another seed means another generator, and the searched one ends."""
    closed: list[int] = []

    def tidy(worker: Worker) -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append(worker.seed)

    bench = Bench(tidy)
    bench.runner.search(Open(0, 0, 1, 0, 99))
    bench.open(1, elements=1)
    bench.turns(1)
    assert closed == [99]


@pytest.mark.parametrize(
    "error", [ValueError("bad"), SystemExit(3), KeyboardInterrupt(), MemoryError(), StopIteration()]
)
def test_whatever_the_generator_raises_is_a_failure_of_its_stream(error: BaseException) -> None:
    """Never an end of data, never the end of the worker."""

    def raising(worker: Worker) -> Iterator[int]:
        yield 0
        raise error

    bench = Bench(raising)
    key = bench.open(1)
    bench.turns(2)
    numbers, finished = bench.taken(key)
    assert numbers == [0]
    assert isinstance(finished.failure, Failure)
    assert finished.failure.element == 1
    other = bench.open(2)
    bench.turns(1)
    assert bench.taken(other)[0] == [0]


def test_an_element_that_does_not_fit_fails_its_stream_by_path() -> None:
    """The failure's text names where in the element the mistake is."""

    def changing(worker: Worker) -> Iterator[Any]:
        yield 0
        yield np.float64(1.5)

    bench = Bench(changing)
    key = bench.open(1)
    bench.turns(2)
    _, finished = bench.taken(key)
    assert finished.failure.text.startswith("element: the spec says int64[]")


def test_streams_have_their_own_global_random_states() -> None:
    """Two streams in turn draw what each would draw alone."""

    def drawing(worker: Worker) -> Iterator[int]:
        for _ in range(3):
            yield random.randrange(10**6) * 10**6 + int(np.random.randint(10**6))

    alone = Bench(drawing)
    key = alone.open(1)
    alone.turns(4)
    expected, _ = alone.taken(key)
    bench = Bench(drawing)
    keys = [bench.open(1), bench.open(2)]
    bench.turns(8)
    assert [bench.taken(k)[0] for k in keys] == [expected, expected]


def test_an_empty_pass_after_a_full_one_is_a_failure_unless_a_worker_explains_it() -> None:
    """Of a generator without a worker: from its first element on, and when it is run again."""
    passes = iter([[], [1, 2], [], [], []])

    def changing() -> Iterator[int]:
        yield from next(passes)

    bench = Bench(changing, worker=None)
    results = []
    for stream, start in enumerate([0, 0, 0, 3, 0], 1):
        key = bench.open(stream, start=start)
        bench.turns(3)
        numbers, finished = bench.taken(key)
        results.append((numbers, finished.failure and finished.failure.kind))
    # The fourth goes on at element 3 on a new link.
    kinds = [None, None, "UsedUp", "NotRepeatable", "UsedUp"]
    assert results == [([1, 2] if n == 1 else [], kind) for n, kind in enumerate(kinds)]


def test_a_pass_beside_a_live_one_finds_the_used_up_iterator_too() -> None:
    """Of two streams that read one iterator, the second is told when it gets nothing."""
    rows = iter(range(2))

    def shared() -> Iterator[int]:
        yield from rows

    bench = Bench(shared, worker=None)
    first = bench.open(1, elements=2)
    bench.turns(2)
    second = bench.open(2)
    bench.turns(2)
    assert bench.taken(first)[0] == [0, 1]
    assert bench.taken(second)[1].failure.text.startswith("the function gave 2 elements")


def test_a_failure_is_one_line_in_the_workers_log(caplog: pytest.LogCaptureFixture) -> None:
    """What was raised and what cannot travel, with epoch and element; a stop is no failure."""

    def failing() -> Iterator[Any]:
        yield 0
        raise ValueError("scan 4 is broken\nin two lines")

    def unable() -> Iterator[Any]:
        yield None

    def mute() -> Iterator[Any]:
        raise LookupError
        yield

    def stopping() -> Iterator[Any]:
        raise StopRequested
        yield

    for function in (failing, unable, mute):
        bench = Bench(function, worker=None)
        bench.open(1)
        bench.turns(2)
    bench = Bench(stopping, worker=None)
    bench.open(1)
    with pytest.raises(StopRequested):
        bench.turns(1)
    assert caplog.messages == [
        "ValueError: scan 4 is broken [epoch 0, element 1]",
        "ElementError: element: None cannot travel; yield an array, or leave the part out "
        "[epoch 0, element 0]",
        "LookupError [epoch 0, element 0]",
    ]


def failure_of(bench: Bench, key: Any) -> Failure:
    _, finished = bench.taken(key)
    assert finished is not None
    assert finished.failure is not None
    return finished.failure


def test_a_generator_that_must_seek_and_does_not_fails_its_stream() -> None:
    """--recovery seek, where it shows only when a stream is opened again."""
    bench = Bench(count_up, recovery="seek")
    key = bench.open(1, start=3)
    bench.turns(3)
    failure = failure_of(bench, key)
    assert (failure.kind, failure.element, failure.traceback) == ("CannotSeek", 3, "")
    assert "did not read worker.start before its first yield" in failure.text
    fresh = bench.open(2)
    bench.turns(3)
    assert bench.taken(fresh)[0] == [0, 1, 2, 3, 4]


def test_a_generator_that_goes_on_repeats_nothing() -> None:
    """--recovery stream: no element is run again, and the random states are others."""

    def random_numbers(worker: Worker) -> Iterator[int]:
        while True:
            yield random.getrandbits(60)
            yield int(worker.rng.integers(2**60))
            yield int(np.random.randint(2**60))

    def first_nine(start: int, recovery: str) -> list[int]:
        bench = Bench(random_numbers, recovery=recovery)
        key = bench.open(1, start=start, elements=start + 9)
        bench.turns(3)
        return bench.taken(key)[0]

    fresh, later = first_nine(0, "stream"), first_nine(3, "stream")
    assert not set(fresh) & set(later)
    assert later == first_nine(3, "stream")
    assert fresh == first_nine(0, "auto")
    assert first_nine(3, "auto")[:6] == fresh[3:]


def test_what_a_dead_life_made_and_nobody_got_is_counted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """--recovery stream: by stream, from the page that both lives share."""
    first = Bench(count_up, recovery="stream")
    first.open(1, elements=5)
    first.open(2, elements=2)
    first.turns(10)
    second = Bench(count_up, recovery="stream", page=first.page)
    second.open(1, start=1)
    second.open(2, start=2)
    second.open(3)
    second.turns(10)
    assert second.page.read().lost == 4
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("4 elements were made and never sent: lost")


def test_what_is_lost_is_counted_once_however_many_lives_die_before_the_trainer_is_back() -> None:
    """--recovery stream: the count waits in the page until the stream is opened again."""
    first = Bench(count_up, recovery="stream")
    first.open(1, elements=5)
    first.turns(10)
    Bench(count_up, recovery="stream", page=first.page)
    for start in (2, 3):
        later = Bench(count_up, recovery="stream", page=first.page)
        later.open(1, start=start, elements=start + 1)
        later.turns(10)
        assert later.page.read().lost == 3


def test_a_rerun_lets_others_have_their_turn() -> None:
    """A stream that was opened meanwhile advances beside it."""
    begun: list[int] = []

    def long(worker: Worker) -> Iterator[int]:
        for number in range(1000):
            begun.append(worker.epoch)
            yield number

    bench = Bench(long)
    again = bench.open(1, start=500, elements=510)
    fresh = bench.open(2, elements=5)
    bench.turns(30)
    assert bench.taken(fresh)[0] == [0, 1, 2, 3, 4]
    bench.turns(10)
    assert bench.taken(again)[0] == list(range(500, 510))
    assert len(begun) == 510 + 5


def test_a_rerun_that_takes_too_long_fails_its_stream() -> None:
    """--max-rerun, by the time that the elements took before."""
    bench = Bench(count_up, max_rerun=0.0)
    first = bench.open(1, elements=2)
    bench.turns(3)
    assert bench.taken(first)[0] == [0, 1]
    key = bench.open(2, start=3)
    bench.turns(3)
    assert failure_of(bench, key).kind == "RerunTooLong"


def test_a_generator_that_is_shorter_the_second_time_fails_its_stream() -> None:
    """It is never taken for the end of the data."""
    bench = Bench(count_up)
    key = bench.open(1, start=7)
    bench.turns(3)
    assert failure_of(bench, key).kind == "NotRepeatable"


@pytest.mark.parametrize(("recovery", "kind"), [("auto", "NotRepeatable"), ("seek", "CannotSeek")])
def test_a_generator_that_is_empty_the_second_time_fails_its_stream(
    recovery: str, kind: str
) -> None:
    """One that does not seek: an end there would be the rest of the data, lost without a word."""

    def nothing(worker: Worker) -> Iterator[int]:
        yield from ()

    bench = Bench(nothing, recovery=recovery)
    key = bench.open(1, start=7)
    bench.turns(3)
    assert failure_of(bench, key).kind == kind


@pytest.mark.parametrize("recovery", ["auto", "seek"])
def test_a_generator_that_goes_on_at_its_very_end_just_ends(recovery: str) -> None:
    """It read where to begin, and there was nothing left."""

    def seeking(worker: Worker) -> Iterator[int]:
        yield from range(worker.start, 5)

    bench = Bench(seeking, recovery=recovery)
    key = bench.open(1, start=5)
    bench.turns(3)
    numbers, finished = bench.taken(key)
    assert (numbers, finished.failure) == ([], None)


@pytest.mark.parametrize("batch", [0, 3])
def test_a_worker_is_worn_after_so_many_elements(batch: int) -> None:
    """At the end of an element or a batch, with all that it made ready to be sent."""
    made: list[int] = []

    def count(worker: Worker) -> Iterator[int]:
        for number in range(worker.start, 100):
            made.append(number)
            yield number

    bench = Bench(count, max_items=7)
    key = bench.open(1, batch=batch)
    bench.runner.run()
    assert made == list(range(9 if batch else 7))
    assert bench.taken(key)[0] == made


def long_way(number: int) -> Any:
    return [number]


@pytest.mark.parametrize("make", [int, long_way])
def test_a_worker_that_may_make_less_than_a_batch_makes_one(make: Callable[[int], Any]) -> None:
    """In each of its lives, so that all elements arrive."""

    def count(worker: Worker) -> Iterator[Any]:
        yield from map(make, range(worker.start, 20))

    spec = parse_spec("int64[1]") if make is long_way else SPEC
    got: list[int] = []
    for life in range(3):
        bench = Bench(count, spec, max_items=2)
        key = bench.open(1, start=life, batch=8)
        bench.runner.run()
        got += bench.taken(key)[0]
    assert got == list(range(20))


def test_a_worn_worker_ends_the_rerun_that_it_has_begun() -> None:
    """Another stream's elements may wear it out: each next life would begin the rerun again."""

    def count(worker: Worker) -> Iterator[int]:
        yield from range(100)

    bench = Bench(count, max_items=2)
    again = bench.open(1, start=50)
    beside = bench.open(2)
    bench.runner.run()
    assert bench.taken(again)[0] == [50]
    assert bench.taken(beside)[0]


def test_a_stream_without_credit_does_not_keep_a_worn_worker() -> None:
    """What it has run again so far is not waited for."""
    bench = Bench(count_up, max_items=2)
    again = bench.open(1, start=3)
    beside = bench.open(2)
    bench.turns(1)
    bench.exchange.apply(Credit(again, 0, 0))
    bench.runner.run()
    assert bench.taken(again)[0] == []
    assert bench.taken(beside)[0] == [0, 1]


def test_elements_that_are_run_again_do_not_wear() -> None:
    """Or a worker that begins beyond its limit would never make anything."""
    bench = Bench(count_up, max_items=2)
    key = bench.open(1, start=3)
    bench.runner.run()
    assert bench.taken(key)[0] == [3, 4]
