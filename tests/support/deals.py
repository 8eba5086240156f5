"""Workers that are dealt items by one trainer, over links that are cut, in lives that end.

The ends are the real ones; messages travel as their frames, chunks as they are. Nothing here runs
by itself: a test asks which steps are possible and takes one.
"""

from __future__ import annotations

import hashlib
import io
import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from genserver.protocol.chunk import Chunk
from genserver.protocol.codec import decode_header, encode
from genserver.protocol.dealing import Deals, Items
from genserver.protocol.errors import RemoteProtocolError
from genserver.protocol.link import UNGREETED, Numbered
from genserver.protocol.messages import NO_MORE, Item, Open, Work
from genserver.protocol.stream import Delivery, PulledStream, Window
from genserver.protocol.trainer_end import TrainerEnd
from genserver.protocol.trainer_events import (
    Delivered,
    Ended,
    Event,
    Finished,
    Forgotten,
    Lost,
    Reborn,
)
from genserver.protocol.worker_end import Event as WorkerEvent
from genserver.protocol.worker_end import WorkerEnd
from genserver.protocol.worker_events import Credit, Dropped, Given, Started

__all__ = ["FAULTS", "Content", "Dealing", "Place", "Row"]

STREAM = 4
KEY = (1, STREAM)
#: Bytes of a row.
WEIGHT = 8
#: (item, number within it)
Row = tuple[int, int]
#: (what, worker)
Step = tuple[str, int]
#: What may go wrong.
FAULTS = ("cut", "die", "vanish", "nap", "gap")


@dataclass(frozen=True, slots=True)
class Content:
    """What the items are: those of a class modulo ``stride`` come from the same producer."""

    #: By class: how many elements each of its items gives.
    sizes: Sequence[Sequence[int]]

    @property
    def stride(self) -> int:
        return len(self.sizes)

    def total(self, item: int) -> int:
        """The first item of this one's class that does not exist."""
        return item % self.stride + self.stride * len(self.sizes[item % self.stride])

    def size(self, item: int) -> int:
        return self.sizes[item % self.stride][item // self.stride]

    def rows(self) -> Iterator[Row]:
        """All that there is."""
        for item in self.items():
            yield from ((item, number) for number in range(self.size(item)))

    def items(self) -> list[int]:
        return [
            n * self.stride + which for which, own in enumerate(self.sizes) for n in range(len(own))
        ]


@dataclass(slots=True)
class Job:
    """A worker's generator over items, as the protocol wants it, in one life."""

    opening: Open
    content: Content
    ahead: int
    #: Whether it looks at items before it is through with those before them.
    eager: bool
    next: int = 0
    position: int = 0
    made: int = 0
    weight: int = 0
    limit: int = 0
    limit_bytes: int = 0
    asked: int = 0
    over: bool = False
    queue: deque[Work] = field(default_factory=deque)
    none: set[int] = field(default_factory=set)
    current: tuple[Work, int] | None = None
    batch: list[Row] = field(default_factory=list)
    ready: list[tuple[Row, ...]] = field(default_factory=list)
    done: list[tuple[int, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        assert self.opening.work is not None
        self.next = self.asked = self.opening.work
        self.made = self.opening.start
        self.position = self.made * self.size

    @property
    def size(self) -> int:
        return max(1, self.opening.batch)

    @property
    def runnable(self) -> bool:
        if self.over or (self.current is None and not self.queue):
            return False
        if self.current is None or self.current[1] >= self.content.size(self.current[0].item):
            return True
        may = self.made < self.limit and self.weight < self.limit_bytes
        return may or bool(self.batch)

    @property
    def until(self) -> int:
        return self.next + self.ahead

    def step(self) -> None:
        """One element, or one item that begins or ends, or the end."""
        if self.current is None:
            work = self.queue.popleft()
            self.next += 1
            if work.item == NO_MORE:
                self._end()
            elif work.ordinal not in self.none and not self._absent(work):
                self.current = work, work.skip
        else:
            work, number = self.current
            if number < self.content.size(work.item):
                self._make((work.item, number))
                self.current = work, number + 1
            else:
                self.done.append((work.ordinal, self.position, NO_MORE))
                self.current = None
        if self.eager:
            for work in self.queue:
                if work.item != NO_MORE and work.ordinal not in self.none:
                    self._absent(work)

    def _absent(self, work: Work) -> bool:
        total = self.content.total(work.item)
        if work.item < total:
            return False
        self.none.add(work.ordinal)
        self.done.append((work.ordinal, self.position, total))
        return True

    def _make(self, row: Row) -> None:
        self.position += 1
        self.weight += WEIGHT
        self.batch.append(row)
        if len(self.batch) == self.size:
            self._seal()

    def _seal(self) -> None:
        self.ready.append(tuple(self.batch))
        self.batch = []
        self.made += 1

    def _end(self) -> None:
        if self.batch and not self.opening.drop_remainder:
            self._seal()
        self.over = True


class Place:
    """One worker, the trainer's end for it, and the link between them."""

    def __init__(
        self, index: int, count: int, content: Content, items: Items, window: Window, *,
        batch: int, drop_remainder: bool, ahead: int, eager: bool,
    ) -> None:  # fmt: skip
        self.index, self.content, self.ahead, self.eager = index, content, ahead, eager
        self.lives = self.peers = 0
        self.to_worker: list[Numbered] = []
        self.to_trainer: list[Numbered] = []
        self.waiting: list[Delivery] = []
        self.seen: list[Row] = []
        #: (item, rows that the stream then has), and how many had arrived by then.
        self.finished: list[tuple[int, int]] = []
        self.ended = False
        self.job: Job | None = None
        self.end = TrainerEnd(1, 0.0)
        opening = Open(
            STREAM, index, count, 0, 0, batch=batch, drop_remainder=drop_remainder, work=0
        )
        self.pulled = PulledStream(opening, window, Deals(items, index))
        self.replace()
        self.connect()
        self.end.open(self.pulled, 0.0)

    def replace(self) -> None:
        """Another life takes the worker's place, and knows nobody."""
        self.lives += 1
        self.worker = WorkerEnd(self.lives)
        self.worker.serve(0.0)
        self.job = None
        self.to_worker.clear()

    def forget(self) -> None:
        """The worker gives the trainer up, and lives on."""
        for session in list(self.worker._sessions.values()):
            self._apply(self.worker._forget(session))
        self.worker._peers.clear()

    def lose(self) -> None:
        """The trainer finds the link dead, and makes another."""
        self._happened(self.end.lose("cut"))

    def connect(self) -> None:
        self.peers += 1
        self.to_worker.clear()
        self.to_trainer.clear()
        self.end.connect(0.0)

    def steps(self) -> Iterator[str]:
        job = self.job
        if self.to_worker:
            yield "to worker"
        if self.to_trainer:
            yield "to trainer"
        if job is not None and job.runnable:
            yield "make"
        if job is not None and (job.done or job.ready or job.asked < job.until) and not job.over:
            yield "send"
        if self.waiting:
            yield "take"

    def take(self, what: str) -> None:
        getattr(self, "_" + what.replace(" ", "_"))()
        self._collect()

    def _cut(self) -> None:
        self.lose()

    def _die(self) -> None:
        """And the trainer notices."""
        self.replace()
        self.lose()

    def _vanish(self) -> None:
        """And nobody notices, before something is said."""
        self.replace()

    def _nap(self) -> None:
        """The worker forgets a trainer that slept."""
        self.forget()
        self.lose()

    def _gap(self) -> None:
        """A message is lost, and nobody notices yet."""
        if self.to_trainer:
            self.to_trainer.pop(0)

    def _to_worker(self) -> None:
        peer = b"%d" % self.peers
        try:
            self._apply(self.worker.receive(peer, self.to_worker.pop(0), 0.0))
        except RemoteProtocolError as error:
            if error.reason != UNGREETED:  # another life was spoken to
                raise
            self.worker.refuse(peer, error.reason, 0.0)

    def _to_trainer(self) -> None:
        self._happened(self.end.receive(self.to_trainer.pop(0), 0.0))

    def _make(self) -> None:
        assert self.job is not None
        self.job.step()
        if self.job.over:
            self._send()
            self.worker.end(KEY, 0.0)

    def _send(self) -> None:
        """What ended, what was made, what is wanted: in this order."""
        job = self.job
        assert job is not None
        for ended in job.done:
            self.worker.done(KEY, *ended, 0.0)
        whole = [rows for rows in job.ready if len(rows) == job.size]
        for chunk in filter(None, (whole, job.ready[len(whole) :])):
            nbytes = sum(map(len, chunk)) * WEIGHT
            self.worker.chunk(KEY, Chunk(len(chunk), nbytes, tuple(chunk)), 0.0)  # type: ignore[arg-type]  # nobody looks inside
        job.done, job.ready = [], []
        if job.asked < job.until and not job.over:
            job.asked = job.until
            self.worker.take(KEY, job.asked, 0.0)

    def _take(self) -> None:
        delivery = self.waiting.pop(0)
        for rows in delivery.chunk.columns[delivery.skip :]:
            self.seen += rows  # type: ignore[arg-type]  # see `_send`
        self.end.took(STREAM, delivery, 0.0)

    def _collect(self) -> None:
        self.to_worker += map(_carried, self.end.outgoing())
        present = b"%d" % self.peers
        said = [n for peer, n in self.worker.outgoing() if peer == present]
        self.to_trainer += map(_carried, said)

    def _apply(self, events: list[WorkerEvent]) -> None:
        for event in events:
            if isinstance(event, Started):
                self.job = Job(event.opening, self.content, self.ahead, self.eager)
            elif isinstance(event, Credit):
                assert self.job is not None
                self.job.limit, self.job.limit_bytes = event.elements, event.nbytes
            elif isinstance(event, Given):
                assert self.job is not None
                self.job.queue.append(event.work)
            elif isinstance(event, Dropped):
                self.job = None

    def _happened(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Delivered):
                self.waiting.append(event.delivery)
            elif isinstance(event, Finished):
                self.finished.append((event.item, event.count))
            elif isinstance(event, Ended):
                self.ended = True
            elif isinstance(event, Lost):
                self.connect()
            elif isinstance(event, Reborn | Forgotten):
                self.end.resume(0.0)
            self._collect()


class Dealing:
    """Workers that share the items of one pass."""

    def __init__(
        self, content: Content, workers: int, *, known: bool, window: Window, batch: int = 0,
        drop_remainder: bool = False, ahead: int = 1, eager: bool = False,
        left_out: frozenset[int] = frozenset(), fault: str = "",
    ) -> None:  # fmt: skip
        """``fault`` is what may happen once, at any time."""
        self.content, self.left_out, self.fault = content, left_out, fault
        #: Rows of each worker that are in no batch.
        self.missing = batch - 1 if drop_remainder else 0
        total = len(content.sizes[0]) if known else NO_MORE
        items = Items(total, workers, stride=content.stride, done=left_out)
        self.places = [
            Place(
                index, workers, content, items, window, batch=batch,
                drop_remainder=drop_remainder, ahead=ahead, eager=eager,
            )
            for index in range(workers)
        ]  # fmt: skip
        for place in self.places:
            place._collect()

    def steps(self) -> list[Step]:
        """What may happen next: bad luck last."""
        steps = [(what, place.index) for place in self.places for what in place.steps()]
        if self.fault and not self.over:
            steps += [(self.fault, place.index) for place in self.places]
        return steps

    def take(self, step: Step) -> None:
        if step[0] in FAULTS:
            self.fault = ""
        self.places[step[1]].take(step[0])

    def freeze(self) -> bytes:
        """This world, for pickle to make again."""
        return pickle.dumps(self, 5)

    def key(self) -> bytes:
        """The same for worlds in which the same can happen."""
        out = io.BytesIO()
        pickler = pickle.Pickler(out, 5)
        pickler.fast = True  # what is equal looks equal, whether or not it is one object
        pickler.dump([self.fault, self.places])
        return hashlib.blake2b(out.getvalue(), digest_size=16).digest()

    def work(self, steps: int = 100_000) -> None:
        """All that is possible, without bad luck."""
        while steps and (possible := self.steps()):
            self.take(possible[steps % len(possible)])
            steps -= 1

    @property
    def over(self) -> bool:
        return all(place.ended and not place.waiting for place in self.places)

    def settle(self) -> bool:
        """Without more bad luck, but for links that are made anew where nothing moves any more."""
        self.fault = ""
        for _ in range(3):
            self.work()
            if self.over:
                return True
            for place in self.places:
                place.lose()
        return False

    def check(self) -> None:
        """What holds at any time: an item is one worker's, its elements come in order and once."""
        owners: dict[int, int] = {}
        came: dict[int, int] = {}
        for place in self.places:
            for item, number in place.seen:
                assert owners.setdefault(item, place.index) == place.index, "two have an item"
                assert came.get(item, 0) == number, "an element is lost or comes again"
                came[item] = number + 1
            for item, count in place.finished:
                assert owners.setdefault(item, place.index) == place.index, "two end an item"
                arrived = [*place.seen, *self._waiting(place)]
                mine = [at for at, row in enumerate(arrived) if row[0] == item]
                assert len(mine) == self.content.size(item), "finished, and not here"
                assert not mine or mine[-1] < count, "it ended later"

        if self.over:
            self._check_whole()

    def _check_whole(self) -> None:
        """At the end: all is there, but for what is in no batch."""
        seen = [row for place in self.places for row in place.seen]
        wanted = {row for row in self.content.rows() if row[0] not in self.left_out}
        assert len(wanted) - len(seen) <= self.missing * len(self.places)
        assert set(seen) <= wanted
        finished = [item for place in self.places for item, _ in place.finished]
        assert len(finished) == len(set(finished)), "an item is finished twice"
        if not self.missing:
            assert sorted(finished) == sorted(set(self.content.items()) - self.left_out)

    def _waiting(self, place: Place) -> Iterator[Row]:
        for delivery in place.waiting:
            for rows in delivery.chunk.columns[delivery.skip :]:
                yield from rows  # type: ignore[misc]  # see `Place._send`


def _carried(numbered: Numbered) -> Numbered:
    """The message after encoding and decoding, but for chunks."""
    if isinstance(numbered.message, Item):
        return numbered
    number, message = decode_header(bytes(encode(numbered)[0]))
    return Numbered(number, message)  # type: ignore[arg-type]  # no ITEM
