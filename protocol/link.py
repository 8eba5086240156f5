"""One link: handshake, message numbers, beats and silence, for both ends.

Every message carries a number per direction. ZeroMQ reconnects without a word and what was queued
is gone; a gap in the numbers makes that a LOSS, which the streams then repair by resuming on a new
link. Pure: time is an argument (seconds of a monotonic clock).
"""

from __future__ import annotations

from dataclasses import dataclass

from .errors import RemoteProtocolError
from .messages import (
    Beat,
    Close,
    Done,
    End,
    EndAck,
    Error,
    Fail,
    GoAway,
    Grant,
    Hello,
    Item,
    Kind,
    Message,
    Open,
    Release,
    Role,
    Status,
    Take,
    Welcome,
    Work,
)
from .tables import LinkEvent, LinkState, advance_link, check_sender

__all__ = [
    "BEAT_EVERY", "DEAD_AFTER", "LONGEST_SILENCE", "OVERSLEPT", "SUSPECT_AFTER", "UNGREETED",
    "Link", "Numbered", "Pauses", "kind_of",
]  # fmt: skip

# Limits of design section 8, in seconds.
#: A beat goes out when nothing else did for so long (Paranoid Pirate's figure).
BEAT_EVERY = 1.0
#: Silence that is worth a line in the log.
SUSPECT_AFTER = 5.0
#: Silence after which the link is taken for lost and a new one is made.
DEAD_AFTER = 15.0
#: The same of a link over which nothing but the welcome has ever come in time: for an element of
#: 300 MB that is a line of 2.5 MB/s.
LONGEST_SILENCE = 120.0
#: Who is not called for so long was asleep (stopped, swapped out, suspended) and judges nobody: it
#: was itself not listening. The peer is judged when what arrived meanwhile has been read.
OVERSLEPT = 2.0
#: The breach that a trainer commits unknowingly when another life of its peer took over.
UNGREETED = "the first message must be HELLO"


@dataclass(frozen=True, slots=True)
class Numbered:
    """A message and its number on the link."""

    number: int
    message: Message


_KINDS: dict[type[Message], Kind] = {
    Hello: Kind.HELLO,
    Welcome: Kind.WELCOME,
    Error: Kind.ERROR,
    Status: Kind.STATUS,
    Open: Kind.OPEN,
    Grant: Kind.GRANT,
    Item: Kind.ITEM,
    End: Kind.END,
    EndAck: Kind.END_ACK,
    Fail: Kind.FAIL,
    Beat: Kind.BEAT,
    Close: Kind.CLOSE,
    GoAway: Kind.GOAWAY,
    Release: Kind.RELEASE,
    Take: Kind.TAKE,
    Work: Kind.WORK,
    Done: Kind.DONE,
}
_OF_THE_LINK = {event.value for event in LinkEvent}


def kind_of(message: Message) -> Kind:
    """The kind of a message, from its class."""
    return _KINDS[type(message)]


def _event_of(message: Message) -> LinkEvent:
    if isinstance(message, Error) and message.stream is not None:
        return LinkEvent.STREAM
    name = kind_of(message).name
    return LinkEvent(name) if name in _OF_THE_LINK else LinkEvent.STREAM


@dataclass(slots=True)
class Pauses:
    """Whether who looks at the clock again and again was asleep in between. Pure."""

    looked: float

    def slept(self, now: float) -> float:
        """Seconds since the last look, if so many that nobody was awake; else 0."""
        pause, self.looked = now - self.looked, now
        return pause if pause > OVERSLEPT else 0.0


class Link:
    """One end of one link. The owner sends what `stamp` returns, in that order."""

    def __init__(self, role: Role, now: float) -> None:
        self.role = role
        self.state = LinkState.NEW
        self.last_heard = now
        self._last_sent = now
        self._next_out = 0
        self._next_in = 0

    def stamp(self, message: Message, now: float) -> Numbered:
        """Number ``message`` for sending; `LocalProtocolError` when it may not be sent now."""
        self.state, _ = advance_link(self.state, _event_of(message), sending=True)
        numbered = Numbered(self._next_out, message)
        self._next_out += 1
        self._last_sent = now
        return numbered

    def receive(self, numbered: Numbered, now: float) -> bool:
        """Take note of a message; False when it came late and is to be ignored.

        After a gap in the numbers the state is LOST. `RemoteProtocolError` on a breach.
        """
        if self.state is LinkState.LOST:
            return False
        peer = Role.SERVER if self.role is Role.TRAINER else Role.TRAINER
        check_sender(kind_of(numbered.message), peer)
        if numbered.number < self._next_in:
            raise RemoteProtocolError(f"message number {numbered.number} came twice")
        if numbered.number > self._next_in:
            self.lose()
            return False
        self._next_in += 1
        self.last_heard = now
        self.state, late = advance_link(self.state, _event_of(numbered.message), sending=False)
        return not late

    def lose(self) -> None:
        """The link is beyond use: cut, silent, or a message is missing."""
        self.state, _ = advance_link(self.state, LinkEvent.LOSS, sending=False)

    def excuse(self, seconds: float, now: float) -> None:
        """This end slept for so long: the other was not silent, it was not listened to."""
        self.last_heard = min(now, self.last_heard + seconds)

    def beat_due(self, now: float) -> bool:
        """Whether a BEAT should be sent.

        By the trainer before WELCOME, too: if its HELLO was lost, the answer is that it is unknown.
        """
        greeting = self.state is LinkState.GREETING and self.role is Role.TRAINER
        return (greeting or self.state is LinkState.READY) and now - self._last_sent >= BEAT_EVERY

    def silence(self, now: float) -> float:
        """Seconds since the peer was last heard."""
        return now - self.last_heard
