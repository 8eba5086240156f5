"""What training has used, and what another run begins with: pure, over a mixer instead of lanes."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pytest
from genserver.client import Progress, State, StateError
from genserver.client.handout import Handout, space_of
from genserver.client.mixing import GROUP, Mixer
from genserver.client.passes import RUNS, Pass, in_turn
from genserver.client.plan import Member, Plan
from genserver.client.progress import PASSES
from genserver.client.ranges import Ranges
from genserver.client.state import Terms
from genserver.protocol.chunk import Chunk
from genserver.protocol.messages import NO_MORE, Done, Take
from genserver.protocol.spec import parse_spec
from genserver.protocol.stream import Delivery, Window
from hypothesis import given, settings
from hypothesis import strategies as st

#: An element is (epoch, worker, number within the worker).
Element = tuple[int, int, int]


def terms(
    workers: int, *, deterministic: bool = True, batch: int = 0, dealt: bool = False
) -> Terms:  # fmt: skip
    return Terms(
        seed=5, workers=workers, batch=batch, drop_remainder=False, deterministic=deterministic,
        dealt=dealt,
    )  # fmt: skip


@dataclass
class World:
    """Servers and lanes: workers whose passes have these lengths, one row per epoch."""

    lengths: Sequence[Sequence[int]]
    chunk: int = 3
    lanes: int = 1

    def elements(self, progress: Progress, *, deterministic: bool = True) -> Iterator[Element]:
        """What `repeat()` gives, until the lengths are used up."""
        workers = len(self.lengths[0])
        progress.agree(terms(workers, deterministic=deterministic), seed_is_free=True, epoch=None)
        return self._passes(progress, deterministic=deterministic)

    def _passes(self, progress: Progress, *, deterministic: bool) -> Iterator[Element]:
        while True:
            _, begun = progress.begin(self.lanes)
            if begun.epoch >= len(self.lengths):
                return
            lanes = [
                self.lane(progress, begun, lane, deterministic=deterministic)
                for lane in range(self.lanes)
            ]
            while lanes:  # one run of each in turn
                for lane in list(lanes):
                    run = next(lane, None)
                    lanes.remove(lane) if run is None else None
                    yield from run or ()

    def lane(
        self, progress: Progress, begun: Pass, lane: int, *, deterministic: bool
    ) -> Iterator[list[Element]]:
        """Runs, of which training sees none before they are handed on."""
        workers = range(lane, len(begun.taken), self.lanes)
        mixer = Mixer(len(workers), ordered=deterministic, group=GROUP, turn=begun.turn)
        lengths = self.lengths[begun.epoch]
        arrived = [begun.taken[worker] for worker in workers]
        ended = [False] * len(workers)
        while not mixer.over:
            for place, worker in enumerate(workers):
                first = arrived[place]
                n = min(self.chunk + worker, lengths[worker] - first)
                if n > 0:
                    rows = np.array([(begun.epoch, worker, first + i) for i in range(n)])
                    mixer.put(place, Delivery(first, 0, Chunk(n, n * 16, (rows,))))
                    arrived[place] += n
                elif not ended[place]:
                    ended[place] = True
                    mixer.end(place)
                    progress.end(begun, worker, lengths[worker])
            while (run := mixer.next()) is not None:
                rows_ = run.n // len(run.parts)
                progress.hand(begun, lane, tuple(workers[s] for s in run.sources), rows_)
                yield [
                    tuple(map(int, part[0][row]))  # type: ignore[index,misc]  # numeric columns
                    for row in range(rows_)
                    for part in run.parts
                ]


def unbroken(lengths: Sequence[Sequence[int]]) -> list[Element]:
    """The deterministic order, by its definition: everybody's first, everybody's second, ..."""
    return [
        (epoch, worker, number)
        for epoch, row in enumerate(lengths)
        for number in range(max(row))
        for worker, length in enumerate(row)
        if number < length
    ]


#: An element of an item: (server, item, number within it); a batch is a tuple of them.
Row = tuple[int, int, int]


@dataclass
class Dealt:
    """Servers whose workers are dealt items of these sizes: all the same, or each server its own.

    The order is one that the seed decides.
    """

    sizes: Sequence[Sequence[int]]
    workers: Sequence[int]
    known: bool = True
    batch: int = 0
    lanes: int = 1

    @property
    def rows(self) -> set[Row]:
        return {
            (space, item, number)
            for space, sizes in enumerate(self.sizes)
            for item, size in enumerate(sizes)
            for number in range(size)
        }

    def plan(self) -> Plan:
        staged = len(self.sizes) > 1
        own = len(self.sizes[0]) if self.known and not staged else NO_MORE
        return Plan(
            parse_spec("int64"), 8, -2, 5,
            tuple(
                Member(server, worker, sum(self.workers[:server]) + worker)
                for server, count in enumerate(self.workers)
                for worker in range(count)
            ),
            Window(9, 99), "", items=own, workers=tuple(self.workers),
            upstream=(int(staged),) * len(self.workers),
        )  # fmt: skip

    def elements(self, progress: Progress, seed: int) -> Iterator[tuple[Row, ...]]:
        """One pass, or what is left of it."""
        plan = self.plan()
        agreed = terms(plan.count, deterministic=False, batch=self.batch, dealt=True)
        progress.agree(agreed, seed_is_free=True, epoch=None)
        return self._pass(progress, plan, random.Random(seed))

    def _pass(
        self, progress: Progress, plan: Plan, order: random.Random
    ) -> Iterator[tuple[Row, ...]]:  # fmt: skip
        _, begun = progress.begin(self.lanes)
        handout = Handout(plan, begun.finished)
        live = [self.worker(progress, begun, handout, plan, member) for member in plan.members]
        while live:
            worker = order.choice(live)
            try:
                element = next(worker)
            except StopIteration:
                live.remove(worker)
            else:
                if element is not None:
                    yield element

    def worker(
        self, progress: Progress, begun: Pass, handout: Handout, plan: Plan, member: Member
    ) -> Iterator[tuple[Row, ...] | None]:
        """What one gives; None between its steps."""
        deals, space, size = handout.deals(member), space_of(plan, member), max(1, self.batch)
        rows: list[Row] = []
        made = given_ = 0

        def settle(done: Done) -> None:
            deals.done(done)
            note()

        def note() -> None:
            for item, count in deals.finished(given_ * size):
                progress.finish(begun, member.index, space, item, count)

        while True:
            yield None
            (work,) = deals.take(Take(1, deals.dealt + 1))
            if work.item == NO_MORE:
                break
            if work.item >= len(self.sizes[space]):
                settle(Done(1, work.ordinal, made, len(self.sizes[space])))
                continue
            for number in range(self.sizes[space][work.item]):
                rows.append((space, work.item, number))
                made += 1
                if len(rows) == size:
                    given_ += 1
                    note()
                    progress.hand(begun, member.index % self.lanes, (member.index,), 1)
                    yield tuple(rows)
                    rows = []
            settle(Done(1, work.ordinal, made))
        if rows:
            given_ += 1
            note()
            progress.hand(begun, member.index % self.lanes, (member.index,), 1)
            yield tuple(rows)
        progress.end(begun, member.index, given_)


tables = st.integers(1, 4).flatmap(
    lambda workers: st.lists(
        st.lists(st.integers(0, 9), min_size=workers, max_size=workers), min_size=1, max_size=3
    )
)


@settings(max_examples=200)
@given(tables, st.integers(1, 5), st.lists(st.integers(0, 40), max_size=4))
def test_runs_that_go_on_are_one_run(
    lengths: list[list[int]], chunk: int, stops: list[int]
) -> None:
    """However often training is killed, at whatever element of whatever pass, and however the
    workers' lengths differ: the elements are those of a run that nobody killed, in their order."""
    world = World(lengths, chunk)
    used: list[Element] = []
    state: State | None = None
    for stop in stops:
        progress = Progress() if state is None else Progress.from_state(state)
        for element in islice(world.elements(progress), stop):
            used.append(element)
            progress.advance()
        state = State.from_json(progress.state().to_json())
    rest = Progress() if state is None else Progress.from_state(state)
    assert [*used, *world.elements(rest)] == unbroken(lengths)


@pytest.mark.parametrize("lengths", [[[3, 0, 5], [1, 1, 1]], [[1, 4], [2, 0]], [[0, 0], [2, 2]]])
def test_every_element_is_a_place_to_stop(lengths: list[list[int]]) -> None:
    """All of them, one after the other, in a small world."""
    whole = unbroken(lengths)
    world = World(lengths)
    for stop in range(len(whole) + 1):
        progress = Progress()
        for _ in islice(world.elements(progress), stop):
            progress.advance()
        rest = Progress.from_state(progress.state())
        assert list(world.elements(rest)) == whole[stop:]


@given(tables, st.integers(1, 3), st.integers(0, 40), st.integers(0, 9))
def test_in_the_default_order_nothing_is_lost(
    lengths: list[list[int]], lanes: int, used: int, ahead: int
) -> None:
    """What comes again is what the state says, and nothing does with a single lane."""
    world = World(lengths[:1], lanes=min(lanes, len(lengths[0])))
    progress = Progress()
    elements = list(islice(world.elements(progress, deterministic=False), used + ahead))
    mine = elements[:used]
    progress.advance(len(mine))
    state = progress.state()
    rest = list(world.elements(Progress.from_state(state), deterministic=False))
    if state.epoch == 0:
        assert set(mine) | set(rest) == set(unbroken(lengths[:1]))
        assert state.elements == len(mine)
        assert len(rest) == len(unbroken(lengths[:1])) - len(mine) + state.repeats
        assert state.repeats == 0 or world.lanes > 1
    else:
        assert set(mine) == set(unbroken(lengths[:1]))


@given(
    st.integers(0, 60), st.lists(st.none() | st.integers(0, 9), min_size=1, max_size=5), st.data()
)
def test_turns_are_counted_as_they_are_taken(
    count: int, left: list[int | None], data: st.DataObject
) -> None:
    """The sum for many rounds is what one turn after the other gives."""
    turn = data.draw(st.integers(0, len(left) - 1))
    given_, at = [0] * len(left), turn
    for _ in range(count):
        places = [(at + step) % len(left) for step in range(len(left))]
        able = [w for w in places if (known := left[w]) is None or given_[w] < known]
        if not able:
            break
        given_[able[0]] += 1
        at = (able[0] + 1) % len(left)
    found, next_turn = in_turn(count, left, turn)
    assert found == given_
    places = [(at + step) % len(left) for step in range(len(left))]
    able = [w for w in places if (known := left[w]) is None or given_[w] < known]
    assert next_turn == (able[0] if able else 0)


dealings = st.builds(
    Dealt,
    st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=1, max_size=1),
    st.lists(st.integers(1, 3), min_size=1, max_size=2), st.booleans(), st.sampled_from([0, 1, 3]),
    st.integers(1, 3),
) | st.builds(
    Dealt,
    st.lists(st.lists(st.integers(0, 4), max_size=6), min_size=2, max_size=2),
    st.lists(st.integers(1, 3), min_size=2, max_size=2), st.just(False), st.sampled_from([0, 3]),
    st.integers(1, 3),
)  # fmt: skip


@settings(max_examples=300)
@given(
    dealings, st.lists(st.tuples(st.integers(0, 20), st.integers(0, 5)), max_size=3),
    st.integers(0, 2**32),
)  # fmt: skip
def test_where_items_are_dealt_each_is_done_or_comes_again(
    world: Dealt, stops: list[tuple[int, int]], seed: int
) -> None:
    """However often training is killed: a state counts the items that were used to their end, with
    whatever is in a batch with them, and all others come again from their beginning."""
    used: set[Row] = set()
    state: State | None = None
    for stop, ahead in stops:
        progress = Progress() if state is None else Progress.from_state(state)
        run = list(islice(world.elements(progress, seed), stop + ahead))
        progress.advance(len(run[:stop]))
        used.update(row for element in run[:stop] for row in element)
        state = State.from_json(progress.state().to_json())
        if state.epoch:
            assert used == world.rows
            return
        assert state.finished is not None
        done = [Ranges(pairs) for pairs in state.finished]
        finished = {row for row in world.rows if row[0] < len(done) and row[1] in done[row[0]]}
        assert finished <= used
        again = world.elements(Progress.from_state(state), seed + 1)
        assert sorted(row for element in again for row in element) == sorted(world.rows - finished)


@pytest.mark.parametrize("batch", [0, 2])
def test_an_item_counts_when_its_last_element_was_used(batch: int) -> None:
    """Not when it was handed on; in batches, not before the one that its last rows are in."""
    progress = Progress()
    agreed = terms(1, deterministic=False, batch=batch, dealt=True)
    progress.agree(agreed, seed_is_free=True, epoch=None)
    _, begun = progress.begin(1)
    progress.hand(begun, 0, (0,), 9)
    progress.finish(begun, 0, 0, 4, 3)
    seen = []
    for _ in range(4):
        state = progress.state()
        seen.append((state.finished, state.taken, state.repeats))
        progress.advance()
    last = 2 if batch else 3
    assert seen[:last] == [((), (0,), used) for used in range(last)]
    assert seen[last] == ((((4, 5),),), (last,), 0)


def test_a_long_history_is_forgotten_towards_repeating() -> None:
    """A lane writes down so many runs; what came before them may come again, and is not lost."""
    begun = Pass(0, (0, 0), deterministic=False)
    for _ in range(RUNS):
        begun.hand(0, (0,), 1)
    for _ in range(RUNS):
        begun.hand(0, (1,), 1)
    assert begun.after(RUNS) == ((RUNS, 0), 0)
    assert begun.after(RUNS + 5) == ((RUNS, 5), 0)
    assert begun.after(RUNS - 5) == ((RUNS - 5, 0), 0)


def test_behind_the_last_element_is_the_next_epoch() -> None:
    """Once every worker's end is known; before that, nobody can know that it was the last."""
    progress = Progress()
    progress.agree(terms(2), seed_is_free=True, epoch=None)
    _, begun = progress.begin(1)
    progress.hand(begun, 0, (0, 1), 2)
    progress.advance(4)
    assert (progress.state().epoch, progress.state().taken) == (0, (2, 2))
    progress.end(begun, 0, 2)
    progress.end(begun, 1, 2)
    assert (progress.state().epoch, progress.state().elements) == (1, 0)


def test_a_pass_that_is_left_early_is_over_when_training_says_so() -> None:
    """`end_pass` goes to the next one, be it at the end or before, also if that has begun."""
    progress = Progress()
    progress.agree(terms(1), seed_is_free=True, epoch=None)
    passes = [progress.begin(1)[1] for _ in range(3)]
    for epoch, begun in enumerate(passes):
        assert begun.epoch == epoch
        progress.hand(begun, 0, (0,), 4)
        if epoch == 1:
            progress.end(begun, 0, 4)
        progress.advance(4)
        progress.end_pass()
        assert (progress.state().epoch, progress.state().elements) == (epoch + 1, 0)


def test_a_wrong_count_is_refused() -> None:
    """More than was handed on, batches that were counted where elements are meant, nothing at all
    for thousands of passes."""
    progress = Progress()
    with pytest.raises(StateError, match="give this Progress"):
        progress.state()
    progress.agree(terms(1), seed_is_free=True, epoch=None)
    _, begun = progress.begin(1)
    progress.hand(begun, 0, (0,), 4)
    progress.advance(5)
    with pytest.raises(StateError, match="5 elements of a pass that has given 4"):
        progress.state()
    with pytest.raises(ValueError, match="-1"):
        progress.advance(-1)
    progress.restore(None)
    for _ in range(PASSES + 1):
        progress.begin(1)
    with pytest.raises(StateError, match="not told"):
        progress.state()


def test_a_pass_that_is_left_without_a_word_is_noticed() -> None:
    """When the next one has begun, nobody could tell whose elements are counted."""
    progress = Progress()
    progress.agree(terms(1), seed_is_free=True, epoch=None)
    _, begun = progress.begin(1)
    progress.hand(begun, 0, (0,), 4)
    progress.advance(np.int64(2))
    begun.left = True
    assert progress.state().elements == 2
    _, following = progress.begin(1)
    with pytest.raises(StateError, match="end_pass"):
        progress.state()
    progress.end_pass()
    progress.hand(following, 0, (0,), 4)
    progress.advance()
    assert (progress.state().epoch, progress.state().elements) == (1, 1)


def test_a_progress_belongs_to_one_dataset() -> None:
    """Two would count each other's passes."""
    progress = Progress()
    progress.claim()
    with pytest.raises(StateError, match="one dataset"):
        progress.claim()


def test_data_that_changes_under_training_is_refused() -> None:
    """A server that comes back with another number of workers, say."""
    progress = Progress()
    progress.agree(terms(2), seed_is_free=True, epoch=None)
    with pytest.raises(StateError, match=r"changed .* workers=3, .* was .* workers=2,"):
        progress.agree(terms(3), seed_is_free=True, epoch=None)


def test_a_restored_state_brings_its_seed_unless_another_was_asked_for() -> None:
    """The server's own seed may be another after a restart; one that the user gave is his word."""
    other = State(epoch=1, elements=3, taken=(2, 1), turn=1, seed=9, deterministic=True)
    free, fixed = Progress(), Progress()
    free.agree(terms(2), seed_is_free=True, epoch=None)
    free.restore(other)
    assert free.seed == 9
    assert free.state() == other
    fixed.agree(terms(2), seed_is_free=False, epoch=None)
    with pytest.raises(StateError, match="seed"):
        fixed.restore(other)
    assert fixed.state().epoch == 0


def test_a_pinned_epoch_is_that_of_every_pass() -> None:
    """And a state of another one is refused."""
    progress = Progress()
    progress.agree(terms(1), seed_is_free=True, epoch=7)
    assert [progress.begin(1)[1].epoch for _ in range(2)] == [7, 7]
    other = State(epoch=1, elements=0, taken=(0,), seed=5, deterministic=True)
    with pytest.raises(StateError, match="epoch=7"):
        progress.restore(other)
    with pytest.raises(StateError, match="epoch=7"):
        Progress.from_state(other).agree(terms(1), seed_is_free=True, epoch=7)
