"""The worker's end of the conversation with all its trainers.

A peer is a socket's routing id, a session is a trainer's token; a session moves to the peer that
says HELLO with the highest fence. Streams belong to the session, so that they survive a link.
Feed it messages and time, send what `outgoing` yields, act on the events. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from .chunk import Chunk
from .errors import RemoteProtocolError
from .link import BEAT_EVERY, DEAD_AFTER, UNGREETED, Link, Numbered, Pauses
from .messages import (
    Beat,
    Close,
    EndAck,
    Error,
    ErrorCode,
    Fail,
    GoAway,
    Grant,
    Hello,
    Message,
    Open,
    Release,
    Role,
    StreamMessage,
    Welcome,
    Work,
)
from .stream import ServedStream
from .tables import LinkState, StreamState
from .version import MAGIC, MEMORY, agree, compatible, refusal_of
from .worker_events import Credit, Dropped, Event, Given, Joined, Key, Released, Started

__all__ = ["MAX_PEERS", "MAX_STREAMS", "WorkerEnd"]

#: Streams that a worker holds open at once: each has a live generator (design 4.1).
MAX_STREAMS = 8
#: A session that has been silent for so long is forgotten, in seconds (design 8: given up).
LEASE = 120.0
#: Strangers that are remembered at once; beyond it the most silent one is forgotten.
MAX_PEERS = 256


@dataclass(slots=True)
class _Session:
    token: int
    fence: int
    peer: bytes | None
    last_heard: float
    #: The key that its trainer has proved to be his; "" where there are none.
    user: str = ""
    streams: dict[int, ServedStream] = field(default_factory=dict)
    #: Those whose OPEN came on the present link; the others' chunks wait for it in their rings.
    opened: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Peer:
    link: Link
    user: str = ""
    session: _Session | None = None
    end_resent: float = 0.0


class WorkerEnd:
    """State of one worker's conversations."""

    def __init__(self, incarnation: int, features: Collection[str] = ()) -> None:
        """``features`` are the optional abilities of this process."""
        self.incarnation = incarnation
        self._features = frozenset(features)
        self._ready = False
        self._early: dict[bytes, Hello] = {}
        self._peers: dict[bytes, _Peer] = {}
        self._sessions: dict[int, _Session] = {}
        self._out: list[tuple[bytes, Numbered]] = []
        self._pauses = Pauses(float("inf"))  # the first tick is no pause

    @property
    def open_streams(self) -> int:
        """Streams that have not ended, failed or been closed by their trainer; those that share a
        generator are one."""
        openings = [s.opening for t in self._sessions.values() for s in t.streams.values()]
        groups = {opening.group for opening in openings if opening.shared}
        return sum(not opening.shared for opening in openings) + len(groups)

    @property
    def sessions(self) -> int:
        """Trainers that are remembered."""
        return len(self._sessions)

    def serve(self, now: float) -> list[Event]:
        """The element spec is known: welcome those who came early."""
        self._ready = True
        early, self._early = self._early, {}
        events: list[Event] = []
        for peer, hello in early.items():
            if peer in self._peers:
                events += self._hello(peer, self._peers[peer], hello, now)
        return events

    def knows(self, peer: bytes) -> bool:
        """Whether this is a link in use."""
        return peer in self._peers

    def receive(self, peer: bytes, numbered: Numbered, now: float, user: str = "") -> list[Event]:
        """Apply a message. `RemoteProtocolError` on a breach: call `refuse`.

        ``user`` is the key that the peer has proved to be his: what is scarce is shared by those.
        """
        known = self._peers.get(peer)
        if known is None:
            if not isinstance(numbered.message, Hello):
                raise RemoteProtocolError(UNGREETED)
            known = self._meet(peer, now, user)
        message = numbered.message
        if not known.link.receive(numbered, now):
            if known.link.state is LinkState.LOST:
                self._part(peer)
            return []
        if isinstance(message, Hello):
            return self._hello(peer, known, message, now)
        if isinstance(message, GoAway):
            self._early.pop(peer, None)
            return self._forget(known.session) if known.session else []
        if known.session is None or known.session.peer != peer:
            return []  # superseded by a newer link of its session
        known.session.last_heard = now
        if isinstance(message, Release):
            return [Released(peer, message.slots)]
        if isinstance(message, Open | Grant | EndAck | Close | Work):
            return self._stream(peer, known, message, now)
        return []

    def refuse(self, peer: bytes, text: str, now: float) -> None:
        """A peer broke the protocol: tell it, if it can be told, and forget the link."""
        known = self._peers.get(peer)
        if known is None:
            self._out.append((peer, Numbered(0, Error(ErrorCode.STRANGER.value, text))))
        elif known.link.state in (LinkState.GREETING, LinkState.READY):
            self._say(peer, Error(ErrorCode.PROTOCOL.value, text), now)
        self._part(peer)

    def unroutable(self, peer: bytes) -> None:
        """The socket has no connection to this peer any more; its session waits for a new link."""
        self._part(peer)

    def chunk(self, key: Key, chunk: Chunk, now: float) -> None:
        """Send a chunk of a stream; kept until acknowledged. Ignored when nobody wants it."""
        stream = self._find(key)
        if stream is not None and stream.state is StreamState.OPEN:
            self._say_to(key, stream.item(chunk), now)

    def take(self, key: Key, until: int, now: float) -> None:
        """A stream that is dealt its items wants those below that ordinal."""
        stream = self._find(key)
        if stream is not None and stream.state is StreamState.OPEN:
            self._say_to(key, stream.take(until), now)

    def done(self, key: Key, ordinal: int, count: int, total: int, now: float) -> None:
        """An item of a stream ended; before the elements of what follows it."""
        stream = self._find(key)
        if stream is not None and stream.state is StreamState.OPEN:
            self._say_to(key, stream.done(ordinal, count, total), now)

    def end(self, key: Key, now: float) -> None:
        """The generator of a stream is exhausted."""
        stream = self._find(key)
        if stream is not None and stream.state is StreamState.OPEN:
            self._say_to(key, stream.end(), now)

    def fail(self, key: Key, *, element: int, kind: str, text: str, trace: str, now: float) -> None:
        """The generator of a stream raised."""
        stream = self._find(key)
        if stream is not None and stream.state is StreamState.OPEN:
            fail = Fail(key[1], element, kind, text, trace)
            self._say_to(key, stream.fail(fail), now)

    def leave(self, reason: str, now: float, *, returns: bool = False) -> None:
        """Say goodbye to everyone; ``returns`` when another life is going to take over."""
        for peer, known in self._peers.items():
            if known.link.state is LinkState.READY:
                self._say(peer, GoAway(reason, returns), now)

    def tick(self, now: float) -> list[Event]:
        """Let time pass; call at least twice a second. A pause is nobody's silence."""
        slept = self._pauses.slept(now)
        if slept:
            self._excuse(slept, now)
        for peer, known in list(self._peers.items()):
            if known.link.silence(now) >= DEAD_AFTER or known.link.state is LinkState.GONE:
                self._part(peer)  # and what it was lent is given back
            elif known.link.beat_due(now):
                self._say(peer, Beat(), now)
                self._resend_ends(peer, known, now)
        events: list[Event] = []
        for session in list(self._sessions.values()):
            if now - session.last_heard >= LEASE:
                events += self._forget(session)
        return events

    def outgoing(self) -> list[tuple[bytes, Numbered]]:
        """Messages to send now, in this order."""
        out, self._out = self._out, []
        return out

    def _excuse(self, seconds: float, now: float) -> None:
        for known in self._peers.values():
            known.link.excuse(seconds, now)
        for session in self._sessions.values():
            session.last_heard = min(now, session.last_heard + seconds)

    def _meet(self, peer: bytes, now: float, user: str) -> _Peer:
        if len(self._peers) >= MAX_PEERS:
            crowd = _largest(Counter(known.user for known in self._peers.values()))
            theirs = [p for p, known in self._peers.items() if known.user == crowd]
            self._part(max(theirs, key=lambda p: self._peers[p].link.silence(now)))
        self._peers[peer] = _Peer(Link(Role.SERVER, now), user)
        return self._peers[peer]

    def _part(self, peer: bytes) -> None:
        known = self._peers.pop(peer, None)
        self._early.pop(peer, None)
        if known is not None and known.session is not None and known.session.peer == peer:
            known.session.peer = None

    def _hello(self, peer: bytes, known: _Peer, hello: Hello, now: float) -> list[Event]:
        if hello.magic != MAGIC or not compatible(hello.major):
            text = refusal_of(hello.major)
            self._say(peer, Error(ErrorCode.VERSION.value, text), now)
            return []
        if not self._ready:
            self._early[peer] = hello  # answered by `serve`
            return []
        session = self._sessions.get(hello.session)
        if session is None:
            session = _Session(hello.session, 0, None, now, known.user)
            self._sessions[hello.session] = session
        if hello.fence <= session.fence:
            self._say(peer, Error(ErrorCode.PROTOCOL.value, "superseded by a newer link"), now)
            return []
        session.fence, session.peer, session.last_heard = hello.fence, peer, now
        session.opened.clear()
        known.session = session
        features = agree(hello.features, self._features)
        held = tuple(i for i in hello.streams if i in session.streams)
        welcome = Welcome(self.incarnation, features=tuple(sorted(features)), streams=held)
        self._say(peer, welcome, now)
        unwanted = [i for i in session.streams if i not in held]
        events = [self._drop(session, stream) for stream in unwanted]
        if MEMORY in features:
            events.append(Joined(peer, hello.session, hello.fence, hello.memory))
        return events

    def _stream(self, peer: bytes, known: _Peer, message: StreamMessage, now: float) -> list[Event]:
        session = known.session
        assert session is not None  # the caller looked
        stream = session.streams.get(message.stream)
        if isinstance(message, Open):
            return self._open(peer, session, stream, message, now)
        if stream is None or not isinstance(message, Grant | EndAck | Close | Work):
            return []  # crossed with our END or ERROR
        if isinstance(message, Work):
            return [Given((session.token, stream.id), message)] if stream.dealt(message) else []
        raised = stream.receive(message)
        if stream.state is StreamState.CLOSED:
            return [self._drop(session, message.stream)]
        key = (session.token, message.stream)
        if not raised:
            return []
        return [Credit(key, stream.limit_elements, stream.limit_bytes, stream.ack)]

    def _open(
        self, peer: bytes, session: _Session, stream: ServedStream | None, opening: Open, now: float
    ) -> list[Event]:
        session.opened.add(opening.stream)
        if stream is not None:
            for message in stream.resume(opening):
                self._say(peer, message, now)
            return []
        events = self._make_room(session.user, now)
        if self.open_streams >= MAX_STREAMS:
            text = f"the worker has {MAX_STREAMS} open streams already; close an iterator first"
            self._say(
                peer, Error(ErrorCode.TOO_MANY_STREAMS.value, text, stream=opening.stream), now
            )
            return events
        session.streams[opening.stream] = ServedStream(opening)
        return [*events, Started((session.token, opening.stream), opening)]

    def _make_room(self, user: str, now: float) -> list[Event]:
        """When full, drop the streams of the session whose trainer vanished the longest ago; else
        one of the user who has most, if this one has less by more than that."""
        if self.open_streams < MAX_STREAMS:
            return []
        vanished = [s for s in self._sessions.values() if s.peer is None]
        if vanished:
            return self._forget(min(vanished, key=lambda s: s.last_heard))
        counts: Counter[str] = Counter()
        for session in self._sessions.values():
            counts[session.user] += len(session.streams)
        crowd = _largest(counts)
        if counts[crowd] <= counts[user] + 1:
            return []
        session = max(
            (s for s in self._sessions.values() if s.user == crowd), key=lambda s: len(s.streams)
        )
        stream = next(reversed(session.streams))
        text = "the worker is full, and others have fewer streams"
        refusal = Error(ErrorCode.TOO_MANY_STREAMS.value, text, stream=stream)
        if session.peer is not None:
            self._say(session.peer, refusal, now)
        return [self._drop(session, stream)]

    def _forget(self, session: _Session) -> list[Event]:
        self._sessions.pop(session.token, None)
        return [self._drop(session, stream) for stream in list(session.streams)]

    def _drop(self, session: _Session, stream: int) -> Event:
        del session.streams[stream]
        return Dropped((session.token, stream))

    def _resend_ends(self, peer: bytes, known: _Peer, now: float) -> None:
        session = known.session
        if session is None or session.peer != peer or now - known.end_resent < BEAT_EVERY:
            return
        for stream in session.streams.values():
            if stream.resend is not None and stream.id in session.opened:
                self._say(peer, stream.resend, now)
        known.end_resent = now

    def _find(self, key: Key) -> ServedStream | None:
        session = self._sessions.get(key[0])
        return session.streams.get(key[1]) if session is not None else None

    def _say_to(self, key: Key, message: Message, now: float) -> None:
        session = self._sessions[key[0]]
        if session.peer is not None and key[1] in session.opened:
            self._say(session.peer, message, now)

    def _say(self, peer: bytes, message: Message, now: float) -> None:
        known = self._peers.get(peer)
        # After a goodbye or a refusal nothing more can be said; a new link hears it.
        if known is not None and known.link.state in (LinkState.GREETING, LinkState.READY):
            self._out.append((peer, known.link.stamp(message, now)))


def _largest(counts: Counter[str]) -> str:
    """Who has most."""
    return counts.most_common(1)[0][0]
