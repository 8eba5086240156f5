"""What a trainer's end tells its owner. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .messages import Error, Fail, Status
from .stream import Delivery
from .telemetry import Snapshot

__all__ = [
    "Broken", "Delivered", "Ended", "Event", "Failed", "Finished", "Forgotten", "Left", "Lost",
    "Measured", "Reborn", "Refused", "Suspect", "Told", "Welcomed",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Measured:
    """What a supervisor says of its workers, every second."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Welcomed:
    """The link is ready."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """Elements of a stream, in order."""

    stream: int
    delivery: Delivery


@dataclass(frozen=True, slots=True)
class Ended:
    """A stream ended after ``count`` elements, all of which were delivered."""

    stream: int
    count: int


@dataclass(frozen=True, slots=True)
class Finished:
    """All elements of an item that a worker was dealt are here, or in the event behind this one: it
    ended where the stream's generator had made ``count`` elements."""

    stream: int
    item: int
    count: int


@dataclass(frozen=True, slots=True)
class Failed:
    """A stream failed: the generator raised, or the worker refused it."""

    stream: int
    failure: Fail | Error


@dataclass(frozen=True, slots=True)
class Refused:
    """The worker refused the link; never retried."""

    error: Error


@dataclass(frozen=True, slots=True)
class Left:
    """The worker said goodbye; ``returns`` when another life of it may answer there soon."""

    reason: str
    returns: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """The link is beyond use; make a new one."""

    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The peer breaks the protocol again and again; never retried."""

    reason: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """The worker has been silent for `SUSPECT_AFTER`; said once per silence."""


@dataclass(frozen=True, slots=True)
class Told:
    """The supervisor said what it serves and how it fares."""

    status: Status


@dataclass(frozen=True, slots=True)
class Reborn:
    """Another life of the worker answered: what the old one made is gone. All streams wait for
    `TrainerEnd.resume`."""

    incarnation: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The worker has nothing of these streams any more, although they had begun: this trainer was
    silent for too long. They wait for `TrainerEnd.resume`."""

    streams: tuple[int, ...]


Event = (
    Welcomed | Delivered | Ended | Finished | Failed | Refused | Left | Lost | Suspect | Told
    | Reborn | Forgotten | Broken | Measured
)  # fmt: skip
