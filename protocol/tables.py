"""What may happen when: the two state tables, for both ends.

House rules: everything that decides whether a message is allowed lives in this file, and the file
does not know which end it serves, so both are judged alike. A message moves the state of the end
that sends it and, later, of the end that receives it. Because the two directions cross, some
messages arrive when the receiver is already past them; such a row is `late`: receiving it changes
nothing but is legal, sending it is an error. A pair that is not listed is an error. Pure.

docs/protocol.md shows these tables; a test keeps the two equal.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from .errors import LocalProtocolError, RemoteProtocolError
from .messages import Kind, Role

__all__ = [
    "LINK",
    "LinkEvent",
    "LinkState",
    "Move",
    "SENDER",
    "STREAM",
    "StreamState",
    "advance_link",
    "advance_stream",
    "check_sender",
]


class StreamState(Enum):
    """One stream, as one end sees it."""

    IDLE = "idle"  # the id has not been used yet
    OPEN = "open"
    ENDED = "ended"  # END was seen, END_ACK was not
    FAILED = "failed"
    CLOSED = "closed"


class LinkState(Enum):
    """One connection between a trainer and a server process, as one end sees it."""

    NEW = "new"
    GREETING = "greeting"  # HELLO was seen, its answer was not
    READY = "ready"
    REFUSED = "refused"
    LOST = "lost"  # silent for too long, cut, or a message is missing
    GONE = "gone"  # one end said goodbye


class LinkEvent(Enum):
    """What a link reacts to: its own messages, any message of a stream, and its loss."""

    HELLO = "HELLO"
    WELCOME = "WELCOME"
    ERROR = "ERROR"
    STATUS = "STATUS"
    BEAT = "BEAT"
    GOAWAY = "GOAWAY"
    RELEASE = "RELEASE"
    STREAM = "a stream's message"
    LOSS = "loss"


class Move(NamedTuple):
    """The next state; a late move is legal only for what was received."""

    to: Enum
    late: bool = False


#: Which end may send what. ERROR, BEAT and GOAWAY come from either where not named.
SENDER: dict[Kind, Role | None] = {
    Kind.HELLO: Role.TRAINER,
    Kind.WELCOME: Role.SERVER,
    Kind.ERROR: Role.SERVER,
    Kind.STATUS: Role.SERVER,
    Kind.OPEN: Role.TRAINER,
    Kind.GRANT: Role.TRAINER,
    Kind.ITEM: Role.SERVER,
    Kind.END: Role.SERVER,
    Kind.END_ACK: Role.TRAINER,
    Kind.FAIL: Role.SERVER,
    Kind.BEAT: None,
    Kind.CLOSE: Role.TRAINER,
    Kind.GOAWAY: None,
    Kind.RELEASE: Role.TRAINER,
    Kind.TAKE: Role.SERVER,
    Kind.WORK: Role.TRAINER,
    Kind.DONE: Role.SERVER,
}

_S = StreamState
STREAM: dict[StreamState, dict[Kind, Move]] = {
    _S.IDLE: {
        Kind.OPEN: Move(_S.OPEN),
    },
    _S.OPEN: {
        Kind.OPEN: Move(_S.OPEN),  # resumed on a new link
        Kind.GRANT: Move(_S.OPEN),
        Kind.ITEM: Move(_S.OPEN),
        Kind.END: Move(_S.ENDED),
        Kind.FAIL: Move(_S.FAILED),
        Kind.ERROR: Move(_S.FAILED),
        Kind.CLOSE: Move(_S.CLOSED),
        Kind.TAKE: Move(_S.OPEN),
        Kind.WORK: Move(_S.OPEN),
        Kind.DONE: Move(_S.OPEN),
    },
    _S.ENDED: {
        Kind.OPEN: Move(_S.OPEN),  # resumed: the end never reached the trainer
        Kind.GRANT: Move(_S.ENDED, late=True),
        Kind.WORK: Move(_S.ENDED, late=True),
        Kind.END: Move(_S.ENDED),
        Kind.END_ACK: Move(_S.CLOSED),
        Kind.CLOSE: Move(_S.CLOSED),
    },
    _S.FAILED: {
        Kind.OPEN: Move(_S.FAILED),  # resumed: the failure is told again
        Kind.GRANT: Move(_S.FAILED, late=True),
        Kind.WORK: Move(_S.FAILED, late=True),
        Kind.FAIL: Move(_S.FAILED),
        Kind.CLOSE: Move(_S.CLOSED),
    },
    _S.CLOSED: {
        Kind.GRANT: Move(_S.CLOSED, late=True),
        Kind.ITEM: Move(_S.CLOSED, late=True),
        Kind.END: Move(_S.CLOSED, late=True),
        Kind.END_ACK: Move(_S.CLOSED),  # answer to a resent END
        Kind.FAIL: Move(_S.CLOSED, late=True),
        Kind.ERROR: Move(_S.CLOSED, late=True),
        Kind.CLOSE: Move(_S.CLOSED, late=True),
        Kind.TAKE: Move(_S.CLOSED, late=True),
        Kind.WORK: Move(_S.CLOSED, late=True),
        Kind.DONE: Move(_S.CLOSED, late=True),
    },
}

_L = LinkState
_E = LinkEvent
LINK: dict[LinkState, dict[LinkEvent, Move]] = {
    _L.NEW: {
        _E.HELLO: Move(_L.GREETING),
        _E.LOSS: Move(_L.LOST),
        _E.GOAWAY: Move(_L.GONE),
    },
    _L.GREETING: {
        _E.WELCOME: Move(_L.READY),
        _E.ERROR: Move(_L.REFUSED),
        _E.BEAT: Move(_L.GREETING),  # who has lost the HELLO answers that it knows no such link
        _E.GOAWAY: Move(_L.GONE),
        _E.LOSS: Move(_L.LOST),
    },
    _L.READY: {
        _E.STATUS: Move(_L.READY),
        _E.BEAT: Move(_L.READY),
        _E.STREAM: Move(_L.READY),
        _E.RELEASE: Move(_L.READY),
        _E.ERROR: Move(_L.REFUSED),
        _E.GOAWAY: Move(_L.GONE),
        _E.LOSS: Move(_L.LOST),
    },
    _L.REFUSED: {event: Move(_L.REFUSED, late=True) for event in _E},
    _L.LOST: {event: Move(_L.LOST, late=True) for event in _E},
    _L.GONE: {event: Move(_L.GONE, late=True) for event in _E},
}


def advance_stream(state: StreamState, kind: Kind, *, sending: bool) -> tuple[StreamState, bool]:
    """(next state, late). Raises a `ProtocolError` when the table has no such move."""
    move = _look_up(STREAM.get(state, {}).get(kind), state, kind, sending)
    assert isinstance(move.to, StreamState)
    return move.to, move.late


def advance_link(state: LinkState, event: LinkEvent, *, sending: bool) -> tuple[LinkState, bool]:
    """(next state, late). Raises a `ProtocolError` when the table has no such move."""
    move = _look_up(LINK.get(state, {}).get(event), state, event, sending)
    assert isinstance(move.to, LinkState)
    return move.to, move.late


def check_sender(kind: Kind, sender: Role) -> None:
    """`RemoteProtocolError` when a ``sender`` of this role may not send ``kind``."""
    allowed = SENDER[kind]
    if allowed is not None and allowed is not sender:
        raise RemoteProtocolError(f"{kind.name} may not come from the {sender.value}")


def _look_up(move: Move | None, state: Enum, event: Enum, sending: bool) -> Move:
    if move is not None and not (sending and move.late):
        return move
    error = LocalProtocolError if sending else RemoteProtocolError
    raise error("not allowed now", state=state.name, event=event.name)
