"""The two state tables, enumerated whole: what is not listed here raises."""

from __future__ import annotations

from typing import get_args

import pytest
from genserver.protocol.errors import LocalProtocolError, RemoteProtocolError
from genserver.protocol.fields import FIELDS
from genserver.protocol.link import _KINDS
from genserver.protocol.messages import Kind, Message, Role, StreamMessage
from genserver.protocol.tables import (
    LinkEvent,
    LinkState,
    StreamState,
    advance_link,
    advance_stream,
    check_sender,
)  # fmt: skip

# Each row decides about every column, in this order; a new member must be given one.
# "-" is an error, "~X" is legal only when received.
KINDS = (
    "HELLO WELCOME ERROR STATUS OPEN GRANT ITEM END END_ACK FAIL BEAT CLOSE GOAWAY RELEASE "
    "TAKE WORK DONE"
)
STREAM_ROWS = {
    "IDLE": "- - - - OPEN - - - - - - - - - - - -",
    "OPEN": "- - FAILED - OPEN OPEN OPEN ENDED - FAILED - CLOSED - - OPEN OPEN OPEN",
    "ENDED": "- - - - OPEN ~ENDED - ENDED CLOSED - - CLOSED - - - ~ENDED -",
    "FAILED": "- - - - FAILED ~FAILED - - - FAILED - CLOSED - - - ~FAILED -",
    "CLOSED": "- - ~CLOSED - - ~CLOSED ~CLOSED ~CLOSED CLOSED ~CLOSED - ~CLOSED - - ~CLOSED ~CLOSED"
    " ~CLOSED",
}
EVENTS = "HELLO WELCOME ERROR STATUS BEAT GOAWAY RELEASE STREAM LOSS"
LINK_ROWS = {
    "NEW": "GREETING - - - - GONE - - LOST",
    "GREETING": "- READY REFUSED - GREETING GONE - - LOST",
    "READY": "- - REFUSED READY READY GONE READY READY LOST",
    "REFUSED": "~REFUSED " * 9,
    "LOST": "~LOST " * 9,
    "GONE": "~GONE " * 9,
}
SENDERS = {
    Role.TRAINER: {"HELLO", "OPEN", "GRANT", "END_ACK", "CLOSE", "BEAT", "GOAWAY", "RELEASE",
                   "WORK"},
    Role.SERVER: {"WELCOME", "ERROR", "STATUS", "ITEM", "END", "FAIL", "BEAT", "GOAWAY", "TAKE",
                  "DONE"},
}  # fmt: skip


def cells(rows: dict[str, str], columns: str) -> list[tuple[str, str, str]]:
    """(state, event, decision) of a table."""
    return [
        (state, column, decision)
        for state, row in rows.items()
        for column, decision in zip(columns.split(), row.split(), strict=True)
    ]


def check(advance, state, event, decision: str) -> None:
    """Both ways of one pair do as the cell says."""
    to = type(state)[decision.lstrip("~")] if decision != "-" else None
    late = decision.startswith("~")
    if to is None:
        refused(advance, state, event, RemoteProtocolError, sending=False)
    else:
        assert advance(state, event, sending=False) == (to, late)
    if to is None or late:
        refused(advance, state, event, LocalProtocolError, sending=True)
    else:
        assert advance(state, event, sending=True) == (to, False)


def refused(advance, state, event, error: type[Exception], *, sending: bool) -> None:
    """The pair raises, and the error says where."""
    with pytest.raises(error) as caught:
        advance(state, event, sending=sending)
    assert (caught.value.state, caught.value.event) == (state.name, event.name)


def test_every_state_and_event_has_a_decision() -> None:
    """A new state, kind or event fails here until its cells are written down."""
    assert list(STREAM_ROWS) == [state.name for state in StreamState]
    assert KINDS.split() == [kind.name for kind in Kind]
    assert list(LINK_ROWS) == [state.name for state in LinkState]
    assert EVENTS.split() == [event.name for event in LinkEvent]


@pytest.mark.parametrize(("state", "kind", "decision"), cells(STREAM_ROWS, KINDS))
def test_stream_table(state: str, kind: str, decision: str) -> None:
    """Each pair of stream state and kind moves as listed or raises with state and event."""
    check(advance_stream, StreamState[state], Kind[kind], decision)


@pytest.mark.parametrize(("state", "event", "decision"), cells(LINK_ROWS, EVENTS))
def test_link_table(state: str, event: str, decision: str) -> None:
    """Each pair of link state and event moves as listed or raises with state and event."""
    check(advance_link, LinkState[state], LinkEvent[event], decision)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("kind", Kind)
def test_sender(kind: Kind, role: Role) -> None:
    """A kind that only one end may send is refused from the other."""
    if kind.name in SENDERS[role]:
        check_sender(kind, role)
        return
    with pytest.raises(RemoteProtocolError, match=f"{kind.name} may not come from the"):
        check_sender(kind, role)


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_is_complete(kind: Kind) -> None:
    """Every kind has a schema and one message class, and belongs to the link or to a stream."""
    classes = [cls for cls, its in _KINDS.items() if its is kind]
    assert kind in FIELDS
    assert len(classes) == 1
    assert classes[0] in get_args(Message)
    of_the_link = kind.name in {event.value for event in LinkEvent}
    assert of_the_link != (classes[0] in get_args(StreamMessage))
