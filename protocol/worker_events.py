"""What a worker's end tells its owner. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from .messages import Open, Work

__all__ = ["Credit", "Dropped", "Event", "Given", "Joined", "Key", "Released", "Started"]

#: (session token, stream id)
Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Started:
    """A stream was opened: run a generator for it."""

    key: Key
    opening: Open


@dataclass(frozen=True, slots=True)
class Credit:
    """A stream's absolute limits are now these: elements, and bytes of this worker's life. Those
    before ``ack`` are used."""

    key: Key
    elements: int
    nbytes: int
    ack: int = 0


@dataclass(frozen=True, slots=True)
class Given:
    """A stream was dealt its next item."""

    key: Key
    work: Work


@dataclass(frozen=True, slots=True)
class Dropped:
    """A stream is no longer wanted: close its generator."""

    key: Key


@dataclass(frozen=True, slots=True)
class Joined:
    """A new link of a trainer that can be lent ``memory`` bytes; what its old link was lent is
    no longer the worker's to write to."""

    peer: bytes
    session: int
    fence: int
    memory: int


@dataclass(frozen=True, slots=True)
class Released:
    """The trainer at ``peer`` is done with these (segment, generation)s."""

    peer: bytes
    slots: tuple[tuple[int, int], ...]


Event = Started | Credit | Given | Dropped | Joined | Released
