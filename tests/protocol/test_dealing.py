"""Items that are dealt: each is somebody's once, whatever happens to workers and links."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from genserver.protocol.chunk import Chunk
from genserver.protocol.dealing import MAX_AHEAD, SCARCE, Deals, Items
from genserver.protocol.errors import RemoteProtocolError
from genserver.protocol.messages import NO_MORE, Done, End, EndAck, Item, Open, Take, Work
from genserver.protocol.stream import Delivery, PulledStream, ServedStream, Window
from genserver.protocol.transport.dealt import Dealt, Gate
from hypothesis import Phase, event, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)  # fmt: skip

from ..support.deals import FAULTS, Content, Dealing
from ..support.world import explore

OPEN = Open(1, 0, 1, epoch=0, seed=5, work=0)
WIDE = Window(60_000, 10_000_000)


def chunk(n: int, rows: int = 1) -> Chunk:
    return Chunk(n, n * rows * 8, (np.zeros((n, rows), np.int64),))


def dealt(
    items: Items | None = None, *, opening: Open = OPEN, window: Window = WIDE
) -> tuple[PulledStream, ServedStream]:
    """Both ends of an open stream."""
    trainer = PulledStream(opening, window, Deals(items, 0))
    first, grant = trainer.open()
    assert isinstance(first, Open)
    worker = ServedStream(first)
    worker.receive(grant)  # type: ignore[arg-type]  # a fresh stream has no WORK
    return trainer, worker


# Items.


@settings(max_examples=300)
@given(
    total=st.integers(0, 30), workers=st.integers(1, 5), known=st.booleans(),
    done=st.frozensets(st.integers(0, 30)), data=st.data(),
)  # fmt: skip
def test_each_item_is_given_once(
    total: int, workers: int, known: bool, done: frozenset[int], data: st.DataObject
) -> None:
    """Whoever asks whenever, and whenever the end is found: all but those that are done."""
    items = Items(total if known else NO_MORE, workers, done=done)
    given_: list[int] = []
    over: set[int] = set()
    unsaid = 0
    while len(over) < workers:
        worker = data.draw(st.sampled_from(sorted(set(range(workers)) - over)))
        item = items.next(worker)
        if item == NO_MORE:
            over.add(worker)
        elif item < total:
            given_.append(item)
        else:
            unsaid += 1
            if unsaid > 3 or data.draw(st.booleans()):
                items.ended(total)
    assert sorted(given_) == sorted(set(range(total)) - done)


def test_the_first_items_are_kept_for_their_workers() -> None:
    """Each worker begins with the item of its own number, in whatever order they come."""
    items = Items(100, 4)
    assert [items.next(worker) for worker in (2, 0, 2, 2, 3, 1, 0)] == [2, 0, 4, 5, 3, 1, 6]


def test_kept_items_are_given_to_others_at_the_end() -> None:
    """A worker that never comes leaves nothing undone."""
    items = Items(6, 4)
    assert [items.next(0) for _ in range(7)] == [0, 4, 5, 1, 2, 3, NO_MORE]
    assert items.next(3) == NO_MORE


def test_more_workers_than_items() -> None:
    """Those that are too many are given nothing."""
    items = Items(2, 4)
    assert [items.next(worker) for worker in (3, 2, 1, 0)] == [0, 1, NO_MORE, NO_MORE]


def test_each_class_ends_on_its_own() -> None:
    """With a stride the items of one producer may be over while the others' go on."""
    items = Items(NO_MORE, 2, stride=3)
    items.ended(4)  # 1 exists, 4 does not, nor 7
    assert [items.next(0) for _ in range(6)] == [0, 2, 3, 5, 6, 8]
    items.ended(9)
    assert [items.next(1) for _ in range(2)] == [1, 11]
    assert not items.scarce
    items.ended(14)
    assert items.scarce
    assert [items.next(0) for _ in range(1)] == [NO_MORE]


@pytest.mark.parametrize(("asked", "scarce"), [(0, False), (1, False), (2, True), (10, True)])
def test_scarce_is_what_is_left_for_each_worker(asked: int, scarce: bool) -> None:
    """With fewer than `SCARCE` for each, and only where the end is known."""
    items, unknown = Items(2 + 2 * SCARCE + 1, 2), Items(NO_MORE, 2)
    for _ in range(asked + 1):
        items.next(0)
        unknown.next(0)
    assert (items.scarce, unknown.scarce) == (scarce, False)


# Deals, and a stream with them.


def test_what_the_worker_wants_is_given() -> None:
    """As many as it takes, in order, and behind the last that there is no more."""
    trainer, worker = dealt(Items(30, 1))
    works = trainer.wanted(worker.take(2))
    assert works == [Work(1, 0, 0), Work(1, 1, 1)]
    assert trainer.wanted(worker.take(2)) == []
    assert all(map(worker.dealt, works))
    small, _ = dealt(Items(0, 1))
    assert small.wanted(Take(1, 9)) == [Work(1, 0, NO_MORE)]
    assert small.wanted(Take(1, 12)) == []


def test_of_scarce_items_nobody_has_one_ahead() -> None:
    """The next is given when the worker is through with the last, not before."""
    trainer, worker = dealt(Items(3, 1))
    assert trainer.wanted(worker.take(9)) == [Work(1, 0, 0)]
    trainer.done(worker.done(0, 0, NO_MORE))
    assert trainer.due() == [Work(1, 1, 1)]
    assert trainer.due() == []


def test_taking_too_many_is_a_breach() -> None:
    """The limit counts from the first item that has not ended, whatever has arrived: a batch may
    be made of any number of items."""
    trainer, worker = dealt(Items(NO_MORE, 1), opening=replace(OPEN, batch=3 * MAX_AHEAD))
    for start in range(0, 2 * MAX_AHEAD, 1000):
        for work in trainer.wanted(worker.take(start + MAX_AHEAD)):
            worker.dealt(work)
        for ordinal in range(start, start + 1000):
            trainer.done(worker.done(ordinal, ordinal + 1, NO_MORE))
    with pytest.raises(RemoteProtocolError, match="takes"):
        trainer.wanted(worker.take(start + 1000 + MAX_AHEAD + 1))


@pytest.mark.parametrize(
    ("message", "match"),
    [
        (Done(1, 2, 0), "has not"), (Done(1, 9, 0), "has not"), (Done(1, 1, 0), "before its turn"),
        (Done(1, 0, 0, 1), "no item 0 of 1"),
    ],
)  # fmt: skip
def test_what_cannot_have_ended_is_a_breach(message: Done, match: str) -> None:
    """An item that was not given, one before its turn, and one that its own total has."""
    trainer, worker = dealt(Items(NO_MORE, 1))
    trainer.wanted(worker.take(2))
    with pytest.raises(RemoteProtocolError, match=match):
        trainer.done(message)


def test_the_end_of_items_does_not_end() -> None:
    """DONE of the WORK that said that none follows is a breach."""
    trainer, worker = dealt(Items(0, 1))
    trainer.wanted(worker.take(1))
    with pytest.raises(RemoteProtocolError, match="has not"):
        trainer.done(Done(1, 0, 0))


def test_an_item_does_not_end_before_it_began() -> None:
    """The counts of items that end do not fall."""
    trainer, worker = dealt(Items(NO_MORE, 1))
    trainer.wanted(worker.take(2))
    trainer.done(worker.done(0, 3, NO_MORE))
    with pytest.raises(RemoteProtocolError, match="less than nothing"):
        trainer.done(worker.done(1, 2, NO_MORE))


def test_a_gap_in_what_is_given_is_a_breach() -> None:
    """The worker ignores ordinals that it knows, and refuses one that comes too early."""
    _, worker = dealt()
    assert worker.dealt(Work(1, 0, 5))
    assert not worker.dealt(Work(1, 0, 5))
    with pytest.raises(RemoteProtocolError, match="item 1 of it is missing"):
        worker.dealt(Work(1, 2, 6))


def test_a_stream_that_is_not_dealt_knows_no_items() -> None:
    """WORK, TAKE and DONE of it are breaches at whichever end they arrive."""
    plain = replace(OPEN, work=None)
    worker, trainer = ServedStream(plain), PulledStream(plain, WIDE)
    trainer.open()
    with pytest.raises(RemoteProtocolError, match="missing"):
        worker.dealt(Work(1, 0, 0))
    with pytest.raises(RemoteProtocolError, match="nothing is dealt"):
        trainer.wanted(Take(1, 1))
    with pytest.raises(RemoteProtocolError, match="nothing is dealt"):
        trainer.done(Done(1, 0, 0))


@pytest.mark.parametrize("work", [0, None])
def test_dealt_or_not_is_a_streams_own(work: int | None) -> None:
    """A stream that was opened with items is not resumed without them, nor the other way round."""
    worker = ServedStream(replace(OPEN, work=work))
    with pytest.raises(RemoteProtocolError, match="cannot be resumed"):
        worker.resume(replace(OPEN, work=0 if work is None else None))


def test_an_end_before_the_items_end_is_a_breach() -> None:
    """Not before there are no more, and not before each of them ended: else some would be lost."""
    trainer, worker = dealt(Items(2, 1))
    trainer.wanted(worker.take(9))
    for message in (Done(1, 0, 0), Done(1, 1, 0)):
        with pytest.raises(RemoteProtocolError, match="END before the end of its items"):
            trainer.receive(End(1, 0))
        trainer.done(message)
        trainer.due()
    assert trainer.receive(worker.end()) == EndAck(1)


def test_an_item_is_finished_when_its_elements_are_here() -> None:
    """DONE may come before they do; an empty one is finished with those before it."""
    trainer, worker = dealt(Items(NO_MORE, 1))
    trainer.wanted(worker.take(3))
    for ordinal, count in enumerate((2, 2, 3)):
        trainer.done(worker.done(ordinal, count, NO_MORE))
    assert trainer.finished() == []
    trainer.receive(worker.item(chunk(1)))
    assert trainer.finished() == []
    trainer.receive(worker.item(chunk(1)))
    assert trainer.finished() == [(0, 2), (1, 2)]
    assert trainer.finished() == []
    trainer.receive(worker.item(chunk(1)))
    assert trainer.finished() == [(2, 3)]


def test_the_rest_of_a_batch_belongs_to_the_next_item() -> None:
    """Another life leaves out what of its first item is in a batch that arrived."""
    opening = replace(OPEN, batch=4)
    trainer, worker = dealt(Items(NO_MORE, 1), opening=opening)
    trainer.wanted(worker.take(3))
    trainer.done(worker.done(0, 2, NO_MORE))
    trainer.receive(worker.item(chunk(1, 4)))
    assert trainer.finished() == [(0, 2)]
    again, first, second, _ = trainer.open()
    assert again == replace(opening, start=1, work=1)
    assert (first, second) == (Work(1, 1, 1, skip=2), Work(1, 2, 2))


def test_an_item_that_does_not_exist_moves_nothing() -> None:
    """A worker that looks ahead says so while it makes earlier ones: the count in that DONE is not
    where a later item begins."""
    items = Items(NO_MORE, 2)
    trainer, worker = dealt(items)
    works = trainer.wanted(worker.take(2))
    assert [work.item for work in works] == [0, 2]
    trainer.done(worker.done(1, 0, 2))
    assert trainer.wanted(worker.take(3)) == []  # scarce by now, and item 0 is under way
    trainer.receive(worker.item(chunk(1)))
    trainer.done(worker.done(0, 1, NO_MORE))
    assert trainer.finished() == [(0, 1)]
    assert trainer.due() == [Work(1, 2, 1)]
    assert trainer.open()[1] == Work(1, 2, 1)


def test_a_resume_says_again_what_may_not_have_arrived() -> None:
    """The same life repeats what it said of items, before the elements; of those that the trainer
    has to their end, nothing."""
    trainer, worker = dealt(Items(NO_MORE, 1))
    for work in trainer.wanted(worker.take(4)):
        worker.dealt(work)
    for ordinal in range(3):
        message = worker.done(ordinal, ordinal + 1, NO_MORE)
        item = worker.item(chunk(1))
        if ordinal == 0:
            trainer.done(message)
            trainer.receive(item)
            trainer.finished()
    opening, *works, _ = trainer.open()
    assert isinstance(opening, Open)
    assert (opening.start, opening.work) == (1, 1)
    assert works == [Work(1, 1, 1), Work(1, 2, 2), Work(1, 3, 3)]
    again = worker.resume(opening)
    assert again[:3] == [Done(1, 1, 2), Done(1, 2, 3), Take(1, 4)]
    assert [item.first for item in again[3:] if isinstance(item, Item)] == [1, 2]
    assert not any(worker.dealt(work) for work in works if isinstance(work, Work))


def test_another_life_speaks_for_itself() -> None:
    """What the old one wanted and where its items ended does not hold for it, until it says so."""
    trainer, worker = dealt(Items(NO_MORE, 1))
    trainer.wanted(worker.take(9))
    for ordinal in range(2):
        trainer.done(worker.done(ordinal, ordinal + 1, NO_MORE))
    opening, *works, grant = trainer.open()
    assert len(works) == 9
    assert isinstance(opening, Open)
    reborn = ServedStream(opening)
    reborn.receive(grant)  # type: ignore[arg-type]  # the last is the GRANT
    trainer.done(reborn.done(0, 2, NO_MORE))
    assert trainer.due() == []
    trainer.receive(reborn.item(chunk(1)))
    assert trainer.finished() == []
    trainer.receive(reborn.item(chunk(1)))
    assert trainer.finished() == [(0, 2)]
    assert trainer.wanted(reborn.take(4)) == []
    assert trainer.wanted(reborn.take(10)) == [Work(1, 9, 9)]


def test_another_life_is_given_what_it_wants() -> None:
    """And not what the one before it wanted."""
    trainer, worker = dealt(Items(3, 1))
    assert trainer.wanted(worker.take(9)) == [Work(1, 0, 0)]
    assert trainer.open()[1:-1] == [Work(1, 0, 0)]
    assert trainer.wanted(Take(1, 1)) == []
    trainer.done(Done(1, 0, 0))
    assert trainer.due() == []
    assert trainer.wanted(Take(1, 2)) == [Work(1, 1, 1)]


def test_what_is_known_to_have_arrived_is_not_kept() -> None:
    """A DONE is forgotten when an element behind it is acknowledged."""
    trainer, worker = dealt(Items(NO_MORE, 1), window=Window(2, 1000))
    trainer.wanted(worker.take(3))
    for ordinal in range(3):
        trainer.done(worker.done(ordinal, ordinal + 1, NO_MORE))
        delivery = trainer.receive(worker.item(chunk(1)))
        assert isinstance(delivery, Delivery)
        grant = trainer.took(delivery)
        assert grant is not None
        worker.receive(grant)
    assert worker.resume(replace(OPEN, start=3, work=0)) == [Done(1, 2, 3), Take(1, 3)]


def test_an_owner_that_deals_itself() -> None:
    """Without `Items` nothing is given but what the owner deals, also before the stream is open."""
    trainer = PulledStream(OPEN, WIDE, Deals(None, 0))
    assert trainer.deal(7) is None
    assert trainer.open()[1] == Work(1, 0, 7)
    assert trainer.wanted(Take(1, 5)) == []
    assert trainer.deal(9) == Work(1, 1, 9)
    assert trainer.deal(NO_MORE) == Work(1, 2, NO_MORE)


@pytest.mark.parametrize("ahead", [0, 5, MAX_AHEAD - 1, MAX_AHEAD, 50_000])
def test_a_worker_never_takes_too_many(ahead: int) -> None:
    """However many calls it wants to have under way, and however many of them have not ended."""
    items = Dealt(3, ahead, Gate(threading.Condition(), lambda: None), lambda now: None)
    trainer, _ = dealt(Items(NO_MORE, 1))
    trainer.wanted(Take(1, 3))
    for ordinal in range(3):
        trainer.done(Done(1, ordinal, 0))
    under_way: list[Work] = []
    for _ in range(2 * MAX_AHEAD):
        work = items.next(wait=False)
        if work is not None:
            under_way.append(work)
        elif len(under_way) > min(ahead, MAX_AHEAD // 2):
            items.done(under_way.pop(0))
        until, done = items.news()
        for ordinal, count, total in done:
            trainer.done(Done(1, ordinal, count, total))
        if until is not None:
            for given_ in trainer.wanted(Take(1, until)):
                items.give(given_)
    assert trainer.deals is not None
    assert trainer.deals.dealt > MAX_AHEAD // 2


def test_an_owner_is_told_the_total() -> None:
    """Of the items that it deals itself, as soon as the worker finds it."""
    told: list[int] = []
    trainer = PulledStream(OPEN, WIDE, Deals(None, 0, on_end=told.append))
    trainer.open()
    for item in (0, 4, 5):
        trainer.deal(item)
    for message in (Done(1, 1, 0, 4), Done(1, 2, 0, 4)):
        trainer.done(message)
    assert told == [4, 4]
    trainer.done(Done(1, 0, 0))
    assert trainer.finished() == [(0, 0)]


# All of it, between the real ends.

contents = st.integers(1, 3).flatmap(
    lambda stride: st.lists(
        st.lists(st.integers(0, 4), max_size=7), min_size=stride, max_size=stride
    )
).map(Content)  # fmt: skip
windows = st.builds(Window, st.integers(1, 6), st.sampled_from([1, 20, 50, 10_000]))


# The others have more moments, or are like these: tests/soak/test_worlds.py has all.
@pytest.mark.parametrize("fault", ["die", "gap"])
def test_every_moment_of_a_fault(fault: str) -> None:
    """One worker, one item and the end behind it: wherever it strikes, all comes once."""
    window = Window(1, 99)
    reached, ends = explore(Dealing(Content([[1]]), 1, known=False, window=window, fault=fault))
    assert reached > 500
    assert ends > 1


class Hands(RuleBasedStateMachine):
    """A few workers, what they share, and bad luck."""

    dealing: Dealing

    @initialize(
        content=contents, workers=st.integers(1, 4), window=windows,
        batch=st.sampled_from([0, 0, 1, 3, 5]), drop=st.booleans(), known=st.booleans(),
        ahead=st.integers(1, 4), eager=st.booleans(),
        left_out=st.frozensets(st.integers(0, 12), max_size=4),
    )  # fmt: skip
    def begin(
        self, content: Content, workers: int, window: Window, batch: int, drop: bool, known: bool,
        ahead: int, eager: bool, left_out: frozenset[int],
    ) -> None:  # fmt: skip
        self.dealing = Dealing(
            content, workers, known=known and content.stride == 1, window=window, batch=batch,
            drop_remainder=drop and batch > 0, ahead=ahead, eager=eager, left_out=left_out,
        )  # fmt: skip

    @rule(picks=st.lists(st.integers(0, 1000), min_size=1, max_size=20))
    def work(self, picks: list[int]) -> None:
        for pick in picks:
            steps = self.dealing.steps()
            if steps:
                self.dealing.take(steps[pick % len(steps)])

    @rule(count=st.integers(1, 60))
    def work_on(self, count: int) -> None:
        self.dealing.work(count)

    @precondition(lambda self: not self.dealing.over)
    @rule(what=st.sampled_from(FAULTS), pick=st.integers(0, 100))
    def strike(self, what: str, pick: int) -> None:
        self.dealing.take((what, pick % len(self.dealing.places)))
        event(f"struck: {what}")

    @invariant()
    def nothing_is_wrong(self) -> None:
        if hasattr(self, "dealing"):
            self.dealing.check()

    def teardown(self) -> None:
        if not hasattr(self, "dealing"):
            return
        assert self.dealing.settle(), "a stream never ended"
        self.dealing.check()
        event(f"lives: {max(place.lives for place in self.dealing.places)}")


TestHands = Hands.TestCase
TestHands.settings = settings(
    max_examples=150, stateful_step_count=30, report_multiple_bugs=False,
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
)  # fmt: skip
