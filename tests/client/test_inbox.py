"""What a lane finds in its inbox."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import pytest
from genserver.protocol.chunk import Chunk
from genserver.protocol.errors import Interrupted, PeerLost
from genserver.protocol.stream import Delivery
from genserver.protocol.transport import inbox as inbox_module
from genserver.protocol.transport.inbox import Inbox


def delivery(first: int) -> Delivery:
    return Delivery(first, 0, Chunk(1, 8, (np.array([first]),)))


def test_everything_that_arrived_is_taken_at_once() -> None:
    """In the order of each stream, with the streams that have ended."""
    inbox = Inbox(3)
    first, second, other = delivery(0), delivery(1), delivery(0)
    inbox.put(0, first)
    inbox.put(2, other)
    inbox.put(0, second)
    inbox.end(2)
    assert inbox.take_all() == ([(0, first), (0, second), (2, other)], [2])
    assert inbox.take_all() == ([], [2])


def test_what_arrived_before_a_failure_can_be_taken() -> None:
    """Only a wait for more raises it."""
    inbox = Inbox(1)
    inbox.put(0, delivery(0))
    inbox.fail(PeerLost(endpoint="tcp://a:1", peer="worker 0", seconds=1.0))
    assert len(inbox.take_all()[0]) == 1
    assert inbox.take_all() == ([], [])
    with pytest.raises(PeerLost):
        inbox.take(0.0)


@pytest.fixture
def elsewhere() -> Iterator[Executor]:
    """A thread of TensorFlow's, as it were."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_an_interrupt_ends_a_wait_in_vain_and_nothing_else(elsewhere: Executor) -> None:
    """Taking what is there is no wait, also when there is nothing; a wait ends at once."""
    inbox = Inbox(1)
    inbox.put(0, delivery(0))
    inbox.interrupt()
    inbox.take_all()
    assert inbox.take_all() == ([], [])
    inbox.put(0, delivery(1))
    assert elsewhere.submit(inbox.take, 0.0).result() is not None
    waiting = elsewhere.submit(inbox.take, 60.0)
    assert isinstance(waiting.exception(30), Interrupted)
    assert isinstance(elsewhere.submit(inbox.take, 0.0).exception(), Interrupted)


def test_an_interrupt_in_the_middle_of_a_wait_ends_it(elsewhere: Executor) -> None:
    """Also between two short waits of one long one."""
    inbox = Inbox(1)
    assert elsewhere.submit(inbox.take, 0.0).result() is None
    inbox.interrupt()
    assert isinstance(elsewhere.submit(inbox.take, 0.0).exception(), Interrupted)


def test_an_interrupt_is_remembered_for_a_moment_only(
    elsewhere: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training loop that was interrupted in its own step may go on."""
    monkeypatch.setattr(inbox_module, "INTERRUPT_LASTS", 0.0)
    inbox = Inbox(1)
    inbox.interrupt()
    assert elsewhere.submit(inbox.take, 0.0).result() is None


def test_the_main_thread_has_its_own_interrupt() -> None:
    """Python raises it there; what is read afterwards is not failed."""
    inbox = Inbox(1)
    assert inbox.take(0.0) is None
    inbox.interrupt()
    assert inbox.take(0.0) is None
