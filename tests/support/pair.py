"""A worker and its trainers, joined by simulated links, in simulated time.

Links delay and cut, workers die and come back as another life that runs its generator again from
OPEN.start. Everything passes through the codec. Nothing here runs by itself: a test decides what
happens next, so that Hypothesis can.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from genserver.protocol.chunk import Chunk, ChunkBuilder
from genserver.protocol.codec import ItemHeader, decode_header, decode_item, encode
from genserver.protocol.errors import RemoteProtocolError
from genserver.protocol.link import UNGREETED, Numbered
from genserver.protocol.messages import Open
from genserver.protocol.normalize import Normalizer
from genserver.protocol.spec import parse_spec
from genserver.protocol.stream import Delivery, PulledStream, Window
from genserver.protocol.trainer_end import TrainerEnd
from genserver.protocol.trainer_events import (
    Delivered,
    Ended,
    Event,
    Failed,
    Forgotten,
    Lost,
    Reborn,
)
from genserver.protocol.worker_end import Event as WorkerEvent
from genserver.protocol.worker_end import WorkerEnd
from genserver.protocol.worker_events import Credit, Dropped, Key, Started

SPEC = parse_spec("(int64[2], uint8[None])")
#: Seconds between two ticks.
TICK = 0.5
#: Largest weight of an element.
HEAVIEST = 16 + 40

_normalizer = Normalizer(SPEC)


def padding(index: int) -> int:
    """Bytes of padding of an element; it changes now and then, which cuts chunks."""
    return 20 * (index // 3 % 3)


def weight(index: int) -> int:
    """What an element weighs against the byte credit."""
    return 16 + padding(index)


def opening(stream: int, length: int, start: int = 0) -> Open:
    """An OPEN whose generator makes ``length`` elements, the same in every life."""
    return Open(stream, index=stream, count=stream + 1, epoch=0, seed=length, start=start)


def rows(chunk: Chunk) -> list[tuple[int, int, int]]:
    """(stream, index, padding) of each element, as the consumer reads them."""
    numbers, pad = chunk.columns
    assert isinstance(numbers, np.ndarray)
    assert isinstance(pad, np.ndarray)
    return [(int(s), int(i), pad.shape[1]) for s, i in numbers]


@dataclass(slots=True)
class Job:
    """A stream's generator in one life of a worker, with what it may make."""

    opening: Open
    made: int
    builder: ChunkBuilder = field(default_factory=lambda: ChunkBuilder(SPEC))
    made_bytes: int = 0
    limit: int = 0
    limit_bytes: int = 0
    over: bool = False


class SimWorker:
    """One life of a worker: its conversations and its generators."""

    def __init__(self, incarnation: int) -> None:
        self.end = WorkerEnd(incarnation)
        self.jobs: dict[Key, Job] = {}

    def apply(self, events: list[WorkerEvent]) -> None:
        for event in events:
            if isinstance(event, Started):
                self.jobs[event.key] = Job(event.opening, event.opening.start)
            elif isinstance(event, Credit):
                job = self.jobs[event.key]
                job.limit, job.limit_bytes = event.elements, event.nbytes
            elif isinstance(event, Dropped):
                del self.jobs[event.key]

    def make(self, key: Key, now: float) -> bool:
        """Advance a generator by one element, or to its end; False without credit."""
        job = self.jobs[key]
        if job.over or job.made >= job.limit or job.made_bytes >= job.limit_bytes:
            return False
        if job.made == job.opening.seed:
            self.cut(key, now)
            self.end.end(key, now)
            job.over = True
            return True
        pad = np.full(padding(job.made), job.made, np.uint8)
        leaves = _normalizer.leaves((np.array([job.opening.stream, job.made]), pad))
        if not job.builder.accepts(leaves):
            self.cut(key, now)
        job.made_bytes += job.builder.add(leaves)
        job.made += 1
        return True

    def cut(self, key: Key, now: float) -> None:
        """Send the elements that wait in a chunk."""
        if self.jobs[key].builder.n:
            self.end.chunk(key, self.jobs[key].builder.take(), now)

    def kept(self, key: Key) -> int:
        """Chunks of a stream that are kept for a replay."""
        stream = self.end._find(key)
        assert stream is not None  # it has a job
        return stream.unacknowledged


@dataclass(slots=True)
class Consumer:
    """What the user of one stream has seen."""

    pulled: PulledStream
    waiting: deque[Delivery] = field(default_factory=deque)
    seen: list[tuple[int, int, int]] = field(default_factory=list)
    count: int | None = None
    failed: bool = False
    closed: bool = False

    @property
    def done(self) -> bool:
        """Whether nothing more is to come."""
        return self.closed or self.failed or (self.count is not None and not self.waiting)


@dataclass(slots=True)
class Wire:
    """One connection; each direction keeps its order."""

    peer: bytes
    to_worker: deque[Numbered] = field(default_factory=deque)
    to_trainer: deque[Numbered] = field(default_factory=deque)


class SimTrainer:
    """A trainer's session: its end, its consumers and its present wire."""

    def __init__(self, session: int, now: float) -> None:
        self.end = TrainerEnd(session, now)
        self.wire = Wire(b"")
        self.consumers: dict[int, Consumer] = {}
        self.events: list[Event] = []

    def count(self, kind: type[Event]) -> int:
        """How many events of a kind came."""
        return sum(isinstance(event, kind) for event in self.events)

    def apply(self, events: list[Event]) -> None:
        self.events += events
        for event in events:
            if isinstance(event, Delivered):
                self.consumers[event.stream].waiting.append(event.delivery)
            elif isinstance(event, Ended):
                self.consumers[event.stream].count = event.count
            elif isinstance(event, Failed):
                self.consumers[event.stream].failed = True


class Net:
    """The worker, its trainers, the wires and the time."""

    def __init__(self, *, serving: bool = True) -> None:
        self.now = 0.0
        self.wires: dict[bytes, Wire] = {}
        self.trainers: list[SimTrainer] = []
        self.lives = 0
        #: For a direction, how many more messages pass before one is lost.
        self.losing: dict[str, int] = {}
        self.rebirth()
        if serving:
            self.worker.end.serve(self.now)

    def rebirth(self) -> None:
        """The worker dies; another life takes its place and knows nobody."""
        self.lives += 1
        self.worker = SimWorker(self.lives)

    def trainer(self, session: int = 1) -> SimTrainer:
        """A new trainer, which has said HELLO."""
        made = SimTrainer(session, self.now)
        self.trainers.append(made)
        self.connect(made)
        return made

    def connect(self, trainer: SimTrainer) -> None:
        """Give a trainer a new wire; what it sent on the old one may still arrive."""
        trainer.wire = Wire(f"peer {len(self.wires)}".encode())
        self.wires[trainer.wire.peer] = trainer.wire
        trainer.end.connect(self.now)
        self.collect()

    def open(self, trainer: SimTrainer, stream: int, length: int, window: Window) -> Consumer:
        """Start a stream of ``length`` elements."""
        consumer = Consumer(PulledStream(opening(stream, length), window))
        trainer.consumers[stream] = consumer
        trainer.end.open(consumer.pulled, self.now)
        self.collect()
        return consumer

    def close(self, trainer: SimTrainer, stream: int) -> None:
        """The user drops an iterator."""
        trainer.consumers[stream].closed = True
        trainer.end.close(stream, self.now)
        self.collect()

    def consume(self, trainer: SimTrainer, stream: int) -> None:
        """The user takes one delivery, if there is one."""
        consumer = trainer.consumers[stream]
        if consumer.waiting and not consumer.closed:
            delivery = consumer.waiting.popleft()
            consumer.seen += rows(delivery.chunk)[delivery.skip :]
            trainer.end.took(stream, delivery, self.now)
            self.collect()

    def make(self, key: Key) -> bool:
        """Let a generator advance by one element."""
        made = self.worker.make(key, self.now)
        self.collect()
        return made

    def cut(self, key: Key) -> None:
        """Have the worker send an unfinished chunk."""
        self.worker.cut(key, self.now)
        self.collect()

    def lose(self, trainer: SimTrainer) -> None:
        """The trainer's owner finds the link dead."""
        self._happened(trainer, trainer.end.lose("cut"))

    def to_worker(self, wire: Wire) -> bool:
        """Deliver one message, if there is one."""
        if not wire.to_worker:
            return False
        numbered = _carried(wire.to_worker.popleft())
        if self._loses("to_worker"):
            return True
        try:
            self.worker.apply(self.worker.end.receive(wire.peer, numbered, self.now))
        except RemoteProtocolError as error:
            # The only breach that loss and death can look like.
            if error.reason != UNGREETED:
                raise
            self.worker.end.refuse(wire.peer, error.reason, self.now)
        self.collect()
        return True

    def to_trainer(self, trainer: SimTrainer) -> bool:
        """Deliver one message on a trainer's present wire, if there is one."""
        if not trainer.wire.to_trainer:
            return False
        numbered = _carried(trainer.wire.to_trainer.popleft())
        if self._loses("to_trainer"):
            return True
        self._happened(trainer, trainer.end.receive(numbered, self.now))
        self.collect()
        return True

    def flow(self) -> None:
        """Deliver everything that is under way, and what that causes."""
        moved = True
        while moved:
            moved = sum(self.to_worker(wire) for wire in list(self.wires.values())) > 0
            moved |= sum(self.to_trainer(trainer) for trainer in self.trainers) > 0

    def wait(self, seconds: float, *, flowing: bool = True) -> None:
        """Let time pass, with or without deliveries."""
        until = self.now + seconds
        while self.now < until:
            self.now += TICK
            self.worker.apply(self.worker.end.tick(self.now))
            for trainer in self.trainers:
                self._happened(trainer, trainer.end.tick(self.now))
            self.collect()
            if flowing:
                self.flow()

    def work(self) -> None:
        """Everybody does all they can without time passing."""
        busy = True
        while busy:
            self.flow()
            busy = sum(self.make(key) for key in list(self.worker.jobs)) > 0
            for key in list(self.worker.jobs):
                self.cut(key)
            self.flow()
            for trainer in self.trainers:
                for stream, consumer in trainer.consumers.items():
                    while consumer.waiting and not consumer.closed:
                        self.consume(trainer, stream)
                        busy = True

    def settle(self, done: Callable[[], bool], seconds: float = 60.0) -> bool:
        """Work until ``done``, or until the simulated time is up."""
        until = self.now + seconds
        while self.now < until:
            self.work()
            if done():
                return True
            self.wait(TICK)
        return False

    def collect(self) -> None:
        """Put what the ends want to send onto the wires."""
        for trainer in self.trainers:
            trainer.wire.to_worker.extend(trainer.end.outgoing())
        for peer, numbered in self.worker.end.outgoing():
            self.wires[peer].to_trainer.append(numbered)

    def _loses(self, direction: str) -> bool:
        left = self.losing.pop(direction, None)
        if left:
            self.losing[direction] = left - 1
        return left == 0

    def _happened(self, trainer: SimTrainer, events: list[Event]) -> None:
        trainer.apply(events)
        if any(isinstance(event, Reborn | Forgotten) for event in events):
            trainer.end.resume(self.now)
        if any(isinstance(event, Lost) for event in events):
            self.connect(trainer)


def _carried(numbered: Numbered) -> Numbered:
    """The message after encoding and decoding."""
    frames = encode(numbered)
    number, message = decode_header(bytes(frames[0]))
    if isinstance(message, ItemHeader):
        message = decode_item(message, frames[1:], SPEC)
    return Numbered(number, message)


def reborn(trainer: SimTrainer) -> int:
    """How many other lives of the worker a trainer has met."""
    return trainer.count(Reborn)
