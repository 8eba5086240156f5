"""Both ends of shared memory in one process, and what neither believes the other."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from genserver.protocol.codec import Placed
from genserver.protocol.errors import RemoteProtocolError
from genserver.protocol.transport import segments
from genserver.protocol.transport.borrower import Borrower
from genserver.protocol.transport.buffers import SMALLEST, BufferPool
from genserver.protocol.transport.leases import Bytes, address_of
from genserver.protocol.transport.lender import FORGET, SEGMENT, Lender
from genserver.protocol.transport.loop import Loop
from genserver.protocol.transport.segments import Segment

pytestmark = pytest.mark.linux
SIZE = SMALLEST
PEER, SESSION, FENCE = b"peer", 2**63 + 1, 1


class NoLoop:
    """Nobody polls here: the tests read when they want to."""

    def add(self, source: int, handler: Callable[[], bool]) -> None: ...

    def remove(self, source: int) -> None: ...

    def call(self, function: Callable[[], None]) -> None: ...


def borrower_of(path: str) -> Borrower:
    """The trainer's end."""
    return Borrower(cast("Loop", NoLoop()), path, lambda: None)


@dataclass
class Pair:
    """A worker's lender and a trainer's borrower."""

    path: str
    budget: int = 4 * SIZE
    lender: Lender = field(init=False)
    borrower: Borrower = field(init=False)

    def __post_init__(self) -> None:
        self.lender = Lender(self.path)
        self.borrower = borrower_of(self.path)
        assert self.borrower.introduce(SESSION, FENCE)
        self.lender.join(PEER, SESSION, FENCE, self.budget)

    def close(self) -> None:
        self.borrower.close()
        self.lender.close()

    def made(self, value: int) -> tuple[Bytes, Placed]:
        """An array of the worker's, on its way."""
        array = self.lender.allocate(SESSION, SIZE)
        assert array is not None
        array[:] = value
        placed = self.lender.place(PEER, array)
        assert placed is not None
        return array, placed

    def release(self) -> int:
        """Tell the worker what the trainer no longer sees; how many arrays that were."""
        slots = self.borrower.ended()
        self.lender.released(PEER, tuple(slots))
        return len(slots)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A lender and a borrower that have met."""
    made = Pair(str(tmp_path / "0.sock"))
    yield made
    made.close()


def test_an_array_is_seen_by_the_trainer_without_a_copy(pair: Pair) -> None:
    """What the worker writes into its array is there for the trainer, which cannot write."""
    array, placed = pair.made(7)
    seen = pair.borrower.lease(placed)
    assert (seen == 7).all()
    array[0] = 8
    assert seen[0] == 8
    assert not seen.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        seen.flags.writeable = True


def test_a_slot_waits_for_both_ends(pair: Pair) -> None:
    """The same memory is given out again only when neither the worker nor the trainer sees it."""
    first, placed = pair.made(1)
    seen = pair.borrower.lease(placed)
    part = first[10:20]
    del first
    second, other = pair.made(2)
    assert other.segment != placed.segment
    del part, seen
    assert pair.release() == 1
    again, reused = pair.made(3)
    assert (reused.segment, reused.generation) == (placed.segment, placed.generation + 1)
    assert (second == 2).all()
    assert (again == 3).all()


def test_each_message_is_released_by_itself(pair: Pair) -> None:
    """A slot that two messages name is free after both of their arrays are gone."""
    array, placed = pair.made(1)
    upper = pair.lender.place(PEER, array[SIZE // 2 :])
    assert upper is not None
    assert (upper.segment, upper.offset, upper.nbytes) == (placed.segment, SIZE // 2, SIZE // 2)
    one, two = pair.borrower.lease(placed), pair.borrower.lease(upper)
    del array, one
    assert pair.release() == 1
    _, other = pair.made(2)
    assert other.segment != placed.segment
    del two
    assert pair.release() == 1
    _, reused = pair.made(3)
    assert reused.segment == placed.segment


def test_no_slot_is_waited_for(pair: Pair) -> None:
    """Beyond the budget the worker has to do without, until something is free again."""
    arrays = [pair.made(number)[0] for number in range(4)]
    assert pair.lender.allocate(SESSION, SIZE) is None
    assert pair.lender.place(PEER, np.empty(SIZE, np.uint8)) is None
    del arrays
    assert pair.lender.allocate(SESSION, SIZE) is None  # the trainer has them still


def test_without_space_the_worker_does_without_and_says_so_once(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When the system refuses memory nothing is lent, and one line in the worker's log says why."""

    def refuse(_size: int) -> Segment:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(segments, "Segment", refuse)
    for _ in range(3):
        assert pair.lender.allocate(SESSION, SIZE) is None
    assert [record.message for record in caplog.records] == [
        "no shared memory (No space left on device): elements go through the socket"
    ]
    monkeypatch.undo()
    assert pair.lender.allocate(SESSION, SIZE) is not None


def test_a_lost_link_retires_its_memory(pair: Pair) -> None:
    """After the link has gone nothing is given out, and both ends keep what they see."""
    array, placed = pair.made(5)
    seen = pair.borrower.lease(placed)
    pair.lender.prune(lambda _: False)
    assert pair.lender.allocate(SESSION, SIZE) is None
    assert pair.lender.place(PEER, array) is None
    pair.borrower.close()
    assert (seen == 5).all()
    array[:] = 6
    assert (seen == 6).all()


def test_segments_that_made_room_are_unmapped(pair: Pair) -> None:
    """The trainer hears of segments that the worker has let go of."""
    small = [pair.made(number) for number in range(4)]
    seen = [pair.borrower.lease(placed) for _, placed in small]
    gone = {placed.segment for _, placed in small}
    del small, seen
    pair.release()
    large = pair.lender.allocate(SESSION, 4 * SIZE)
    assert large is not None
    placed = pair.lender.place(PEER, large)
    assert placed is not None
    pair.borrower.lease(placed)
    assert not gone & set(pair.borrower._mappings)


@pytest.mark.parametrize(
    ("segment", "offset", "nbytes"),
    [(99, 0, 1), (0, SIZE, 1), (0, 1, SIZE), (0, 0, SIZE + 1), (0, 2**62, 2**62)],
)
def test_a_place_outside_of_what_was_lent_is_refused(
    pair: Pair, segment: int, offset: int, nbytes: int
) -> None:
    """Whatever a worker claims, the trainer reads nothing but mapped memory."""
    pair.made(1)
    with pytest.raises(RemoteProtocolError, match="outside of the shared memory"):
        pair.borrower.lease(Placed(segment, 0, offset, nbytes))


@pytest.mark.parametrize("session", [SESSION, SESSION + 1])
@pytest.mark.parametrize("fence", [FENCE + 1, FENCE + 2])
def test_memory_is_lent_to_the_link_that_asked(tmp_path: Path, session: int, fence: int) -> None:
    """A connection that names another session or another link gets nothing."""
    path = str(tmp_path / "0.sock")
    lender = Lender(path)
    stranger = borrower_of(path)
    stranger.introduce(session, fence)
    lender.join(PEER, SESSION, FENCE, SIZE)
    assert lender.allocate(SESSION, SIZE) is None
    stranger.close()
    lender.close()


def memfd(size: int, seals: int) -> int:
    """A memfd with these seals."""
    fd = os.memfd_create("test", os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, 1033, seals)
    return fd


@pytest.mark.parametrize(("said", "size", "seals"), [
    (4096, 4096, 0), (4096, 4096, 0x7), (4096, 4096, 0x15), (8192, 4096, 0x17), (1, 4096, 0x17),
])  # fmt: skip
def test_memory_that_could_shrink_or_change_is_refused(
    pair: Pair, said: int, size: int, seals: int
) -> None:
    """A file that is not sealed against shrinking and writing, or of another size, is refused."""
    fd = memfd(size, seals)
    pool = pair.lender._peers[PEER]
    assert pool._courier.send(SEGMENT.pack(50, said), fd)
    os.close(fd)
    with pytest.raises(RemoteProtocolError, match="not sealed"):
        pair.borrower.lease(Placed(50, 0, 0, 1))


@pytest.mark.parametrize("text", [b"x", b"x" * 17, SEGMENT.pack(3, 4096)])
def test_strange_messages_map_nothing(pair: Pair, text: bytes) -> None:
    """What is no segment's number and size, or comes without a descriptor, is not believed."""
    assert pair.lender._peers[PEER]._courier.send(text)
    with pytest.raises(RemoteProtocolError):
        pair.borrower.lease(Placed(3, 0, 0, 1))


def test_forgetting_what_was_never_lent_does_nothing(pair: Pair) -> None:
    """A message that a segment is gone may come for one that the trainer does not know."""
    assert pair.lender._peers[PEER]._courier.send(SEGMENT.pack(77, FORGET))
    _, placed = pair.made(1)
    assert (pair.borrower.lease(placed) == 1).all()


def test_received_memory_is_used_again_when_nobody_sees_it() -> None:
    """A buffer serves the next message of about its size, never while a view of it lives."""
    pool = BufferPool()
    first = pool.take(SIZE + 100, 0.0)
    address, view = address_of(first), first[5:9].view(np.int32)
    assert address % 64 == 0
    assert SIZE + 100 <= pool.held <= 9 / 8 * (SIZE + 100)
    del first
    other = pool.take(SIZE + 100, 1.0)
    assert address_of(other) != address
    del view
    assert address_of(pool.take(SIZE, 2.0)) == address
    assert pool.take(100, 2.0).nbytes == 100


def test_idle_buffers_are_let_go_of() -> None:
    """Ten seconds after the last use the pool owns nothing."""
    pool = BufferPool()
    first = pool.take(SIZE, 0.0)
    del first
    pool.tick(1.0)
    assert len(pool._idle) == 1
    pool.tick(20.0)
    assert (pool._idle, pool.held) == ([], 0)
