"""Which elements come next when several workers have some: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
from genserver.client.mixing import (
    ALONE_LARGE,
    ALONE_SMALL,
    GROUP,
    RUN_BYTES,
    Mixer,
    Part,
    Run,
    copied,
    goes_with,
    merged,
)
from genserver.protocol.chunk import LARGE_ELEMENT, Chunk
from genserver.protocol.columns import ALIGNMENT, aligned_empty
from genserver.protocol.normalize import TextArray
from genserver.protocol.stream import Delivery
from hypothesis import given
from hypothesis import strategies as st

#: An element is (source, number within the source).
Element = tuple[int, int]


def delivery(source: int, first: int, n: int, *, skip: int = 0, weight: int = 16) -> Delivery:
    """Elements ``first`` to ``first + n`` of a source, said to weigh so many bytes each."""
    numbers = np.array([(source, number) for number in range(first, first + n)])
    return Delivery(first, skip, Chunk(n, n * weight, (numbers,)))


def elements(run: Run) -> list[Element]:
    """A run's elements as the consumer gets them."""
    rows = run.n // len(run.parts)
    parts = [part[0] for part in run.parts]
    return [tuple(map(int, part[row])) for row in range(rows) for part in parts]  # type: ignore[misc,index]  # numeric, of two columns


def run_of(parts: Sequence[Part]) -> Run:
    """A run of small elements."""
    return Run(parts[0][0].shape[0] * len(parts), tuple(parts), small=True, done=(), sources=())


def everything(mixer: Mixer) -> Iterator[Run]:
    while (run := mixer.next()) is not None:
        yield run


def mixer_of(*lengths: int, ordered: bool = False, weight: int = 16) -> Mixer:
    """One chunk of each source; all sources may have more."""
    mixer = Mixer(len(lengths), ordered=ordered, group=GROUP)
    for source, n in enumerate(lengths):
        if n > 0:
            mixer.put(source, delivery(source, 0, n, weight=weight))
    return mixer


def in_turn(counts: Sequence[int]) -> list[Element]:
    """The deterministic order: everybody's first element, everybody's second, ..."""
    rounds = range(max(counts, default=0))
    return [(s, n) for n in rounds for s, count in enumerate(counts) if n < count]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, Delivery | None] | None]]:
    """How many elements each source has, and what happens: deliveries and ends (None) of each
    source in its order, and calls of `next` (None) anywhere between."""
    counts, queues = [], []
    for source in range(draw(st.integers(1, 6))):
        queue: list[tuple[int, Delivery | None]] = []
        first = 0
        for n in draw(st.lists(st.integers(1, 9), max_size=4)):
            skip = draw(st.integers(0, min(n - 1, first)))
            weight = draw(st.sampled_from([16, 16, 16, LARGE_ELEMENT]))
            queue.append((source, delivery(source, first - skip, n, skip=skip, weight=weight)))
            first += n - skip
        counts.append(first)
        queues.append([*queue, (source, None)])
    order = draw(st.permutations([s for s, queue in enumerate(queues) for _ in queue]))
    happens: list[tuple[int, Delivery | None] | None] = []
    for source in order:
        happens += [queues[source].pop(0), *[None] * draw(st.integers(0, 3))]
    return counts, happens


@given(histories(), st.booleans(), st.integers(1, GROUP))
def test_every_element_comes_once_and_each_workers_in_order(
    history: tuple[list[int], list[tuple[int, Delivery | None] | None]], ordered: bool, group: int
) -> None:
    """However deliveries, ends and calls fall, nothing is lost, repeated or acknowledged early, and
    deterministic order is the turn of the workers."""
    counts, happens = history
    mixer = Mixer(len(counts), ordered=ordered, group=group)
    seen: list[Element] = []
    for event in happens:
        if event is None:
            runs = [run for run in [mixer.next()] if run is not None]
        else:
            source, arrived = event
            runs = []
            mixer.end(source) if arrived is None else mixer.put(source, arrived)
        for run in runs:
            seen += elements(run)
            assert run.small or len(run.parts) <= group
            for source, gone in run.done:
                last = gone.first + gone.chunk.n - 1
                assert (source, last) in elements(run)
    seen += [element for run in everything(mixer) for element in elements(run)]
    assert mixer.over
    for source, count in enumerate(counts):
        assert [n for s, n in seen if s == source] == list(range(count))
    assert not ordered or seen == in_turn(counts)


@given(histories(), st.booleans())
def test_every_delivery_is_acknowledged_once_and_in_order(
    history: tuple[list[int], list[tuple[int, Delivery | None] | None]], ordered: bool
) -> None:
    """With its last element and no earlier: that is when its worker may forget it."""
    counts, happens = history
    mixer = Mixer(len(counts), ordered=ordered, group=GROUP)
    given_out: list[list[Delivery]] = [[] for _ in counts]
    for event in happens:
        if event is not None:
            source, arrived = event
            mixer.end(source) if arrived is None else mixer.put(source, arrived)
            given_out[source] += [arrived] if arrived is not None else []
    done: list[list[Delivery]] = [[] for _ in counts]
    for run in everything(mixer):
        for source, gone in run.done:
            done[source].append(gone)
    assert [list(map(id, d)) for d in done] == [list(map(id, d)) for d in given_out]


@given(histories())
def test_what_is_ready_is_never_kept_for_others(
    history: tuple[list[int], list[tuple[int, Delivery | None] | None]],
) -> None:
    """In the default order there is a run whenever an element waits."""
    counts, happens = history
    mixer = Mixer(len(counts), ordered=False, group=GROUP)
    waiting = 0
    for event in happens:
        if event is None:
            run = mixer.next()
            assert (run is None) == (waiting == 0)
            waiting -= run.n if run is not None else 0
        else:
            source, arrived = event
            mixer.end(source) if arrived is None else mixer.put(source, arrived)
            waiting += arrived.n if arrived is not None else 0


@pytest.mark.parametrize("weight", [16, LARGE_ELEMENT])
@pytest.mark.parametrize("lengths", [(8, 8), (32, 5, 17), (9, 9, 9, 9), (4, 30, 2, 8, 16, 11)])
def test_batches_mix_while_all_workers_have_elements(lengths: tuple[int, ...], weight: int) -> None:
    """As long as nobody has run out, four elements in a row are of as many workers as there are, of
    four at most."""
    runs = []
    for run in everything(mixer_of(*lengths, weight=weight)):
        runs += elements(run)
        if any(n == lengths[source] - 1 for source, n in runs):
            break
    want = min(len(lengths), 4)
    for at in range(0, len(runs) - 3):
        assert len({source for source, _ in runs[at : at + 4]}) >= want


def test_one_worker_alone_gets_a_short_run_while_others_are_at_work() -> None:
    """What is kept can be mixed with what arrives meanwhile; without others nothing is kept."""
    for weight, alone in ((16, ALONE_SMALL), (LARGE_ELEMENT, ALONE_LARGE)):
        mixer = mixer_of(1000, 0, weight=weight)
        run = mixer.next()
        assert run is not None
        assert elements(run) == [(0, n) for n in range(alone)]
        assert run.done == ()
        mixer.put(1, delivery(1, 0, 4, weight=weight))
        run = mixer.next()
        assert run is not None
        assert {source for source, _ in elements(run)[:2]} == {0, 1}
        mixer.end(1)
        run = mixer.next()
        assert run is not None
        assert elements(run) == [(0, n) for n in range(alone + 4, 1000)]


def test_the_chunk_of_a_single_worker_is_handed_on_as_it_is() -> None:
    """Nothing is copied, cut or kept."""
    mixer = Mixer(1, ordered=False, group=GROUP)
    arrived = delivery(0, 0, 1000)
    mixer.put(0, arrived)
    run = mixer.next()
    assert run is not None
    ((column,),) = (merged([run], aligned_empty),)
    assert isinstance(column, np.ndarray)
    assert column.shape[0] == 1000
    assert np.shares_memory(column, arrived.chunk.columns[0])


def test_a_merged_run_is_bounded() -> None:
    """Many workers' full chunks do not become one array of any size."""
    mixer = mixer_of(*[1024] * 16, weight=1024)
    run = mixer.next()
    assert run is not None
    assert RUN_BYTES // 2 <= run.n * 1024 <= RUN_BYTES


def test_elements_of_different_shapes_are_not_merged() -> None:
    """Workers whose elements have other sizes at the moment take turns."""
    mixer = Mixer(2, ordered=False, group=GROUP)
    mixer.put(0, Delivery(0, 0, Chunk(2, 16, (np.zeros((2, 1)),))))
    mixer.put(1, Delivery(0, 0, Chunk(2, 32, (np.zeros((2, 2)),))))
    assert [[part[0].shape for part in run.parts] for run in everything(mixer)] == [
        [(2, 1)], [(2, 2)],
    ]  # fmt: skip


def test_in_order_a_run_ends_before_who_has_nothing() -> None:
    """The elements up to there are handed on, and his are the ones that are waited for."""
    mixer = mixer_of(3, 3, 0, 3, ordered=True)
    run = mixer.next()
    assert run is not None
    assert elements(run) == [(0, 0), (1, 0)]
    assert (mixer.next(), mixer.awaited) == (None, 2)
    mixer.end(2)
    assert [e for run in everything(mixer) for e in elements(run)] == [
        (3, 0), (0, 1), (1, 1), (3, 1), (0, 2), (1, 2), (3, 2),
    ]  # fmt: skip


def test_in_order_many_rounds_are_one_run() -> None:
    """Tiny elements of workers that keep up do not come one by one."""
    run = mixer_of(50, 60, 70, ordered=True).next()
    assert run is not None
    assert elements(run) == in_turn([50, 50, 50])


@pytest.mark.parametrize("dtype", ["float32", "bool", "int8", "float16"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (0,)])
def test_merging_keeps_values_and_starts_where_tensorflow_can_alias(
    dtype: str, shape: tuple[int, ...]
) -> None:
    """Row by row what the parts hold, at a multiple of 64 bytes."""
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 2, (5, *shape)).astype(dtype) for _ in range(3)]
    (column,) = merged([run_of([(array,) for array in arrays])], aligned_empty)
    assert isinstance(column, np.ndarray)
    assert column.dtype == dtype
    assert column.tolist() == [array[row].tolist() for row in range(5) for array in arrays]
    assert column.size == 0 or column.ctypes.data % ALIGNMENT == 0


@pytest.mark.parametrize("size", [0, 1, 2])
def test_merging_keeps_texts(size: int) -> None:
    """Texts and arrays of them are taken row by row as numbers are."""
    shape = (2,) if size == 1 else (2, size)
    parts: list[Part] = [
        (TextArray(shape, tuple(f"{who}{row}{i}".encode() for row in "01" for i in range(size))),)
        for who in "ab"
    ]
    (column,) = merged([run_of(parts)], aligned_empty)
    want = [f"{who}{row}{i}".encode() for row in "01" for who in "ab" for i in range(size)]
    assert column == TextArray((4, *shape[1:]), tuple(want))


def test_a_single_run_has_one_element_of_each_source() -> None:
    """Who holds on to too much gets elements one by one, in memory of their own."""
    mixer = mixer_of(3, 3, weight=LARGE_ELEMENT)
    runs = [copied(run) for run in iter(lambda: mixer.next(single=True), None)]
    assert [elements(run) for run in runs] == [[(0, n), (1, n)] for n in range(3)]
    for run in runs:
        for (column,) in run.parts:
            assert isinstance(column, np.ndarray)
            assert (column.shape[0], column.flags.writeable) == (1, False)
            assert column.ctypes.data % ALIGNMENT == 0
    texts = mixer_of(1).next()
    assert texts is not None
    text = (TextArray((1,), (b"a",)),)
    assert copied(replace(texts, parts=(text,))).parts == (text,)


def test_several_runs_become_one_part() -> None:
    """Merged together, runs of different numbers of workers keep their order."""
    first = run_of([(np.array([0, 3]),), (np.array([1, 4]),), (np.array([2, 5]),)])
    second = run_of([(np.array([6, 8]),), (np.array([7, 9]),)])
    (column,) = merged([first, second], aligned_empty)
    assert isinstance(column, np.ndarray)
    assert column.tolist() == list(range(10))
    texts = [
        run_of([(TextArray((1,), (who,)),) for who in whos]) for whos in ([b"a", b"b"], [b"c"])
    ]
    assert merged(texts, aligned_empty) == (TextArray((3,), (b"a", b"b", b"c")),)


def test_only_runs_that_mix_workers_and_look_alike_go_together() -> None:
    """A run of one worker is bounded for the others' sake, and arrays have one shape."""
    mixed = run_of([(np.zeros((2, 3)),), (np.zeros((2, 3)),)])
    alone = run_of([(np.zeros((2, 3)),)])
    other = run_of([(np.zeros((2, 4)),), (np.zeros((2, 4)),)])
    assert goes_with(mixed, mixed)
    assert not goes_with(mixed, alone)
    assert not goes_with(alone, mixed)
    assert not goes_with(mixed, other)
    assert not goes_with(mixed, replace(mixed, small=False))
