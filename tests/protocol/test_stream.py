"""One stream at both ends: credit, acknowledgement, replay and every way to end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from genserver.protocol.chunk import Chunk
from genserver.protocol.errors import LocalProtocolError, RemoteProtocolError
from genserver.protocol.messages import Close, End, EndAck, Error, Fail, Grant, Item, Open
from genserver.protocol.stream import (
    MAX_CREDIT,
    MAX_CREDIT_BYTES,
    Delivery,
    PulledStream,
    ServedStream,
    Window,
)
from genserver.protocol.tables import StreamState
from hypothesis import given
from hypothesis import strategies as st

OPEN = Open(stream=1, index=0, count=1, epoch=0, seed=5)
WIDE = Window(100, 10_000)
FAIL = Fail(1, 2, "ValueError", "no", "")


def chunk(n: int, each: int = 10) -> Chunk:
    """A chunk whose elements weigh ``each``."""
    return Chunk(n, n * each, (np.zeros((n, each), np.uint8),))


def pulled(window: Window = WIDE, start: int = 0) -> PulledStream:
    """An open trainer's end."""
    stream = PulledStream(replace(OPEN, start=start), window)
    stream.open()
    return stream


def pair(window: Window = WIDE) -> tuple[PulledStream, ServedStream]:
    """Both ends, open, with the first grant applied."""
    trainer = PulledStream(OPEN, window)
    opening, grant = trainer.open()
    worker = ServedStream(opening)
    worker.receive(grant)
    return trainer, worker


def resumed(trainer: PulledStream, worker: ServedStream) -> list[Item | End | Fail]:
    """What the worker sends again on a new link."""
    opening, grant = trainer.open()
    again = worker.resume(opening)
    worker.receive(grant)
    return again


@given(
    st.integers(1, 9), st.integers(1, 300),
    st.lists(st.tuples(st.integers(0, 120), st.booleans()), max_size=40),
)  # fmt: skip
def test_credit_is_never_passed(elements: int, nbytes: int, plan: list[tuple[int, bool]]) -> None:
    """A worker that obeys its limits never has more ahead than the window and one element."""
    trainer, worker = pair(Window(elements, nbytes))
    waiting: list[Delivery] = []
    weight = 0
    for size, take in plan:
        if take and waiting:
            grant = trainer.took(waiting.pop(0))
            assert grant is None or worker.receive(grant)
        if worker.next < worker.limit_elements and weight < worker.limit_bytes:
            weight += size
            delivery = trainer.receive(worker.item(chunk(1, size)))
            assert isinstance(delivery, Delivery)
            waiting.append(delivery)
        assert len(waiting) <= elements
        assert sum(d.chunk.nbytes for d in waiting[:-1]) < nbytes


def test_a_window_of_one_byte_means_one_at_a_time() -> None:
    """With one byte of window the next element is granted when the last one was taken."""
    trainer, worker = pair(Window(100, 1))
    for _ in range(3):
        sent = worker.item(chunk(1))
        delivery = trainer.receive(sent)
        assert worker.next * 10 >= worker.limit_bytes
        worker.receive(trainer.took(delivery))
        assert worker.limit_bytes == worker.next * 10 + 1


def test_grants_come_at_half_the_window() -> None:
    """A grant is sent when half of the window was taken, not for each element."""
    trainer, worker = pair(Window(8, 10_000))
    deliveries = [trainer.receive(worker.item(chunk(1))) for _ in range(8)]
    grants = [trainer.took(delivery) for delivery in deliveries]
    assert [grant is not None for grant in grants] == [False, False, False, True] * 2
    assert (grants[3].elements, grants[3].ack) == (12, 4)


def test_elements_that_wait_are_charged() -> None:
    """Bytes that arrived and were not taken are not granted again after a resume."""
    trainer, worker = pair(Window(100, 50))
    trainer.receive(worker.item(chunk(3)))
    _, grant = trainer.open()
    assert grant.nbytes == 20
    trainer.receive(worker.item(chunk(4)))
    assert trainer.open()[1].nbytes == 0


@pytest.mark.parametrize("ack", [0, 1, 2, 3, 5, 6])
def test_an_acknowledgement_frees_whole_chunks(ack: int) -> None:
    """The worker forgets the chunks that lie wholly before the acknowledged element."""
    _, worker = pair()
    for n in (2, 3, 1):
        worker.item(chunk(n))
    worker.receive(Grant(1, 100, 1000, ack))
    assert worker.unacknowledged == sum(end > ack for end in (2, 5, 6))


def test_limits_never_go_back() -> None:
    """A GRANT that was overtaken by a later one takes nothing away."""
    _, worker = pair()
    worker.receive(Grant(1, 200, 20_000, 0))
    worker.receive(Grant(1, 150, 15_000, 0))
    assert (worker.limit_elements, worker.limit_bytes) == (200, 20_000)


@pytest.mark.parametrize("grant", [Grant(1, 100, 0, 3), Grant(1, 1, 0, 2)])
def test_an_acknowledgement_of_the_future(grant: Grant) -> None:
    """A GRANT that acknowledges what was never sent, or more than it allows, is a breach."""
    _, worker = pair()
    worker.item(chunk(2))
    with pytest.raises(RemoteProtocolError, match="never sent"):
        worker.receive(grant)


def test_the_end() -> None:
    """END closes the trainer's end at once, the worker's when END_ACK arrives."""
    trainer, worker = pair()
    trainer.receive(worker.item(chunk(2)))
    end = worker.end()
    assert end == End(1, 2)
    answer = trainer.receive(end)
    assert (answer, trainer.state) == (EndAck(1), StreamState.CLOSED)
    assert (worker.resend, worker.unacknowledged) == (end, 1)
    worker.receive(answer)
    assert (worker.resend, worker.unacknowledged, worker.state) == (None, 0, StreamState.CLOSED)


def test_a_resent_end_is_answered_again() -> None:
    """END is answered as often as it comes, and END_ACK may come twice."""
    trainer, worker = pair()
    end = worker.end()
    for _ in range(2):
        assert trainer.receive(end) == EndAck(1)
        worker.receive(EndAck(1))
    assert worker.state is StreamState.CLOSED


@pytest.mark.parametrize("count", [1, 3])
def test_an_end_with_another_count(count: int) -> None:
    """An END that counts more or fewer elements than arrived is a breach, not an end."""
    trainer = pulled()
    trainer.receive(Item(1, 0, chunk(2)))
    with pytest.raises(RemoteProtocolError, match=f"END counts {count} elements, 2 arrived"):
        trainer.receive(End(1, count))
    assert trainer.state is StreamState.OPEN


def test_a_failure() -> None:
    """FAIL fails both ends, and nothing can be sent after it."""
    trainer, worker = pair()
    assert trainer.receive(worker.fail(FAIL)) is None
    assert trainer.state is worker.state is StreamState.FAILED
    with pytest.raises(LocalProtocolError):
        worker.item(chunk(1))
    with pytest.raises(LocalProtocolError):
        worker.end()
    assert trainer.close() == Close(1)


def test_a_refused_stream_fails() -> None:
    """An ERROR that names a stream fails it."""
    trainer = pulled()
    assert trainer.receive(Error("too_many_streams", "no", 1)) is None
    assert trainer.state is StreamState.FAILED


@pytest.mark.parametrize("first", [1, 5])
def test_a_hole_is_a_breach(first: int) -> None:
    """An element that is missing before a chunk is never skipped."""
    with pytest.raises(RemoteProtocolError, match="element 0 is missing"):
        pulled().receive(Item(1, first, chunk(1)))


def test_too_many_elements_are_a_breach() -> None:
    """A chunk beyond the granted elements is refused."""
    trainer = pulled(Window(2, 1000))
    trainer.receive(Item(1, 0, chunk(2)))
    with pytest.raises(RemoteProtocolError, match="overran its credit"):
        trainer.receive(Item(1, 2, chunk(1)))


def test_too_many_bytes_are_a_breach() -> None:
    """A chunk that begins beyond the granted bytes is refused; one may overshoot them."""
    trainer = pulled(Window(100, 15))
    trainer.receive(Item(1, 0, chunk(1)))
    trainer.receive(Item(1, 1, chunk(1)))
    with pytest.raises(RemoteProtocolError, match="overran its credit"):
        trainer.receive(Item(1, 2, chunk(1)))


def test_an_empty_chunk_is_a_breach() -> None:
    """A chunk of no elements is refused."""
    with pytest.raises(RemoteProtocolError, match="empty chunk"):
        pulled().receive(Item(1, 0, chunk(0)))


def test_what_was_had_is_sliced_off() -> None:
    """Of a chunk that was cut elsewhere only the new elements are delivered, and once."""
    trainer = pulled()
    trainer.receive(Item(1, 0, chunk(3)))
    delivery = trainer.receive(Item(1, 1, chunk(4)))
    assert (delivery.first, delivery.skip, delivery.n, trainer.next) == (1, 2, 2, 5)
    assert trainer.receive(Item(1, 0, chunk(5))) is None
    assert trainer.receive(Item(1, 2, chunk(2))) is None
    assert trainer.next == 5


def test_taking_a_sliced_delivery_acknowledges_its_end() -> None:
    """The acknowledgement moves to the end of what was delivered."""
    trainer = pulled(Window(4, 1000))
    trainer.took(trainer.receive(Item(1, 0, chunk(1))))
    grant = trainer.took(trainer.receive(Item(1, 0, chunk(3))))
    assert (grant.ack, grant.elements) == (3, 7)


@pytest.mark.parametrize("arrived", range(5))
def test_a_resume_replays_what_is_missing(arrived: int) -> None:
    """On a new link exactly the chunks come again that did not arrive, then new ones."""
    trainer, worker = pair()
    sent = [worker.item(chunk(n)) for n in (2, 1, 3, 1)]
    for item in sent[:arrived]:
        trainer.receive(item)
    again = resumed(trainer, worker)
    assert again == sent[arrived:]
    for item in [*again, worker.item(chunk(1))]:
        trainer.receive(item)
    assert trainer.next == 8


def test_a_resume_resets_the_bytes() -> None:
    """Limits in bytes count from the resumed element, so that credit neither leaks nor doubles."""
    trainer, worker = pair(Window(100, 60))
    first = [worker.item(chunk(2)) for _ in range(3)]
    trainer.took(trainer.receive(first[0]))
    again = resumed(trainer, worker)
    assert again == first[1:]
    assert worker.limit_bytes == 20 + 60
    for item in again:
        trainer.receive(item)
    assert resumed(trainer, worker) == []
    assert worker.limit_bytes == 60 + 20


def test_a_resume_waits_for_credit() -> None:
    """Nothing new may be made between a resume's OPEN and its GRANT."""
    trainer, worker = pair(Window(100, 60))
    trainer.receive(worker.item(chunk(2)))
    worker.resume(trainer.open()[0])
    assert worker.limit_bytes == 20


def test_a_resume_after_the_end() -> None:
    """An END that did not arrive is sent again after the elements that did not."""
    trainer, worker = pair()
    item, end = worker.item(chunk(2)), worker.end()
    assert resumed(trainer, worker) == [item, end]
    assert worker.resend == end
    trainer.receive(item)
    assert trainer.receive(end) == EndAck(1)


def test_a_resume_after_a_failure() -> None:
    """A FAIL that did not arrive is sent again after the elements that did not."""
    trainer, worker = pair()
    item = worker.item(chunk(2))
    worker.fail(FAIL)
    assert resumed(trainer, worker) == [item, FAIL]
    assert worker.state is StreamState.FAILED


@pytest.mark.parametrize(
    "opening",
    [
        replace(OPEN, start=1), replace(OPEN, start=6), replace(OPEN, start=2, seed=6),
        replace(OPEN, start=2, epoch=1), replace(OPEN, start=2, index=1),
        replace(OPEN, start=2, count=2),
    ],
)  # fmt: skip
def test_resumes_that_cannot_be(opening: Open) -> None:
    """A resume before what was acknowledged, beyond what was made, or of another stream fails."""
    _, worker = pair()
    for _ in range(5):
        worker.item(chunk(1))
    worker.receive(Grant(1, 100, 1000, 2))
    with pytest.raises(RemoteProtocolError, match="cannot be resumed"):
        worker.resume(opening)


def test_a_new_life_goes_on_at_the_start() -> None:
    """Another life of the worker numbers its elements from OPEN.start."""
    trainer, worker = pair()
    trainer.receive(worker.item(chunk(3)))
    opening, grant = trainer.open()
    reborn = ServedStream(opening)
    reborn.receive(grant)
    delivery = trainer.receive(reborn.item(chunk(2)))
    assert (opening.start, delivery.first, delivery.skip) == (3, 3, 0)
    assert trainer.receive(reborn.end()) == EndAck(1)


@pytest.mark.parametrize(
    "message", [Item(1, 7, chunk(1)), End(1, 9), FAIL, Error("too_many_streams", "", 1)]
)
def test_what_comes_after_close_is_ignored(message: Item | End | Fail | Error) -> None:
    """Messages that crossed with CLOSE deliver nothing and break nothing."""
    trainer = pulled()
    assert trainer.close() == Close(1)
    assert not isinstance(trainer.receive(message), Delivery)
    assert trainer.state is StreamState.CLOSED


@pytest.mark.parametrize("message", [Grant(1, 999, 99_999, 0), EndAck(1), Close(1)])
def test_the_worker_ignores_what_comes_after_close(message: Grant | EndAck | Close) -> None:
    """A closed stream takes no more credit."""
    _, worker = pair()
    worker.item(chunk(1))
    worker.receive(Close(1))
    assert worker.unacknowledged == 0
    assert not worker.receive(message)
    assert worker.limit_elements == 100


def test_late_deliveries_grant_nothing() -> None:
    """Taking what is left after the end sends no GRANT."""
    trainer, worker = pair(Window(1, 1))
    delivery = trainer.receive(worker.item(chunk(1)))
    trainer.receive(worker.end())
    assert trainer.took(delivery) is None


def test_a_stream_that_was_never_opened_closes_silently() -> None:
    """Closing before OPEN, or twice, says nothing to the worker."""
    stream = PulledStream(OPEN, WIDE)
    assert stream.close() is None
    assert stream.close() is None
    with pytest.raises(LocalProtocolError):
        stream.open()


@pytest.mark.parametrize(
    ("elements", "nbytes", "what"),
    [(MAX_CREDIT + 1, 1, "elements"), (2**63 - 1, 1, "elements"),
     (1, MAX_CREDIT_BYTES + 1, "bytes"), (1, 2**63 - 1, "bytes")],
)  # fmt: skip
def test_a_credit_beyond_what_a_worker_keeps_is_a_breach(
    elements: int, nbytes: int, what: str
) -> None:
    """Counted from what is used, so that a long stream may go on for ever."""
    worker = ServedStream(Open(1, 0, 1, 0, 0, 0))
    assert worker.receive(Grant(1, MAX_CREDIT, MAX_CREDIT_BYTES, 0))
    for first in range(0, 3 * MAX_CREDIT, MAX_CREDIT):
        worker.item(Chunk(MAX_CREDIT, 8, ()))
        worker.receive(
            Grant(1, first + 2 * MAX_CREDIT, worker._bytes + MAX_CREDIT_BYTES, first + MAX_CREDIT)
        )
    used = 3 * MAX_CREDIT
    with pytest.raises(RemoteProtocolError, match=f"too many {what}"):
        worker.receive(Grant(1, used + elements, worker._bytes + nbytes, used))
