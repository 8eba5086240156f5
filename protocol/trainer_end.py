"""The trainer's end of the conversation with one worker, over as many links as it takes.

Feed it messages and time, send what `outgoing` yields, act on the events. When an event `Lost`
comes, throw the socket away, make a new one and call `connect` again: every stream that is still
wanted is resumed where it left off. What must be made again because nobody has it any more (another
life answered, or the worker forgot the session) waits for `resume`: whether that may be is for the
owner to say. Pure: no socket, clock or thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .fields import MAX_RELEASED
from .link import DEAD_AFTER, LONGEST_SILENCE, SUSPECT_AFTER, Link, Numbered, Pauses
from .messages import (
    Beat,
    Close,
    Done,
    End,
    EndAck,
    Error,
    ErrorCode,
    Fail,
    GoAway,
    Grant,
    Hello,
    Item,
    Message,
    Open,
    Release,
    Role,
    Status,
    Take,
    Welcome,
    Work,
)
from .stream import Delivery, PulledStream
from .tables import LinkState
from .telemetry import TrainerTotals
from .trainer_events import (
    Delivered,
    Ended,
    Event,
    Failed,
    Finished,
    Forgotten,
    Left,
    Lost,
    Measured,
    Reborn,
    Refused,
    Suspect,
    Told,
    Welcomed,
)
from .version import MEMORY, TELEMETRY, agree

__all__ = ["TrainerEnd"]


class TrainerEnd:
    """State of one trainer session with one worker."""

    def __init__(self, session: int, now: float, *, measures: bool = False) -> None:
        """``measures``: the two ends are to tell each other what they measure."""
        self.session = session
        self._features = (TELEMETRY,) if measures else ()
        #: Whether the other end wants to know.
        self.measured = False
        self.incarnation: int | None = None
        self.link = Link(Role.TRAINER, now)
        #: The number of the present link.
        self.fence = 0
        self._streams: dict[int, PulledStream] = {}
        self._announced: tuple[int, ...] = ()  # in the link's HELLO
        self._out: list[Numbered] = []
        self._suspected = False
        #: Silence in seconds after which the link is lost; see `_be_patient`.
        self._patience = DEAD_AFTER
        #: Streams that wait for `resume`, and the life that they would be resumed in.
        self._held: set[int] = set()
        self._answered: int | None = None
        #: When the worker was last heard on any link; what this end slept through does not count.
        self.heard = now
        self._pauses = Pauses(now)

    @property
    def streams(self) -> Iterable[PulledStream]:
        """The streams that are not over."""
        return self._streams.values()

    def connect(self, now: float, *, memory: int = 0) -> None:
        """Start a new link; what was to be sent on the old one is dropped.

        With ``memory`` the worker may lend so many bytes of shared memory over it.
        """
        self.fence += 1
        self._out.clear()
        self._suspected = False
        self._held.clear()
        self._answered = None
        self.link = Link(Role.TRAINER, now)
        self._announced = tuple(sorted(self._streams))
        self.measured = False
        features = (*((MEMORY,) if memory else ()), *self._features)
        self._say(
            Hello(self.session, self.fence, self._announced, features=features, memory=memory), now
        )

    def open(self, stream: PulledStream, now: float) -> None:
        """Start a stream, now or as soon as the link is ready."""
        self._streams[stream.id] = stream
        if self._answered not in (None, self.incarnation):
            self._held.add(stream.id)
        elif self.link.state is LinkState.READY:
            self._say_all(stream.open(), now)

    def resume(self, now: float) -> list[PulledStream]:
        """Go on with the streams that wait for it, in the life that answered; returns them."""
        if self._answered is not None:
            self.incarnation = self._answered
        again = [self._streams[i] for i in sorted(self._held) if i in self._streams]
        self._held.clear()
        for stream in again:
            self._say_all(stream.open(), now)
        return again

    def took(self, stream: int, delivery: Delivery, now: float) -> None:
        """The consumer took a delivery whole."""
        pulled = self._streams.get(stream)
        grant = pulled.took(delivery) if pulled is not None else None
        if grant is not None:
            self._say_all([grant], now)

    def close(self, stream: int, now: float) -> None:
        """The consumer wants no more of a stream."""
        pulled = self._streams.pop(stream, None)
        self._held.discard(stream)
        message = pulled.close() if pulled is not None else None
        if message is not None:
            self._say_all([message], now)

    def release(self, slots: Sequence[tuple[int, int]], now: float) -> None:
        """These (segment, generation)s of the present link are of no more use here."""
        if self.link.state is LinkState.READY:
            for start in range(0, len(slots), MAX_RELEASED):
                self._say(Release(tuple(slots[start : start + MAX_RELEASED])), now)

    def leave(self, reason: str, now: float) -> None:
        """Say goodbye; the worker forgets the session."""
        self._streams.clear()
        if self.link.state is LinkState.READY:
            self._say(GoAway(reason), now)

    def lose(self, reason: str) -> list[Event]:
        """The owner found the link dead."""
        self.link.lose()
        self._out.clear()
        return [Lost(reason)] if self.link.state is LinkState.LOST else []

    def receive(self, numbered: Numbered, now: float) -> list[Event]:
        """Apply a message of the worker. `RemoteProtocolError` on a breach: lose the link."""
        self.heard = now
        message = numbered.message
        silence = self.link.silence(now)
        if isinstance(message, Error) and message.code == ErrorCode.STRANGER:
            return self._unknown()
        if not self.link.receive(numbered, now):
            return [Lost("a message is missing")] if self.link.state is LinkState.LOST else []
        self._suspected = False
        if silence < DEAD_AFTER and not isinstance(message, Welcome):
            self._patience = DEAD_AFTER
        if isinstance(message, Item | End | Fail | Take | Done) or (
            isinstance(message, Error) and message.stream is not None
        ):
            return self._stream(message, now)
        if isinstance(message, Welcome):
            return self._welcome(message, now)
        if isinstance(message, Error):
            return [Refused(message)]
        if isinstance(message, GoAway):
            return [Left(message.reason, message.returns)]
        if isinstance(message, Beat) and message.snapshot is not None:
            return [Measured(message.snapshot)]
        return [Told(message)] if isinstance(message, Status) else []

    def report(self, reading: TrainerTotals, now: float) -> None:
        """Tell the other end, if it wants to know, how this one fares."""
        if self.measured and self.link.state is LinkState.READY:
            self._say(Beat(reading=reading), now)

    def tick(self, now: float) -> list[Event]:
        """Let time pass; call at least twice a second, and after a pause when what had arrived
        meanwhile has been received: who slept cannot say that the worker was silent."""
        slept = self._pauses.slept(now)
        if slept:
            self.heard = min(now, self.heard + slept)
            self.link.excuse(slept, now)
        if self.link.state not in (LinkState.READY, LinkState.GREETING):
            return []
        if slept >= DEAD_AFTER:
            return self.lose("this process slept, and was given up")
        silence = self.link.silence(now)
        if silence >= self._patience:
            self._be_patient()
            return self.lose(f"silent for {silence:.0f} s")
        if self.link.beat_due(now):
            self._say(Beat(), now)
        if silence >= SUSPECT_AFTER and not self._suspected:
            self._suspected = True
            return [Suspect()]
        return []

    def _be_patient(self) -> None:
        """A worker that answers new links and is silent on each may be sending one element that
        takes longer over its line: wait twice as long, or it would begin again for ever."""
        if self.link.state is LinkState.READY:
            self._patience = min(2 * self._patience, LONGEST_SILENCE)

    def outgoing(self) -> list[Numbered]:
        """Messages to send now, in this order."""
        out, self._out = self._out, []
        return out

    def _welcome(self, message: Welcome, now: float) -> list[Event]:
        events: list[Event] = []
        self._answered = message.incarnation
        self.measured = TELEMETRY in agree(message.features, self._features)
        if self.incarnation not in (None, message.incarnation):
            self._held.update(self._streams)
            events.append(Reborn(message.incarnation))
        else:
            self.incarnation = message.incarnation
            forgotten = self._forgotten(message)
            self._held.update(forgotten)
            if forgotten:
                events.append(Forgotten(forgotten))
        for stream in list(self._streams.values()):
            if stream.id not in self._held:
                self._say_all(stream.open(), now)
        # Closed since HELLO, when CLOSE could not be said.
        gone = [stream for stream in self._announced if stream not in self._streams]
        self._say_all([Close(stream) for stream in gone], now)
        return [*events, Welcomed()]

    def _forgotten(self, welcome: Welcome) -> tuple[int, ...]:
        """Streams that had begun and that the worker no longer has."""
        if welcome.streams is None:
            return ()
        begun = (s.id for s in self._streams.values() if s.next > s.opening.start)
        return tuple(i for i in begun if i in self._announced and i not in welcome.streams)

    def _unknown(self) -> list[Event]:
        """Who listens there does not know this link, whatever its messages are numbered."""
        ours = self.link.state in (LinkState.READY, LinkState.GREETING)
        return self.lose("the peer does not know this link") if ours else []

    def deal(self, stream: int, item: int, now: float) -> None:
        """Give a stream's worker one more item."""
        pulled = self._streams.get(stream)
        work = pulled.deal(item) if pulled is not None else None
        if work is not None:
            self._say_all([work], now)

    def _stream(
        self, message: Item | End | Fail | Take | Done | Error, now: float
    ) -> list[Event]:  # fmt: skip
        stream = message.stream
        assert stream is not None  # the caller looked
        pulled = self._streams.get(stream)
        if pulled is None:
            # Closed here, and the worker has not heard it yet; an END must still be answered.
            if isinstance(message, End):
                self._say(EndAck(stream), now)
            return []
        if isinstance(message, Take):
            self._say_all(pulled.wanted(message), now)
            return []
        if isinstance(message, Done):
            pulled.done(message)
            self._say_all(pulled.due(), now)
            return [Finished(stream, *finished) for finished in pulled.finished()]
        result = pulled.receive(message)
        if isinstance(result, Delivery):
            finished = [Finished(stream, *finished) for finished in pulled.finished()]
            return [*finished, Delivered(stream, result)]
        if isinstance(result, EndAck):
            del self._streams[stream]
            self._say(result, now)
            assert isinstance(message, End)  # only END is answered with END_ACK
            return [Ended(stream, message.count)]
        if isinstance(message, Fail | Error):
            self.close(stream, now)
            return [Failed(stream, message)]
        return []

    def _say_all(self, messages: Iterable[Open | Work | Grant | Close], now: float) -> None:
        # On a link that is not ready, the next OPEN says it all again.
        if self.link.state is LinkState.READY:
            for message in messages:
                self._say(message, now)

    def _say(self, message: Message, now: float) -> None:
        if self.link.state in (LinkState.LOST, LinkState.GONE, LinkState.REFUSED):
            return
        self._out.append(self.link.stamp(message, now))
