"""Which snapshots are kept, and which of them say most of now: pure."""

from __future__ import annotations

from genserver.protocol.telemetry import Snapshot, TrainerTotals
from genserver.protocol.verdict import LEAST_ELEMENTS, Bottleneck, judge
from genserver.protocol.window import SECONDS, Window, recent
from hypothesis import given
from hypothesis import strategies as st

SECOND = 1_000_000
#: Snapshots that a window may have: of the last seconds, and one in ten seconds of ten minutes.
MOST = SECONDS + 1 + 61


def at(seconds: float, *trainers: TrainerTotals) -> Snapshot:
    return Snapshot(at=int(seconds * SECOND), cores=2, memory=2**30, trainers=trainers)


def reading(session: int, elements: int, waiting: int = 0) -> TrainerTotals:
    return TrainerTotals(session=session, elements=elements, waiting=waiting, using=1)


def test_what_is_recent_begins_with_the_first_element_of_all_who_read() -> None:
    """Until then a trainer waits for processes and connections."""
    snapshots = (
        at(0), at(1, reading(1, 0, SECOND)), at(2, reading(1, 5, 2 * SECOND)),
        at(3, reading(1, 9, 2 * SECOND), reading(2, 0, SECOND)),
        at(4, reading(1, 9, 3 * SECOND), reading(2, 1, 2 * SECOND)),
        at(6, reading(1, 9, 4 * SECOND), reading(2, 1, 3 * SECOND)),
    )  # fmt: skip
    whole, alone = recent(snapshots), recent(snapshots[:4])
    assert whole is not None
    assert alone is not None
    assert (whole.seconds, [one.waiting for one in whole.trainers]) == (2.0, [1.0, 1.0])
    assert alone.seconds == 1.0


def test_there_is_nothing_recent_before_there_are_two() -> None:
    """Two with elements, where somebody reads; any two where nobody does."""
    read = at(2, reading(1, 5))
    assert recent(()) is recent((at(0),)) is recent((at(0), read)) is None
    nobody = recent((at(0), at(1)))
    assert nobody is not None
    assert nobody.trainers == ()


def watched(seconds: int, rate: float) -> Window:
    """After so many seconds with a trainer that waits for nearly all of them."""
    window = Window()
    for now in range(1, seconds + 1):
        window.add(at(now, reading(1, 1 + int(now * rate), now * SECOND)))
    return window


def test_a_slow_generator_has_its_verdict_too() -> None:
    """One element in 4 s: the verdict comes with the 20 elements that it takes, and is about as
    many seconds as those took; a fast one's is about the last ten."""
    early, late = recent(watched(70, 0.25).snapshots), recent(watched(300, 0.25).snapshots)
    fast = recent(watched(300, 20.0).snapshots)
    assert early is not None
    assert late is not None
    assert fast is not None
    assert judge(early).bottleneck is Bottleneck.UNKNOWN
    assert judge(late).bottleneck is not Bottleneck.UNKNOWN
    assert 4 * LEAST_ELEMENTS <= late.seconds <= 4 * LEAST_ELEMENTS + 20
    assert fast.seconds == SECONDS


@given(st.lists(st.integers(1, 30), max_size=400))
def test_a_window_is_bounded_and_has_the_last_seconds_whole(pauses: list[int]) -> None:
    """However long it is added to, and at whatever pace of a second or more."""
    window, now, whole = Window(), 0, [0]
    window.add(at(0))
    for pause in pauses:
        now += pause
        whole.append(now)
        window.add(at(now))
    kept = [one.at // SECOND for one in window.snapshots]
    assert len(kept) <= MOST
    assert kept == sorted(kept)
    assert [one for one in kept if one >= now - SECONDS] == [s for s in whole if s >= now - SECONDS]
    assert all(now - one <= 600 for one in kept)


def test_another_life_of_a_server_begins_with_nothing() -> None:
    """Its counters went back."""
    window = watched(5, 1.0)
    window.add(at(1))
    assert [one.at for one in window.snapshots] == [SECOND]
