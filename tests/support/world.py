"""A small world: workers that die, links that are cut, a supervisor that tells, one trainer.

Nothing here runs by itself. A test asks which steps are possible and takes one, or clones the world
and takes them all. The ends and the watch are the real ones; what travels is not encoded.
"""

from __future__ import annotations

import copyreg
import hashlib
import io
import pickle
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any, Protocol

from genserver.protocol.chunk import Chunk
from genserver.protocol.errors import RemoteProtocolError
from genserver.protocol.link import DEAD_AFTER, Numbered
from genserver.protocol.messages import (
    Beat,
    Close,
    End,
    EndAck,
    Error,
    GoAway,
    Grant,
    Hello,
    Item,
    Open,
    Status,
    Welcome,
    WorkerStatus,
)  # fmt: skip
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
    Welcomed,
)
from genserver.protocol.watch import Abandon, Action, GiveUp, Renew, Resume, Say, Watch
from genserver.protocol.worker_end import Event as WorkerEvent
from genserver.protocol.worker_end import WorkerEnd
from genserver.protocol.worker_events import Credit, Dropped, Started

__all__ = ["WORK", "Faults", "Step", "World", "explore"]

#: Bytes of an element.
WEIGHT = 8
STREAM = 1
#: (what, worker)
Step = tuple[str, int]
#: Steps that are no bad luck.
WORK = ("news", "to worker", "to trainer", "make", "send", "take")


def _quick(kind: type[Any]) -> None:
    """Have a frozen dataclass of two fields or more cloned in a tenth of the time."""
    values = attrgetter(*(field.name for field in fields(kind)))
    copyreg.pickle(kind, lambda value: (kind, values(value)))


for _kind in (
    Chunk, Delivery, End, Error, GoAway, Grant, Hello, Item, Numbered, Open, Status, Welcome,
    WorkerStatus, Window,
):  # fmt: skip
    _quick(_kind)
for _one in (EndAck, Close):
    copyreg.pickle(_one, lambda value: (type(value), (value.stream,)))
copyreg.pickle(Beat, lambda _: (Beat, ()))


@dataclass(slots=True)
class Faults:
    """How much bad luck is left."""

    cuts: int = 0  # both directions lose what is under way, and the trainer notices
    drops: int = 0  # one message towards the trainer is lost, and nobody notices yet
    crashes: int = 0  # a worker is killed
    leaves: int = 0  # a worker says goodbye and is replaced
    repeats: int = 0  # a second passes: END is said again
    naps: int = 0  # a worker forgets the trainer, which slept
    restarts: int = 0  # the server is killed, and another one takes its place
    returns: int = 0  # the server says goodbye first
    silences: int = 0  # the server's own link is cut, and made again


@dataclass(slots=True)
class Job:
    """A generator in one life of a worker."""

    made: int
    limit: int = 0
    limit_bytes: int = 0
    weight: int = 0
    over: bool = False


class Place:
    """One worker, the trainer's end for it, and the link between them."""

    def __init__(self, index: int, length: int, window: Window) -> None:
        self.index = index
        self.length = length
        self.lives = 0
        self.peers = 0
        self.to_worker: list[Numbered] = []
        self.to_trainer: list[Numbered] = []
        self.waiting: list[Delivery] = []
        self.taken = 0
        self.count: int | None = None
        #: What ended the stream, in place of its end.
        self.error: str | None = None
        self.end = TrainerEnd(1, 0.0)
        self.job: Job | None = None
        self.replace()
        opening = Open(STREAM, index, 2, epoch=0, seed=0)
        self.pulled = PulledStream(opening, window)

    def replace(self) -> None:
        """Another life takes the worker's place, and knows nobody."""
        self.lives += 1
        self.worker = WorkerEnd(self.lives)
        self.worker.serve(0.0)
        self.job = None
        self.to_worker.clear()

    def connect(self, now: float) -> None:
        """A new link; nothing of the old one arrives any more."""
        self.peers += 1
        self.to_worker.clear()
        self.to_trainer.clear()
        self.end.connect(now)

    @property
    def runnable(self) -> bool:
        job = self.job
        if job is None or job.over:
            return False
        return job.made < job.limit and job.weight < job.limit_bytes

    @property
    def done(self) -> bool:
        """Whether the user has seen everything, or a failure."""
        return not self.waiting and (self.count is not None or self.error is not None)


class World:
    """Two workers and what may happen to them."""

    def __init__(
        self, lengths: tuple[int, ...], faults: Faults, *, recovery: str = "auto", window: int = 2
    ) -> None:
        self.now = 0.0
        self.faults = faults
        workers = tuple(WorkerStatus(i, "ready", 1, "", 0) for i in range(len(lengths)))
        self.status = Status("ready", "m:g", "static", 0, -2, "", None, workers, "", recovery)
        #: The server's life, and the one that the trainer has met.
        self.server = self.met = 1
        #: What the server says, under way: statuses, a goodbye's reason, or None for another life.
        self.news: list[Status | str | None] = []
        self.watch = Watch("tcp://a:1", 120.0, 0.0)
        self.watch.told(self.status, 0.0)
        self.said: list[str] = []
        self.places = [
            Place(index, length, Window(window, window * WEIGHT))
            for index, length in enumerate(lengths)
        ]
        for place in self.places:
            self.watch.use(place.index)
            place.connect(0.0)
            place.end.open(place.pulled, 0.0)
            self._collect(place)

    def greet(self) -> World:
        """Let the first links be made and the streams begin; the same world."""
        while steps := [step for step in self.steps() if step[0] in ("to worker", "to trainer")]:
            self.take(steps[0])
        return self

    def freeze(self) -> bytes:
        """This world, for pickle to make again."""
        return pickle.dumps(self, 5)

    def key(self) -> bytes:
        """The same for worlds in which the same can happen."""
        out = io.BytesIO()
        pickler = pickle.Pickler(out, 5)
        pickler.fast = True  # what is equal looks equal, whether or not it is one object
        pickler.dump([self.now, self.faults, self.watch, self.news, self.places, self.met])
        return hashlib.blake2b(out.getvalue(), digest_size=16).digest()

    def steps(self) -> list[Step]:
        """What can happen next."""
        steps: list[Step] = [("news", -1)] if self.news else []
        for place in self.places:
            steps += [(what, place.index) for what in self._possible(place)]
        if not self.over:
            steps += [("restart", -1)] * (self.faults.restarts > 0)
            steps += [("return", -1)] * (self.faults.returns > 0)
            steps += [("silence", -1)] * (self.faults.silences > 0)
        return steps

    def _possible(self, place: Place) -> Iterator[str]:
        if place.to_worker:
            yield "to worker"
        if place.to_trainer:
            yield "to trainer"
        if place.runnable:
            yield "make"
        if place.waiting:
            yield "take"
        if place.done and not place.end._streams:
            return  # nothing is at stake any more
        faults = self.faults
        yield from ["cut"] * (faults.cuts > 0)
        yield from ["drop"] * (faults.drops > 0 and bool(place.to_trainer))
        yield from ["crash"] * (faults.crashes > 0)
        yield from ["leave"] * (faults.leaves > 0)
        yield from ["repeat"] * (faults.repeats > 0)
        yield from ["nap"] * (faults.naps > 0)

    def take(self, step: Step) -> None:
        """Let it happen."""
        what, index = step
        if what == "news":
            self._act(self._heard(self.news.pop(0)))
            return
        if what in ("restart", "return"):
            self._restart(returns=what == "return")
            return
        if what == "silence":
            self._silence()
            return
        place = self.places[index]
        getattr(self, "_" + what.replace(" ", "_"))(place)
        self._collect(place)

    def second(self, *, awake: bool = True) -> None:
        """A second passes: who has nothing to say beats, and an END is said again. The trainer does
        nothing unless it is ``awake``."""
        self.now += 1.0
        for place in self.places:
            self._apply(place, place.worker.tick(self.now))
            if awake:
                self._happened(place, place.end.tick(self.now))
            self._collect(place)
        if awake:
            heard = {place.index: place.end.heard for place in self.places}
            wanted = [place.index for place in self.places if place.end._streams]
            self._act(self.watch.tick(self.now, heard, wanted))

    def sleep(self, seconds: int) -> None:
        """The trainer sleeps, and reads what arrived meanwhile before it judges anybody."""
        for _ in range(seconds):
            self.second(awake=False)
        for place in self.places:
            while place.to_trainer:
                self._to_trainer(place)
                self._collect(place)

    def settle(self, seconds: float = 3 * DEAD_AFTER) -> bool:
        """Without more bad luck: whether everything ends in time."""
        self.faults = Faults()
        until = self.now + seconds
        while self.now < until:
            steps = self.steps()
            while steps:
                self.take(steps[0])
                steps = self.steps()
            if self.over:
                return True
            self.second()
        return False

    @property
    def over(self) -> bool:
        """Whether every stream has come to its end, at both ends, and nothing is left of it."""
        return all(
            place.done and place.worker.open_streams == 0 and not place.end._streams
            for place in self.places
        )

    def check(self) -> None:
        """What holds in every world. Order, gaps and repeats are judged as elements are taken."""
        for place in self.places:
            if place.job is not None and place.error is None:
                ahead = place.job.made - place.taken
                assert ahead <= place.pulled.window.elements, "memory is not bounded"
            if place.count is not None:
                whole = place.taken + sum(delivery.n for delivery in place.waiting)
                assert place.count == place.length == whole, "an END that is none"

    # Steps.

    def _to_worker(self, place: Place) -> None:
        numbered = place.to_worker.pop(0)
        peer = b"%d" % place.peers
        try:
            self._apply(place, place.worker.receive(peer, numbered, self.now))
        except RemoteProtocolError as error:
            place.worker.refuse(peer, str(error), self.now)

    def _to_trainer(self, place: Place) -> None:
        self._happened(place, place.end.receive(place.to_trainer.pop(0), self.now))

    def _make(self, place: Place) -> None:
        job = place.job
        assert job is not None  # it is runnable
        if job.made == place.length:
            place.worker.end((1, STREAM), self.now)
            job.over = True
            return
        element = (place.index, job.made)
        place.worker.chunk((1, STREAM), Chunk(1, WEIGHT, (element,)), self.now)  # type: ignore[arg-type]  # nobody looks inside
        job.made += 1
        job.weight += WEIGHT

    def _take(self, place: Place) -> None:
        delivery = place.waiting.pop(0)
        assert delivery.chunk.columns == ((place.index, place.taken),), "a gap, a repeat, a mix"
        place.taken += 1
        place.end.took(STREAM, delivery, self.now)

    def _cut(self, place: Place) -> None:
        self.faults.cuts -= 1
        self._happened(place, place.end.lose("cut"))

    def _drop(self, place: Place) -> None:
        self.faults.drops -= 1
        place.to_trainer.pop(0)

    def _crash(self, place: Place) -> None:
        self.faults.crashes -= 1
        self._replaced(place, "killed by SIGKILL")

    def _leave(self, place: Place) -> None:
        self.faults.leaves -= 1
        place.worker.leave("recycled", self.now, returns=True)
        self._collect(place)
        self._replaced(place, "")

    def _repeat(self, _: Place) -> None:
        self.faults.repeats -= 1
        self.second()

    def _nap(self, place: Place) -> None:
        """The worker forgets the trainer; what is under way arrives."""
        self.faults.naps -= 1
        for session in list(place.worker._sessions.values()):
            self._apply(place, place.worker._forget(session))
        place.worker._peers.clear()

    def _replaced(self, place: Place, cause: str) -> None:
        place.replace()
        before = self.status.workers[place.index]
        dying = replace(before, state="backoff", cause=cause)
        for worker in (dying, replace(before, life=before.life + 1, cause=cause)):
            workers = list(self.status.workers)
            workers[place.index] = worker
            self.status = replace(self.status, workers=tuple(workers))
            self.news.append(self.status)

    def _restart(self, *, returns: bool) -> None:
        """Another server, whose workers can be reached before it says that it serves."""
        if returns:
            self.faults.returns -= 1
            self.news.append("stopped by SIGTERM")
            for place in self.places:
                place.worker.leave("the server stopped", self.now, returns=True)
                self._collect(place)
        else:
            self.faults.restarts -= 1
            self.news.clear()
        for place in self.places:
            place.replace()
        workers = tuple(replace(worker, life=0, cause="") for worker in self.status.workers)
        self.status = replace(self.status, workers=workers)
        self.server += 1
        self.news += [None, replace(self.status, state="starting", workers=()), self.status]

    def _silence(self) -> None:
        self.faults.silences -= 1
        self.news = [*[None] * (self.met != self.server), self.status]
        self._act(self.watch.lost(self.now, self.now))

    def _heard(self, news: Status | str | None) -> list[Action]:
        if news is None:
            self.met = self.server
            return self.watch.reborn()
        if isinstance(news, str):
            return self.watch.left(news, True, self.now)
        return self.watch.told(news, self.now)

    # What comes of them.

    def _collect(self, place: Place) -> None:
        place.to_worker += place.end.outgoing()
        present = b"%d" % place.peers
        place.to_trainer += [n for peer, n in place.worker.outgoing() if peer == present]

    def _apply(self, place: Place, events: list[WorkerEvent]) -> None:
        for event in events:
            if isinstance(event, Started):
                place.job = Job(event.opening.start)
            elif isinstance(event, Credit):
                assert place.job is not None  # it was started
                place.job.limit, place.job.limit_bytes = event.elements, event.nbytes
            elif isinstance(event, Dropped):
                place.job = None

    def _happened(self, place: Place, events: list[Event]) -> None:
        """As the connection's core does it."""
        for event in events:
            if isinstance(event, Delivered):
                place.waiting.append(event.delivery)
            elif isinstance(event, Ended):
                place.count = event.count
            elif isinstance(event, Failed):
                raise AssertionError(event.failure)
            elif isinstance(event, Lost):
                place.connect(self.now)
                self._collect(place)
            elif isinstance(event, Reborn):
                self._act(self.watch.worker_reborn(place.index, self.now))
            elif isinstance(event, Forgotten):
                self._act(self.watch.worker_forgot(place.index, event.streams))
            elif isinstance(event, Welcomed):
                self.watch.welcomed(place.index)

    def _act(self, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Say):
                self.said.append(action.text)
                continue
            assert not isinstance(action, GiveUp), action.error
            place = self.places[action.worker]
            if isinstance(action, Renew):
                while place.to_trainer:
                    self._to_trainer(place)
                place.connect(self.now)
                self.watch.renewed(place.index)
            elif isinstance(action, Resume):
                place.end.resume(self.now)
            elif isinstance(action, Abandon):
                if place.count is None:
                    place.error = type(action.error).__name__
                place.end.close(STREAM, self.now)
            self._collect(place)


class Explored(Protocol):
    """A world of which all worlds can be reached."""

    def key(self) -> bytes: ...
    def freeze(self) -> bytes: ...
    def steps(self) -> list[Step]: ...
    def take(self, step: Step) -> None: ...
    def check(self) -> None: ...
    def settle(self) -> bool: ...


def explore(world: Explored) -> tuple[int, int]:
    """Take every step from every world that can be reached, breadth-first; how many worlds those
    are, and in how many nothing is left to do but to wait. Waiting must end everything there.
    """
    first = world.key()
    came: dict[bytes, tuple[bytes, Step] | None] = {first: None}
    todo = deque([(first, world.freeze())])
    ends = 0
    while todo:
        key, frozen = todo.popleft()
        steps = _thawed(frozen).steps()
        if not any(what in WORK for what, _ in steps):
            ends += 1
            last = _thawed(frozen)
            assert last.settle(), _path(came, key)
            last.check()
        for step in steps:
            following = _thawed(frozen)
            try:
                following.take(step)
                following.check()
            except Exception as error:
                raise AssertionError([*_path(came, key), step]) from error
            reached = following.key()
            if reached not in came:
                came[reached] = key, step
                todo.append((reached, following.freeze()))
    return len(came), ends


def _thawed(frozen: bytes) -> Explored:
    """The world that was frozen, as often as wanted."""
    world: Explored = pickle.loads(frozen)
    return world


def _path(came: dict[bytes, tuple[bytes, Step] | None], key: bytes) -> list[Step]:
    """The shortest way to a world."""
    steps = []
    while (before := came[key]) is not None:
        key, step = before
        steps.append(step)
    return steps[::-1]
