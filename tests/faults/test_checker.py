"""The judge itself: it finds each kind of fault, and nothing in a log without one."""

from __future__ import annotations

import numpy as np
import pytest
from genserver.protocol.errors import InternalError, WorkerDied
from genserver.server import Worker

from ..support.checker import Checker, Kind, consume
from ..support.hashed import LARGE, TINY, Element, counting, make, open_ended, seeking, share

N, WORKERS = 10, 2
EACH = [share(worker, WORKERS, N) for worker in range(WORKERS)]


def log(*numbers: tuple[int, int], nbytes: int = TINY, epoch: int = 0) -> list[Element]:
    """(worker, number) pairs as elements."""
    return [make(worker, epoch, number, nbytes) for worker, number in numbers]


WHOLE = [(worker, number) for number in range(5) for worker in (0, 1)]


def kinds(elements: list[Element], end: BaseException | None = None, **options: bool) -> set[Kind]:
    """What a checker of two workers with five elements each finds."""
    checker = Checker(EACH, in_turn=options.pop("in_turn", False))
    consume(elements, checker)
    return {fault.kind for fault in checker.judge(end, **options)}


def without(*left_out: tuple[int, int]) -> list[Element]:
    return log(*(pair for pair in WHOLE if pair not in left_out))


@pytest.mark.parametrize("nbytes", [TINY, 64, LARGE])
def test_a_whole_log_has_no_fault(nbytes: int) -> None:
    """Workers may come in any mixture; each in its own order."""
    checker = Checker(EACH, nbytes=nbytes)
    assert consume(log(*sorted(WHOLE), nbytes=nbytes), checker) is None
    assert checker.judge() == []
    assert (checker.got(0), checker.got(1), checker.taken) == (5, 5, 10)
    assert checker.is_over(0)
    assert not Checker(EACH).is_over(0)


def test_an_element_that_never_comes_is_a_gap() -> None:
    """In the middle of a worker's elements."""
    assert kinds(without((0, 2))) == {Kind.GAP}
    checker = Checker(EACH)
    consume(without((0, 2), (0, 3)), checker)
    with pytest.raises(AssertionError, match="worker 0, epoch 0, elements 2 to 3"):
        checker.check()


def test_an_element_that_comes_again_is_a_repeat() -> None:
    """At once, or much later."""
    assert kinds(log(*WHOLE[:3], WHOLE[2], *WHOLE[3:])) == {Kind.REPEAT}
    assert kinds(log(*WHOLE, WHOLE[0])) == {Kind.REPEAT}


def test_two_elements_that_change_places_are_out_of_order() -> None:
    """Nothing is lost, and still it is a fault."""
    pairs = list(WHOLE)
    pairs[2], pairs[4] = pairs[4], pairs[2]
    assert kinds(log(*pairs)) == {Kind.ORDER}


@pytest.mark.parametrize("nbytes", [TINY, 64, LARGE])
@pytest.mark.parametrize("at", [0, 17, -1])
def test_one_changed_byte_is_found(nbytes: int, at: int) -> None:
    """Wherever it is."""
    checker = Checker([1], nbytes=nbytes)
    label, data, crc = make(0, 0, 0, nbytes)
    data = data.copy()
    data[at] ^= 1
    checker.take((label, data, crc))
    assert [fault.kind for fault in checker.judge()] == [Kind.CONTENT]


def test_another_elements_payload_is_found() -> None:
    """Also with the checksum that fits it."""
    ours, other = make(0, 0, 0, LARGE), make(0, 0, 1, LARGE)
    checker = Checker([1], nbytes=LARGE)
    checker.take((ours[0], other[1], other[2]))
    assert [fault.kind for fault in checker.judge()] == [Kind.CONTENT]


def test_a_payload_that_was_shifted_is_found() -> None:
    """Every byte depends on its place."""
    label, data, crc = make(0, 0, 0, LARGE)
    checker = Checker([1], nbytes=LARGE)
    checker.take((label, np.roll(data, 32), crc))
    assert [fault.kind for fault in checker.judge()] == [Kind.CONTENT]


def test_a_silent_end_is_found() -> None:
    """An end of data after fewer elements than were made is the worst of all faults."""
    assert kinds(without((1, 4))) == {Kind.COUNT}
    assert kinds([]) == {Kind.COUNT}
    assert kinds(without((1, 4)), whole=False) == set()


def test_an_element_of_nobody_is_found() -> None:
    """Another worker, another epoch, more than there are."""
    assert kinds(log(*WHOLE, (2, 0))) == {Kind.STRANGER}
    assert kinds(log(*WHOLE) + log((0, 0), epoch=1)) == {Kind.STRANGER}
    assert Kind.STRANGER in kinds(log(*WHOLE, (0, 5)))


def test_workers_out_of_turn_are_found() -> None:
    """In deterministic order the workers take turns, to the last element."""
    assert kinds(log(*WHOLE), in_turn=True) == set()
    assert kinds(log(*sorted(WHOLE)), in_turn=True) == {Kind.TURN}


def test_a_pass_that_was_resumed_begins_where_the_first_left_off() -> None:
    """In the middle of a round, too."""
    checker = Checker(EACH, start=[3, 2], in_turn=True)
    consume(log(*WHOLE[5:]), checker)
    assert checker.judge() == []


def test_an_error_is_an_end_only_if_it_names_the_stream() -> None:
    """A typed error with its worker instead of the rest is right; any other is not."""
    died = WorkerDied(endpoint="tcp://127.0.0.1:1", worker=1, cause="SIGKILL")
    assert kinds(without((1, 4)), died) == set()
    assert kinds(without((1, 3)), died) == {Kind.GAP}
    assert kinds(without((1, 4)), InternalError("oh")) == {Kind.ERROR}
    assert kinds(without((1, 4)), ValueError("worker 1")) == {Kind.ERROR}


def test_the_lives_of_a_worker_are_told_apart() -> None:
    """By the process that made the element."""
    checker = Checker([3])
    label, data, crc = make(0, 0, 2, TINY)
    consume([*log((0, 0), (0, 1)), (label + np.array([0, 0, 0, 1]), data, crc)], checker)
    assert [life.first for life in checker.lives(0)] == [0, 2]


def test_a_random_generators_lives_count_for_themselves() -> None:
    """Each from 0, and each without a gap."""
    for left_out, found in ((None, []), (3, [Kind.GAP])):
        checker = Checker([None], by_life=True)
        consume(log((0, 0), (0, 1)), checker)
        later = log(*((0, number) for number in range(5) if number != left_out))
        consume(
            [(label + np.array([0, 0, 0, 1]), data, crc) for label, data, crc in later], checker
        )
        assert [fault.kind for fault in checker.judge(whole=False)] == found


def test_the_generators_make_what_the_checker_expects() -> None:
    """Seeking or not, from the first element on or from later."""
    for index in range(3):
        for start in (0, 3):
            checker = Checker([share(w, 3, 20) for w in range(3)], start=[start] * 3)
            consume(seeking(Worker(index, 3, start=start), n=20), checker)
            assert checker.got(index) == share(index, 3, 20)
            assert checker.judge(whole=False) == []
    checker = Checker([7, None])
    consume(counting(Worker(0, 3, start=2), n=20), checker)
    consume(open_ended(Worker(1, 3)), checker, limit=50)
    assert checker.judge(whole=False) == []
    assert (checker.got(0), checker.got(1)) == (7, 43)
