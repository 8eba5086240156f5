"""The messages, one frozen dataclass each. Field meanings are normative; see docs/protocol.md.

Pure. Nothing here knows how a message becomes bytes (codec.py) or when it is allowed (tables.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import TYPE_CHECKING

from .spec import ElementSpec
from .telemetry import Snapshot, TrainerTotals

if TYPE_CHECKING:
    from .chunk import Chunk

__all__ = [
    "Beat",
    "Close",
    "Done",
    "Fail",
    "End",
    "EndAck",
    "Error",
    "ErrorCode",
    "GoAway",
    "Grant",
    "Hello",
    "Item",
    "Kind",
    "Message",
    "NO_MORE",
    "Open",
    "Release",
    "Role",
    "Status",
    "StreamMessage",
    "Take",
    "Welcome",
    "Work",
    "WorkerStatus",
]


class Role(Enum):
    """Who speaks: the trainer connects, the server (supervisor or worker) is bound."""

    TRAINER = "trainer"
    SERVER = "server"


class Kind(IntEnum):
    """The header's ``k``."""

    HELLO = 1
    WELCOME = 2
    ERROR = 3
    STATUS = 4
    OPEN = 5
    GRANT = 6
    ITEM = 7
    END = 8
    END_ACK = 9
    FAIL = 10
    BEAT = 11
    CLOSE = 12
    GOAWAY = 13
    RELEASE = 14
    TAKE = 15
    WORK = 16
    DONE = 17


#: The item of a WORK behind which none follows, and a total that is not known.
NO_MORE = -1


class ErrorCode(StrEnum):
    """Why a server refuses."""

    VERSION = "version"
    PROTOCOL = "protocol"
    #: The sender does not know this link: it is another life, or gave the trainer up.
    STRANGER = "stranger"
    TOO_MANY_STREAMS = "too_many_streams"


@dataclass(frozen=True, slots=True)
class Hello:
    """Trainer's first message on every new link; ``fence`` grows with each link of a session."""

    session: int
    fence: int
    #: Streams of this session that are still wanted; the server closes the others.
    streams: tuple[int, ...] = ()
    major: int = 1
    minor: int = 0
    features: tuple[str, ...] = ()
    #: Bytes of shared memory that the worker may lend over this link.
    memory: int = 0
    magic: str = "genserver"


@dataclass(frozen=True, slots=True)
class Welcome:
    """Answer to HELLO. ``incarnation`` is 64 random bits that one life of the process keeps."""

    incarnation: int
    major: int = 1
    minor: int = 0
    features: tuple[str, ...] = ()
    #: Of the streams that HELLO names, those whose elements this life still has; None where that is
    #: not said, as by a supervisor, which has none.
    streams: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Error:
    """A refusal: of the link, or of one stream when ``stream`` is given."""

    code: str
    text: str
    stream: int | None = None


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker as the supervisor sees it. ``port`` is 0 and ``ipc`` "" where there is none."""

    index: int
    state: str
    pid: int
    ipc: str
    port: int
    cause: str = ""
    #: How often the worker was started again: a trainer that sees it grow makes a new link.
    life: int = 0
    #: Elements that its lives made and no trainer got, where ``recovery`` is "stream".
    lost: int = 0

    @property
    def between_lives(self) -> bool:
        """Whether it is being started, for the first time or again: nobody listens there yet."""
        return self.state in ("starting", "loaded", "backoff")


@dataclass(frozen=True, slots=True)
class Status:
    """What the server serves and how it fares; sent after WELCOME and again on every change."""

    state: str
    generator: str
    #: "static" or "dynamic": the workers share one pass, in the second way by items that are dealt
    #: to them; "off": each makes its own; "single": the only worker of a pass.
    sharding: str
    #: The seed that the spec search ran with; a trainer that has no wish takes it.
    seed: int
    #: Elements of one pass: a count, -1 endless, -2 unknown.
    cardinality: int
    #: Boot id and private directory tell a trainer whether it can use a worker's ipc endpoint.
    host: str
    spec: ElementSpec | None
    workers: tuple[WorkerStatus, ...] = ()
    #: Why the server failed, when ``state`` is "failed".
    cause: str = ""
    #: What becomes of a stream whose worker died: "auto", "seek", "stream" or "none".
    recovery: str = "auto"
    #: A digest of the generator's arguments; "" where it is not known.
    arguments: str = ""
    #: With "dynamic", how many items a pass has; -1 where only their end will tell.
    items: int = NO_MORE
    #: Where items are elements of a stage before this one: how many workers that has.
    upstream: int = 0
    #: How many kept elements are handed out in a circle; 0 where the generator makes each.
    replay: int = 0


@dataclass(frozen=True, slots=True)
class Open:
    """Start a stream, or resume it on a new link from ``start``.

    With ``batch`` above 0 the stream's elements are batches of so many of the generator's; the last
    one may be smaller, unless ``drop_remainder``. ``start`` counts what the stream counts.
    """

    stream: int
    index: int
    count: int
    epoch: int
    seed: int
    start: int = 0
    batch: int = 0
    drop_remainder: bool = False
    #: The trainer deals the items of this stream: the first WORK has this ordinal. None where it
    #: does not, and the worker takes item ``index`` of every ``count``.
    work: int | None = None
    #: What all streams of one pass have in common; 0 where that is not said.
    group: int = 0
    #: Of the stage before this server's: the number of its first worker among those of all servers,
    #: and how many those are. (0, 0) where that is not said, and they are this server's alone.
    upstream: tuple[int, int] = (0, 0)
    #: Its items are the numbers of elements of one generator that all streams of the group share.
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Grant:
    """Absolute limits: elements from 0, bytes since this link's OPEN; ``ack`` frees the rest."""

    stream: int
    elements: int
    nbytes: int
    ack: int


@dataclass(frozen=True, slots=True)
class Item:
    """A chunk: elements ``first`` to ``first + chunk.n`` of a stream."""

    stream: int
    first: int
    chunk: Chunk = field(compare=False)


@dataclass(frozen=True, slots=True)
class End:
    """The stream has ``count`` elements and no more. Resent until END_ACK."""

    stream: int
    count: int


@dataclass(frozen=True, slots=True)
class EndAck:
    """END arrived, and so did all the elements that it counts."""

    stream: int


@dataclass(frozen=True, slots=True)
class Fail:
    """The generator of a stream raised at ``element``.

    That is the generator's own count, from 0: in a stream of batches of N, the rows before it.
    """

    stream: int
    element: int
    kind: str
    text: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Beat:
    """I am here; sent when nothing else was for a second. Between a supervisor and a trainer that
    agreed on `TELEMETRY` it goes every second, with what each knows of itself."""

    snapshot: Snapshot | None = None
    reading: TrainerTotals | None = None


@dataclass(frozen=True, slots=True)
class Close:
    """The trainer no longer wants the stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """The sender leaves; ``returns`` when another life of it may answer there soon."""

    reason: str
    returns: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    """The trainer is done with these (segment, generation)s, once per array that named one."""

    slots: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Take:
    """The worker wants the items whose ordinals in this stream are below ``until``."""

    stream: int
    until: int


@dataclass(frozen=True, slots=True)
class Work:
    """Item number ``ordinal`` of a stream is ``item``, or there are no more (`NO_MORE`). The first
    ``skip`` elements that the item has are there already: a life that begins with it leaves them
    out."""

    stream: int
    ordinal: int
    item: int
    skip: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """Item ``ordinal`` of a stream ended where the generator had made ``count`` elements in all.

    With a ``total`` it was none: there are only so many items. Sent before what follows it.
    """

    stream: int
    ordinal: int
    count: int
    total: int = NO_MORE


StreamMessage = Open | Grant | Item | End | EndAck | Fail | Close | Take | Work | Done
Message = Hello | Welcome | Error | Status | Beat | GoAway | Release | StreamMessage
