"""Kept elements in a circle: which, how many, whose. Without processes."""

from __future__ import annotations

import random
from collections import namedtuple
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from genserver.protocol.child.stages import stage
from genserver.protocol.messages import Open
from genserver.protocol.normalize import Normalizer, infer_spec
from genserver.protocol.spec import ElementSpec
from genserver.server import Worker
from genserver.server.config import ConfigError, make_config
from genserver.server.items import NOTHING, Items
from genserver.server.kinds import call_maker
from genserver.server.replay import Replay, TooMuchToReplay, owned, replaying, room_for, weight
from genserver.server.source import Caller, Source, source_over, stage_of
from hypothesis import given
from hypothesis import strategies as st

from ..support.bench import Bench

PLENTY = 10**9


class Counted:
    """A generator that notes what it makes, and when it is closed."""

    def __init__(self, length: int = PLENTY) -> None:
        self.length = length
        self.made: list[int] = []
        self.closed = 0

    def __call__(self, worker: Worker) -> Iterator[int]:
        try:
            for number in range(worker.index, self.length, worker.count):
                self.made.append(number)
                yield number
        finally:
            self.closed += 1


def kept(made: Any, count: int, *, length: int = -1, room: int = PLENTY) -> Replay:
    return Replay(made, count, length=length, room=room)


def some(replay: Replay, worker: Worker, count: int) -> list[Any]:
    """The first elements that it gives, without those that must be waited for."""
    return list(islice((e for e in replay(worker) if e is not NOTHING), count))


@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(-1, 40), st.integers(0, 50),
    st.integers(1, 4), st.integers(0, 3),
)  # fmt: skip
def test_element_i_is_kept_element_i_modulo_their_number(
    count: int, own: int, length: int, start: int, workers: int, index: int
) -> None:
    """Wherever a stream begins, however many elements there are, over all workers; and a pass is as
    long as without."""
    index %= workers
    made = Counted(own * workers)
    replay = kept(made, count, length=length)
    share = max(1, len(range(index, count, workers)))
    circle = list(range(index, own * workers, workers))[:share]
    found = some(replay, Worker(index, workers, start=start), 30)
    whole = 30 + start if length < 0 else len(range(index, length, workers))
    assert found == [circle[i % len(circle)] for i in range(start, whole)][:30]
    assert len(made.made) <= share


def test_all_passes_share_what_is_made_once() -> None:
    """Two at a time, one that leaves early, and a later one: four elements are made for all."""
    made = Counted()
    replay = kept(made, 4)
    first, second = replay(Worker()), replay(Worker(epoch=1))
    assert [next(first), next(second), next(second), next(first), next(second)] == [0, 0, 1, 1, 2]
    first.close()
    assert made.closed == 0
    assert some(replay, Worker(epoch=5, seed=9), 9) == [0, 1, 2, 3, 0, 1, 2, 3, 0]
    assert (made.made, made.closed) == ([0, 1, 2, 3], 1)


def test_what_the_generator_does_afterwards_changes_nothing() -> None:
    """It fills one buffer again and again; the kept elements are copies, with room of their own."""
    buffer = np.zeros(3)

    def reusing(_worker: Worker) -> Iterator[dict[str, Any]]:
        for number in range(3):
            buffer[:] = number
            yield {"a": buffer[:2], "b": (buffer, [buffer])}
        buffer[:] = 99

    elements = some(kept(reusing, 3), Worker(), 6)
    assert [float(e["a"][0]) for e in elements] == [0, 1, 2, 0, 1, 2]
    assert not any(np.shares_memory(buffer, part) for e in elements for part in (e["a"], e["b"][0]))


def test_a_generator_that_raises_begins_anew_with_the_next_pass() -> None:
    """Its error is the stream's; a circle of what there was would hide it."""
    times = iter(range(2))

    def failing(_worker: Worker) -> Iterator[int]:
        attempt = next(times)
        yield 1
        if not attempt:
            raise OSError("no disk")
        yield 2

    replay = kept(failing, 2)
    with pytest.raises(OSError, match="no disk"):
        some(replay, Worker(), 3)
    assert some(replay, Worker(), 5) == [1, 2, 1, 2, 1]


def test_the_random_states_are_the_generators_own() -> None:
    """The kept elements are those that it makes alone, whoever else draws meanwhile."""

    def draws(worker: Worker) -> Iterator[float]:
        while True:
            yield random.random() + np.random.random() + worker.rng.random()

    alone = some(kept(draws, 3), Worker(seed=5), 3)
    replay = kept(draws, 3)
    stream = replay(Worker(seed=5))
    mixed = []
    for _ in range(3):
        random.seed(1)
        before = random.getstate()
        mixed.append(next(stream))
        assert random.getstate() == before
    assert mixed == alone


def test_asynchronous_generators_and_functions_over_items_are_replayed() -> None:
    """Both as without; the items are divided, because nothing is dealt any more."""

    async def counting() -> Any:
        for number in range(100):
            yield number

    make = call_maker(counting, Caller("t", counting, {}), "t")
    assert some(kept(make, 3), Worker(), 5) == [0, 1, 2, 0, 1]

    async def squared(number: int) -> int:
        return number**2

    source = source_over(Items(range(9), "t"), squared, {}, (), "t", concurrency=2)
    made = replaying(source, 4, target="t", length=None, room=PLENTY)
    assert (made.items, made.length, made.ahead) == (None, 9, 0)
    assert list(made.make(Worker(1, 2))) == [1, 9, 1, 9]


def test_a_pipeline_is_refused() -> None:
    """Its last stage would keep what the first one lends."""
    pipeline = stage(range, items=[1]).then(str)
    with pytest.raises(ConfigError, match="m:p is a pipeline, and --replay is for one stage"):
        replaying(stage_of(pipeline, "m:p", 0), 4, target="m:p", length=None, room=1)


@pytest.mark.parametrize("sizes", [[100, 100], [1, 200]], ids=["the first says", "counted"])
def test_more_than_a_worker_may_keep_is_one_sentence(sizes: list[int]) -> None:
    """By the size of the first element before the others are made; and as they come."""
    made = []

    def growing(_worker: Worker) -> Iterator[Any]:
        for size in sizes:
            made.append(size)
            yield np.zeros(size, np.uint8)

    with pytest.raises(TooMuchToReplay, match=r"2 elements of .* are more than the .* that each"):
        some(kept(growing, 2, room=290), Worker(), 2)
    assert made == sizes[: 1 if sizes[0] == 100 else 2]


def test_the_workers_share_a_quarter_of_the_memory() -> None:
    """As many as are asked for, or as would be chosen."""
    assert room_for(4, memory=1600, cores=2) == 100
    assert room_for(None, memory=1600, cores=5) == 100
    assert room_for(None, memory=1600, cores=1) == 400


def class_of(value: object) -> str:
    """What a case is called."""
    return type(value).__name__


Point = namedtuple("Point", "x y")


class Tensor:
    def __init__(self) -> None:
        self.data = np.arange(4.0)

    def __array__(self, *_args: object, **_options: object) -> Any:
        return self.data


@pytest.mark.parametrize(
    "value",
    [1, 2.5, "text", b"bytes", np.float32(3), True, [1, 2], Point(np.ones(2), "y"),
     {"b": np.array(["a", "bc"], object), "a": (1,)}, bytearray(b"ab"), memoryview(b"cd"), Tensor(),
     np.ones((2, 3))[:, ::2], {}, ()],
    ids=class_of,
)  # fmt: skip
def test_a_copy_is_what_the_generator_gave(value: Any) -> None:
    """Same structure, dtypes, values; and it weighs something."""
    copy, spec = owned(value), infer_spec(value)
    normalizer = Normalizer(spec)
    assert infer_spec(copy) == spec
    for one, other in zip(normalizer.leaves(value), normalizer.leaves(copy), strict=True):
        if isinstance(one, np.ndarray):
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other
    assert weight(copy) > 0


@pytest.mark.parametrize("value", [None, {1: 2}, object(), {1, 2}], ids=class_of)
def test_what_cannot_travel_is_refused_where_it_is_sent(value: Any) -> None:
    """With its path, and not while it is copied."""
    copy = owned(value)
    assert copy is value or copy == value


@pytest.mark.parametrize(
    ("options", "text"),
    [({"replay": 0}, "1 or more"), ({"replay": 4, "max_items": 9}, "--max-items"),
     ({"replay": 4, "sharding": "dynamic"}, "--sharding dynamic")],
)  # fmt: skip
def test_options_that_contradict_it_are_refused(options: dict[str, Any], text: str) -> None:
    """With one sentence that names the other one."""
    with pytest.raises(ConfigError, match=text):
        make_config("m:g", bind="tcp://127.0.0.1:0", workers=None, arguments={}, **options)


def test_streams_of_the_runner_get_them() -> None:
    """The element that was searched for is one of them, a stream begins anywhere without running
    anything again, and the end of the worker closes the generator."""
    made = Counted()
    bench = Bench(made)
    source = Source(made, True, None, -2)
    bench.runner._source = replaying(source, 3, target="t", length=7, room=PLENTY)
    assert isinstance(bench.runner.search(Open(0, 0, 1, 0, 7)), ElementSpec)
    key, late = bench.open(1), bench.open(2, start=5)
    bench.turns(20)
    assert bench.taken(key)[0] == [0, 1, 2, 0, 1, 2, 0]
    assert bench.taken(late)[0] == [2, 0]
    assert made.made == [0, 1, 2]
    unfinished = Counted()
    bench.runner._source = replaying(
        Source(unfinished, True, None, -2), 3, target="t", length=None, room=PLENTY
    )
    bench.open(3, elements=1)
    bench.turns(2)
    bench.exchange.stop()
    bench.runner.run()
    assert unfinished.closed == 1
