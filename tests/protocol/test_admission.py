"""The fence of a bound socket: who is cut, and that nobody else ever is."""

from __future__ import annotations

from genserver.protocol.admission import (
    ENVELOPE,
    GREETING_SECONDS,
    MAX_BREACHES,
    MAX_CONNECTIONS,
    MAX_PENDING,
    MAX_QUEUE,
    REPORT_EVERY,
    Admission,
)
from hypothesis import given
from hypothesis import strategies as st


def greeted(*connections: int) -> Admission:
    """Connections that said HELLO at 0."""
    admission = Admission()
    for connection in connections:
        assert admission.accepted(connection, 0.0) == []
        assert admission.arrived(connection, 100, 0.0)
        admission.greeted(connection)
    return admission


def test_a_connection_that_says_no_hello_is_cut_and_another_is_not() -> None:
    """After its time, once."""
    admission = greeted(1)
    admission.accepted(2, 0.0)
    assert admission.tick(GREETING_SECONDS - 0.1, {}, drained=True) == []
    assert [cut.connection for cut in admission.tick(GREETING_SECONDS, {}, drained=True)] == [2]
    assert admission.tick(2 * GREETING_SECONDS, {}, drained=True) == []
    assert admission.cut == 1


def test_the_third_breach_cuts_and_what_follows_is_dropped() -> None:
    """Breaches of others do not count for it."""
    admission = greeted(1, 2)
    for _ in range(MAX_BREACHES - 1):
        assert admission.breach(1) == []
        assert admission.breach(2) == []
    assert [cut.connection for cut in admission.breach(1)] == [1]
    assert not admission.arrived(1, 100, 1.0)
    assert admission.arrived(2, 100, 1.0)
    assert admission.dropped == 2 * MAX_BREACHES


def test_one_connection_too_many_ends_at_once() -> None:
    """It does not end those that are there; when one of them goes, there is room."""
    admission = greeted(*range(MAX_CONNECTIONS))
    assert [cut.connection for cut in admission.accepted(MAX_CONNECTIONS, 0.0)] == [MAX_CONNECTIONS]
    admission.gone(MAX_CONNECTIONS)
    admission.gone(0)
    assert admission.accepted(MAX_CONNECTIONS, 0.0) == []


def test_a_message_that_never_ends_is_told_by_what_nobody_was_handed() -> None:
    """A connection is cut at a MiB, and with a queue that is not empty at what may wait in it."""
    for drained, limit in ((True, MAX_PENDING), (False, MAX_PENDING + MAX_QUEUE)):
        admission = greeted(1)
        handed_on = 100 + ENVELOPE
        assert admission.tick(0.2, {1: handed_on + limit}, drained=drained) == []
        (cut,) = admission.tick(0.4, {1: handed_on + limit + 1}, drained=drained)
        assert (cut.connection, cut.why) == (1, f"{limit + 1} bytes that are no whole message")


def test_of_a_connection_that_sends_nothing_but_whole_messages_nothing_is_pending() -> None:
    """However many: a year of them is no more than the first."""
    admission, received = greeted(1), 300
    for moment in range(10_000):
        admission.arrived(1, 500, float(moment))
        received += 500 + 40
        assert admission.tick(float(moment), {1: received}, drained=True) == []
    assert admission.cut == 0


@given(st.lists(st.tuples(st.integers(0, 2**17), st.integers(0, 50), st.booleans()), max_size=60))
def test_who_is_honest_is_never_cut(steps: list[tuple[int, int, bool]]) -> None:
    """Messages of any size up to the limit, on the wire before they are handed on, in bursts."""
    admission = greeted(1)
    wire, waiting = 400, 0
    for size, count, drained in steps:
        size = min(size, 2**16)
        wire += count * (size + 40)
        waiting += count
        if waiting * (2**16 + 40) > MAX_QUEUE:
            break  # the socket's own limit comes first
        if drained:
            for _ in range(waiting):
                assert admission.arrived(1, 2**16, 1.0)
            waiting = 0
        assert admission.tick(1.0, {1: wire}, drained=drained) == []


def test_a_descriptor_that_is_used_again_begins_anew() -> None:
    """What its last user did is forgotten."""
    admission = greeted(1)
    admission.breach(1)
    admission.breach(1)
    admission.gone(1)
    admission.accepted(1, 5.0)
    assert admission.breach(1) == []
    assert admission.tick(5.0, {1: MAX_PENDING}, drained=True) == []


def test_who_has_no_connection_is_not_read() -> None:
    """As peers of ZeroMQ 2 and 3, who say nothing of themselves."""
    admission = Admission()
    assert not admission.arrived(-1, 100, 0.0)
    assert admission.breach(-1) == []
    assert admission.dropped == 2


def test_the_log_says_it_now_and_then() -> None:
    """A line for any number of them, and none where nothing happened."""
    admission = greeted(1)
    assert admission.report(100.0) == ""
    for _ in range(1000):
        admission.breach(1)
    assert admission.report(100.0) == "sent away: 1000 messages were dropped, 1 connections cut"
    admission.breach(1)
    assert admission.report(100.0 + REPORT_EVERY / 2) == ""
    assert "1 messages were dropped" in admission.report(100.0 + REPORT_EVERY)
    assert admission.report(200.0) == ""
