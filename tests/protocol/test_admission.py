"""The fence of a bound socket: who is cut, and that nobody else ever is."""

from __future__ import annotations

from genserver.protocol.admission import (
    ENVELOPE,
    GREETING_SECONDS,
    MAX_BREACHES,
    MAX_CONNECTIONS,
    MAX_PENDING,
    MAX_PENDING_IN_ALL,
    MAX_QUEUE,
    REPORT_EVERY,
    WORTH_REPORTING,
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


def test_a_hello_that_comes_before_the_news_of_its_connection_counts() -> None:
    """Both are read by the same thread, in any order; the next user of the number begins anew."""
    admission = Admission()
    assert admission.arrived(1, 100, 0.0)
    admission.greeted(1)
    assert admission.accepted(1, 0.0) == []
    assert admission.tick(2 * GREETING_SECONDS, {}, drained=True) == []
    admission.accepted(1, 30.0)  # whose end was not told
    (cut,) = admission.tick(30.0 + GREETING_SECONDS, {}, drained=True)
    assert cut.connection == 1


def test_many_silent_connections_keep_nobody_out() -> None:
    """The eldest of them makes room for each that comes."""
    admission = Admission()
    for connection in range(MAX_CONNECTIONS):
        admission.accepted(connection, float(connection))
    admission.greeted(0)
    (cut,) = admission.accepted(MAX_CONNECTIONS, 600.0)
    assert cut.connection == 1
    (cut,) = admission.accepted(MAX_CONNECTIONS + 1, 601.0)
    assert cut.connection == 2


def test_many_small_pieces_are_as_much_as_a_large_one() -> None:
    """Whoever holds most of them ends, until the rest is little."""
    n = 2 * MAX_PENDING_IN_ALL // MAX_PENDING
    admission = greeted(*range(n))
    received = {c: 100 + ENVELOPE + MAX_PENDING - c for c in range(n)}
    cuts = admission.tick(1.0, received, drained=True)
    assert [cut.connection for cut in cuts] == list(range(len(cuts)))
    left = sum(MAX_PENDING - c for c in range(len(cuts), n))
    assert left <= MAX_PENDING_IN_ALL < left + MAX_PENDING


def test_one_connection_too_many_ends_at_once() -> None:
    """It does not end those that said HELLO; when one of them goes, there is room."""
    admission = greeted(*range(MAX_CONNECTIONS))
    assert [cut.connection for cut in admission.accepted(MAX_CONNECTIONS, 0.0)] == [MAX_CONNECTIONS]
    admission.gone(MAX_CONNECTIONS)
    admission.gone(0)
    assert admission.accepted(MAX_CONNECTIONS, 0.0) == []


def test_a_message_that_never_ends_is_told_by_what_nobody_was_handed() -> None:
    """A connection is cut at 128 KiB, and with a queue that is not empty at what may wait in it."""
    for drained, limit in ((True, MAX_PENDING), (False, MAX_PENDING + MAX_QUEUE)):
        admission = greeted(1)
        handed_on = 100 + ENVELOPE
        assert admission.tick(0.2, {1: handed_on + limit}, drained=drained) == []
        (cut,) = admission.tick(0.4, {1: handed_on + limit + 1}, drained=drained)
        assert (cut.connection, cut.why) == (1, f"{limit + 1} bytes that are no whole message")


def test_what_is_let_through_while_others_wait_is_dropped_in_a_moment() -> None:
    """A frame has two bytes at least and takes half a microsecond to drop: a third of a second is
    no silence that an honest trainer would notice."""
    assert (MAX_PENDING + MAX_QUEUE) / 2 * 0.5e-6 < 1 / 3


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


def test_a_goodbye_that_is_read_after_its_connection_ended_harms_nobody() -> None:
    """Whoever has its number next is not cut for being silent, at once or much later."""
    admission = greeted(1)
    admission.gone(1)
    assert admission.arrived(1, 100, 1.0)
    for now in (1.1, 2 * GREETING_SECONDS):
        assert admission.tick(now, {1: 100}, drained=True) == []
    assert not admission.wary
    admission.accepted(1, 30.0)
    assert admission.tick(30.0 + GREETING_SECONDS / 2, {}, drained=True) == []
    assert admission.arrived(1, 100, 36.0)


def test_news_that_come_late_are_no_new_connection() -> None:
    """Its second message does not make it early again."""
    admission = greeted(1)
    assert admission.arrived(1, 100, 1.0)
    admission.accepted(1, 2.0)  # a new one, whose predecessor's end was lost
    (cut,) = admission.tick(2.0 + GREETING_SECONDS, {}, drained=True)
    assert cut.connection == 1


def test_who_has_no_connection_is_not_read() -> None:
    """As peers of ZeroMQ 2 and 3, who say nothing of themselves."""
    admission = Admission()
    assert not admission.arrived(-1, 100, 0.0)
    assert admission.breach(-1) == []
    assert admission.dropped == 2


def test_the_log_says_it_now_and_then() -> None:
    """A line for any number of them, and none for the few that come with every lost link."""
    admission = greeted(1)
    assert admission.report(100.0) == ""
    for _ in range(WORTH_REPORTING - 1):
        admission.breach(-1)
    assert admission.report(100.0) == ""
    for _ in range(1000 - WORTH_REPORTING + 1):
        admission.breach(1)
    assert admission.report(100.0) == "sent away: 1000 messages were dropped, 1 connections cut"
    for _ in range(WORTH_REPORTING):
        admission.breach(1)
    assert admission.report(100.0 + REPORT_EVERY / 2) == ""
    assert "10 messages were dropped" in admission.report(100.0 + REPORT_EVERY)
    assert admission.report(200.0) == ""
