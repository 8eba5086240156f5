"""The book of shared memory slots."""

from __future__ import annotations

from genserver.protocol.slots import PAGE, SlotTable, Taken
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

SIZES = st.integers(1, 20 * PAGE)


class Slots(RuleBasedStateMachine):
    """A worker that writes, sends and forgets, and a trainer that releases when it likes."""

    @initialize(pages=st.integers(1, 40))
    def begin(self, pages: int) -> None:
        self.budget = pages * PAGE
        self.table = SlotTable(self.budget)
        self.sizes: dict[int, int] = {}
        #: (slot, generation) -> [seen by the worker, messages that the trainer has]
        self.seen: dict[tuple[int, int], list[int]] = {}

    @rule(nbytes=SIZES)
    def take(self, nbytes: int) -> None:
        """A slot that somebody still sees is never given out, nor dropped."""
        taken = self.table.take(nbytes)
        if taken is None:
            return
        in_use = {slot for slot, _ in self.seen}
        assert taken.slot not in in_use
        assert not in_use & set(taken.dropped)
        for slot in taken.dropped:
            del self.sizes[slot]
        if taken.size:
            self.sizes[taken.slot] = taken.size
        assert self.sizes[taken.slot] >= nbytes
        self.seen[taken.slot, taken.generation] = [1, 0]

    @precondition(lambda self: any(local for local, _ in self.seen.values()))
    @rule(data=st.data(), times=st.integers(1, 3))
    def send(self, data: st.DataObject, times: int) -> None:
        key = data.draw(st.sampled_from([k for k, (local, _) in self.seen.items() if local]))
        for _ in range(times):
            self.table.sent(key[0])
        self.seen[key][1] += times

    @precondition(lambda self: any(local for local, _ in self.seen.values()))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([k for k, (local, _) in self.seen.items() if local]))
        self.table.left(key[0])
        self.seen[key][0] = 0
        self._settle(key)

    @precondition(lambda self: any(out for _, out in self.seen.values()))
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from([k for k, (_, out) in self.seen.items() if out]))
        self.table.released(*key)
        self.seen[key][1] -= 1
        self._settle(key)

    @rule(slot=st.integers(0, 50), generation=st.integers(0, 50))
    def lie(self, slot: int, generation: int) -> None:
        """Releasing what one does not have changes nothing."""
        if self.seen.get((slot, generation), [0, 0])[1] == 0:
            self.table.released(slot, generation)

    def _settle(self, key: tuple[int, int]) -> None:
        if self.seen[key] == [0, 0]:
            del self.seen[key]

    @invariant()
    def within_budget(self) -> None:
        if hasattr(self, "table"):
            assert self.table.nbytes == sum(self.sizes.values()) <= self.budget


TestSlots = Slots.TestCase
TestSlots.__doc__ = "Whatever is sent, kept and released, no slot is written that somebody sees."


def test_a_free_slot_is_used_again_in_a_new_generation() -> None:
    """The same memory serves again, and a late release of its earlier use does nothing."""
    table = SlotTable(4 * PAGE)
    first = table.take(3 * PAGE)
    assert first == Taken(0, 0, 3 * PAGE)
    table.sent(0)
    table.left(0)
    assert table.take(3 * PAGE) is None
    table.released(0, 0)
    assert table.take(3 * PAGE) == Taken(0, 1)
    table.sent(0)
    table.left(0)
    table.released(0, 0)
    assert table.take(3 * PAGE) is None


def test_idle_slots_of_other_sizes_make_room() -> None:
    """Elements that grow take the place of slots that have become too small, the oldest first."""
    table = SlotTable(10 * PAGE)
    for number in range(5):
        assert table.take(2 * PAGE) == Taken(number, 0, 2 * PAGE)
    for number in (3, 1, 2):
        table.left(number)
    assert table.take(4 * PAGE) == Taken(5, 0, 4 * PAGE, (3, 1))
    assert table.take(8 * PAGE) is None
    assert table.take(PAGE) == Taken(2, 1)


def test_a_slot_that_could_not_be_made_costs_nothing() -> None:
    """After the system refused memory the budget is what it was."""
    table = SlotTable(PAGE)
    assert table.take(1) == Taken(0, 0, PAGE)
    table.forget(0)
    assert table.nbytes == 0
    assert table.take(1) == Taken(1, 0, PAGE)


@given(SIZES, SIZES)
def test_a_free_slot_serves_arrays_of_half_its_size_at_least(held: int, wanted: int) -> None:
    """An array gets a free slot that is large enough, unless that would waste more than half."""
    table = SlotTable(100 * PAGE)
    table.take(held)
    table.left(0)
    have, need = -(-held // PAGE), -(-wanted // PAGE)
    again = need <= have <= 2 * need
    assert table.take(wanted) == (Taken(0, 1) if again else Taken(1, 0, need * PAGE))
