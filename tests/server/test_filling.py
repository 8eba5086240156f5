"""Turns of many elements: what is taken between any two rows, batches, lent memory, whose turn."""

from __future__ import annotations

import random
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from genserver.protocol.chunk import Chunk
from genserver.protocol.columns import CHUNK_ELEMENTS, LARGE_CHUNK_BYTES
from genserver.protocol.messages import Open
from genserver.protocol.spec import parse_spec
from genserver.protocol.transport.exchange import Failure
from genserver.protocol.worker_events import Credit, Dropped
from genserver.server import Worker
from hypothesis import given
from hypothesis import strategies as st

from ..support.bench import PLENTY, Bench, numbers


def counting(length: int, before: Callable[[int], None] = lambda _: None) -> Any:
    """A generator function of 0, 1, ...; ``before`` runs in it before each element."""

    def count(worker: Worker) -> Iterator[int]:
        for i in range(worker.start, length):
            before(i)
            yield i

    return count


@given(
    length=st.integers(0, 60),
    takes=st.sets(st.integers(0, 60)),
    credits=st.lists(st.integers(1, 30), max_size=20),
    batch=st.integers(0, 7),
    drop=st.booleans(),
    odd=st.sets(st.integers(0, 60)),
)
def test_every_element_comes_once_and_in_order_whatever_is_taken_when(
    length: int, takes: set[int], credits: list[int], batch: int, drop: bool, odd: set[int]
) -> None:
    """Chunks that were taken between any two rows hold what they held then, at the end too."""
    seen: list[tuple[Chunk, bytes]] = []
    notes: list[Any] = []

    def take() -> None:
        chunks, finished = bench.take(key)
        seen.extend((chunk, np.asarray(chunk.columns[0]).tobytes()) for chunk in chunks)
        notes.append(finished)

    def generate(worker: Worker) -> Iterator[Any]:
        for i in range(length):
            if i in takes:
                take()
            # An array without dimensions goes the short way, a list the long one.
            yield [i] if i in odd else np.full(1, i)

    bench = Bench(generate, parse_spec("int64[1]"))
    key = bench.open(1, elements=0, batch=batch, drop_remainder=drop)
    made = 0
    for more in [*credits, PLENTY]:
        made += more
        bench.exchange.apply(Credit(key, made, PLENTY))
        bench.turns(3)
        take()
    assert [finished is None for finished in notes if finished] == [False]
    step = max(1, batch)
    expected = length - length % step if drop else length
    assert numbers([chunk for chunk, _ in seen]) == list(range(expected))
    assert all(np.asarray(c.columns[0]).tobytes() == then for c, then in seen)
    assert sum(chunk.n for chunk, _ in seen) == -(-expected // step)


def test_two_threads_lose_and_repeat_nothing() -> None:
    """One fills as fast as it can while the other takes all the time."""
    bench = Bench(counting(200_000))
    key = bench.open(1)
    got: list[int] = []

    def take() -> None:
        finished = None
        while finished is None:
            chunks, finished = bench.take(key)
            got.extend(numbers(chunks))

    thread = threading.Thread(target=take)
    thread.start()
    while thread.is_alive():
        bench.runner._turn()
    thread.join(10)
    assert got == list(range(200_000))


def test_the_first_element_after_nothing_was_found_is_announced() -> None:
    """Who got something comes again by itself; who got nothing is told of the next element."""

    def before(i: int) -> None:
        if i in (3, 6, 7):
            bench.exchange.take(key)
        told.append(len(bench.told))

    told: list[int] = []
    bench = Bench(counting(10, before))
    key = bench.open(1, elements=10)
    bench.turns(1)
    # At 3 and 6 there was something, at 7 element 6; there is nothing only when asked twice.
    assert told == [0] + [1] * 9
    assert bench.told == [(key, False), (key, True)]
    bench.exchange.apply(Credit(key, PLENTY, PLENTY))
    assert [len(bench.chunks(key)) for _ in range(3)] == [1, 0, 0]


def test_an_element_that_comes_while_nobody_comes_back_is_announced_once() -> None:
    """After a take that found nothing, and not again before the next such take."""

    def before(i: int) -> None:
        if i == 4:
            bench.exchange.take(key)
            bench.exchange.take(key)

    bench = Bench(counting(9, before))
    key = bench.open(1, elements=8)
    bench.turns(1)
    assert bench.told == [(key, False), (key, False), (key, True)]


def test_a_full_chunk_and_the_end_of_credit_are_announced_for_at_once() -> None:
    """And so is the end of the data."""
    bench = Bench(counting(CHUNK_ELEMENTS + 5))
    key = bench.open(1, elements=CHUNK_ELEMENTS + 2)
    bench.turns(1)
    assert bench.told == [(key, False), (key, True)]
    bench.turns(1)
    assert bench.told[2:] == [(key, True)]
    bench.exchange.apply(Credit(key, PLENTY, PLENTY))
    bench.turns(1)
    assert bench.told[3:] == [(key, True)]


def test_an_element_may_be_begun_while_bytes_are_left() -> None:
    """So that one may overshoot, by the short way and by the long one."""
    for value in (np.zeros(4), [0.0] * 4):

        def same(worker: Worker, value: Any = value) -> Iterator[Any]:
            while True:
                yield value

        bench = Bench(same, parse_spec("float64[4]"))
        key = bench.open(1, nbytes=65)
        bench.turns(5)
        assert sum(chunk.n for chunk in bench.chunks(key)) == 3


@pytest.mark.parametrize("what", ["command", "drop", "stop"])
def test_a_turn_ends_for_what_cannot_wait(what: str) -> None:
    """After the element that is being made, in the middle of a batch too."""
    made: list[int] = []
    acts: dict[str, Callable[[], None]] = {
        "command": lambda: bench.exchange.command(lambda: None),
        "drop": lambda: bench.exchange.apply(Dropped(key)),
        "stop": lambda: bench.exchange.stop(),
    }

    def before(i: int) -> None:
        made.append(i)
        if i == 5:
            acts[what]()

    bench = Bench(counting(100, before))
    key = bench.open(1, batch=50)
    bench.turns(1)
    assert made == list(range(6))


def test_batches_of_two_streams_come_in_turn() -> None:
    """With several streams a turn is one element: here a batch."""
    order: list[tuple[int, int]] = []

    def count(worker: Worker) -> Iterator[int]:
        for i in range(9):
            order.append((id(worker), i))
            yield i

    bench = Bench(count)
    keys = [bench.open(1, batch=3), bench.open(2, batch=3)]
    bench.turns(4)
    first, second = order[0][0], order[3][0]
    assert [who for who, _ in order] == [first] * 3 + [second] * 3 + [first] * 3 + [second] * 3
    assert [numbers(bench.chunks(key)) for key in keys] == [list(range(6))] * 2


def test_a_guest_puts_the_random_states_back_after_each_element() -> None:
    """Also within a batch: what the process draws between two elements is its own."""

    def drawing(worker: Worker) -> Iterator[int]:
        while True:
            yield random.randrange(10**9)

    bench = Bench(drawing, guest=True)
    key = bench.open(1, batch=4)
    state = random.getstate()
    for _ in range(4):
        bench.turns(1)
        assert random.getstate() == state
    alone = Bench(drawing)
    other = alone.open(1, elements=4)
    alone.turns(9)
    random.setstate(state)
    assert numbers(bench.chunks(key)) == numbers(alone.chunks(other))


def test_a_stream_of_batches_goes_on_in_the_generators_own_elements() -> None:
    """OPEN's start counts batches, worker.start elements; who ignores it is run again."""

    def ignoring(worker: Worker) -> Iterator[int]:
        yield from range(10)

    for function in (counting(10), ignoring):
        bench = Bench(function)
        key = bench.open(1, start=2, batch=3)
        bench.turns(3)
        chunks = bench.chunks(key)
        assert [chunk.columns[0].tolist() for chunk in chunks] == [[[6, 7, 8]], [[9]]]


def test_a_stream_of_batches_takes_the_searched_generator() -> None:
    """Nothing runs twice, and its first element is the first row."""
    begun: list[int] = []

    def counted(worker: Worker) -> Iterator[int]:
        begun.append(1)
        yield from range(4)

    bench = Bench(counted)
    bench.runner.search(Open(0, 0, 1, 0, 7))
    key = bench.open(1, batch=2)
    bench.turns(3)
    assert numbers(bench.chunks(key)) == [0, 1, 2, 3]
    assert begun == [1]


@pytest.mark.parametrize("kind", ["raises", "refused", "shape"])
def test_a_failure_in_a_batch_has_the_generators_own_number(kind: str) -> None:
    """The whole batches before it are sent, the half-made one is not."""

    def failing(worker: Worker) -> Iterator[Any]:
        for _ in range(7):
            yield np.zeros(2, np.int8)
        if kind == "raises":
            raise ValueError("broken")
        yield None if kind == "refused" else np.zeros(3, np.int8)

    bench = Bench(failing, parse_spec("int8[None]"))
    key = bench.open(1, start=0, batch=3)
    bench.turns(9)
    chunks, finished = bench.take(key)
    assert sum(chunk.n for chunk in chunks) == 2
    assert finished is not None
    assert isinstance(finished.failure, Failure)
    assert finished.failure.element == 7
    if kind == "shape":
        assert finished.failure.text == (
            "element: cannot be batched: shape [3] after [2] in one batch; pad it in the "
            "generator, or batch in the trainer with padded_batch"
        )


SPEC = parse_spec("(float32[40,50], int64)")


def test_what_a_generator_fills_and_yields_is_not_copied() -> None:
    """The array that `Worker.empty` gave is the row of the chunk, read-only after its yield."""
    given: list[np.ndarray] = []

    def filling(worker: Worker) -> Iterator[Any]:
        for i in range(8):
            image = worker.empty((40, 50))
            image[:] = i
            given.append(image)
            yield image, i
            with pytest.raises(ValueError, match="read-only"):
                image[:] = 99

    for batch in (0, 4):
        given.clear()
        bench = Bench(filling, SPEC)
        key = bench.open(1, batch=batch)
        bench.turns(9)
        chunks = bench.chunks(key)
        images = np.concatenate([c.columns[0].reshape(-1, 40, 50) for c in chunks])
        assert images[:, 3, 3].tolist() == list(range(8))
        (column,) = [chunk.columns[0] for chunk in chunks]
        assert all(np.shares_memory(image, column) for image in given)


def test_an_array_that_is_yielded_twice_is_copied() -> None:
    """It was sent with the first element, and is like any other from then on."""

    def twice(worker: Worker) -> Iterator[Any]:
        image = worker.empty((40, 50))
        image[:] = 5
        yield image, 0
        yield image, 1

    bench = Bench(twice, SPEC)
    key = bench.open(1)
    bench.turns(3)
    (chunk,) = bench.chunks(key)
    assert chunk.columns[0][:, 0, 0].tolist() == [5, 5]


def test_an_array_that_is_asked_for_and_not_yielded_does_no_harm() -> None:
    """Its row is used by what is yielded instead, and it can no longer be written."""

    def other(worker: Worker) -> Iterator[Any]:
        image = worker.empty((40, 50))
        for i in range(3):
            yield np.full((40, 50), i, np.float32), i
        with pytest.raises(ValueError, match="read-only"):
            image[:] = 9

    bench = Bench(other, SPEC)
    key = bench.open(1)
    bench.turns(5)
    chunks, finished = bench.take(key)
    assert chunks[0].columns[0][:, 7, 7].tolist() == [0, 1, 2]
    assert finished is not None
    assert finished.failure is None


@pytest.mark.parametrize(
    ("shape", "dtype"), [((40, 51), "float32"), ((40, 50), "float64"), (5, "float32"), ((), bool)]
)
def test_what_the_spec_does_not_have_comes_from_numpy(shape: Any, dtype: Any) -> None:
    """Another shape or dtype gives an array of the generator's own."""
    asked: list[np.ndarray] = []

    def asking(worker: Worker) -> Iterator[Any]:
        for i in range(3):
            asked.append(worker.empty(shape, dtype))
            yield np.zeros((40, 50), np.float32), i

    bench = Bench(asking, SPEC)
    bench.open(1)
    bench.turns(2)
    assert all(array.base is None and array.flags.writeable for array in asked)


def test_another_thread_gets_memory_of_its_own() -> None:
    """Rows belong to the element that the generator makes, of which a helper knows nothing."""
    asked: list[np.ndarray] = []

    def helped(worker: Worker) -> Iterator[Any]:
        for i in range(2):
            helper = threading.Thread(target=lambda: asked.append(worker.empty((40, 50))))
            helper.start()
            helper.join(10)
            yield np.zeros((40, 50), np.float32), i

    bench = Bench(helped, SPEC)
    bench.open(1)
    bench.turns(2)
    assert [array.base for array in asked] == [None, None]


def test_empty_needs_no_server() -> None:
    """A generator that is run by hand gets numpy's memory."""
    array = Worker().empty([2, np.int64(3)], "uint8")
    assert (array.shape, array.dtype, array.flags.writeable) == ((2, 3), np.uint8, True)
    assert Worker().empty(4).dtype == np.float32


def test_memory_of_any_size_is_lent_where_sizes_are_free() -> None:
    """Each volume begins a chunk of its own when its size differs from the one before."""
    given: list[np.ndarray] = []

    def volumes(worker: Worker) -> Iterator[Any]:
        for size in (30, 31, 31, 29):
            volume = worker.empty((size, 40, 50), np.float32)
            volume[:] = size
            given.append(volume)
            yield volume

    bench = Bench(volumes, parse_spec("float32[None,40,50]"))
    key = bench.open(1)
    bench.turns(9)
    chunks = bench.chunks(key)
    assert [chunk.columns[0].shape[:2] for chunk in chunks] == [(1, 30), (2, 31), (1, 29)]
    columns = [chunks[i].columns[0] for i in (0, 1, 1, 2)]
    assert all(map(np.shares_memory, given, columns))


def test_memory_goes_back_when_a_chunk_is_let_go() -> None:
    """Neither the builder nor the runner keeps the columns of a chunk that was taken."""
    given: list[weakref.ref[np.ndarray]] = []

    def allocate(nbytes: int) -> np.ndarray:
        memory = np.frombuffer(bytearray(nbytes), np.uint8)
        given.append(weakref.ref(memory))
        return memory

    def large(worker: Worker) -> Iterator[Any]:
        while True:
            yield np.zeros(LARGE_CHUNK_BYTES // 8)

    bench = Bench(large, parse_spec(f"float64[{LARGE_CHUNK_BYTES // 8}]"))
    bench.exchange._allocate = lambda key: allocate
    key = bench.open(1, elements=3)
    for _ in range(3):
        bench.turns(1)
        chunks = bench.chunks(key)
        assert chunks[0].columns[0].base is given[-1]()
        del chunks
        assert given[-1]() is None
    assert len(given) == 3


def test_a_chunk_is_a_quarter_of_the_window_at_most() -> None:
    """A worker never puts all its credit into one chunk, and waits while the trainer uses it up."""
    size = 1 << 20

    def generate(worker: Worker) -> Iterator[Any]:
        while True:
            yield np.zeros(size, np.uint8)

    bench = Bench(generate, parse_spec(f"uint8[{size}]"))
    key = bench.open(0, nbytes=16 * size)
    bench.turns(100)
    assert [chunk.n for chunk in bench.chunks(key)] == [4, 4, 4, 4]


def test_what_is_used_before_its_turn_is_over_does_not_count_as_less_than_nothing() -> None:
    """The level that is measured is a size: the trainer may be ahead of what was counted."""
    levels: list[int] = []
    used = 0

    def use(_: int) -> None:
        nonlocal used
        used += sum(chunk.n for chunk in bench.take(key)[0])
        bench.exchange.apply(Credit(key, PLENTY, PLENTY, used))
        levels.append(bench.exchange.level[0])

    bench = Bench(counting(9, use), parse_spec("int64[]"))
    key = bench.open(1)
    bench.turns(3)
    assert used >= 8
    assert min(levels) == 0
