"""What a lane finds in its inbox."""

from __future__ import annotations

import numpy as np
import pytest
from genserver.protocol.chunk import Chunk
from genserver.protocol.errors import Interrupted, PeerLost
from genserver.protocol.stream import Delivery
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


def test_an_interrupt_ends_a_wait_in_vain_and_nothing_else() -> None:
    """Taking what is there is no wait, also when there is nothing."""
    inbox = Inbox(1)
    inbox.take_all()
    inbox.interrupt()
    assert inbox.take(0.0) is None
    inbox.put(0, delivery(0))
    inbox.take_all()
    inbox.interrupt()
    inbox.put(0, delivery(1))
    assert inbox.take(0.0) is not None
    assert inbox.take(0.0) is None
    inbox.interrupt()
    with pytest.raises(Interrupted):
        inbox.take(0.0)
