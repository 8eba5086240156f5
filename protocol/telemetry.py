"""What is measured all the time, on both ends: counters that only grow, and a few levels. Pure.

A `Snapshot` is what a server knows of itself and of the trainers that read from it, at one moment.
Counters count since the server, or the trainer, began; two snapshots make a `Span`, whose figures
are rates and shares of the time between them. So nobody has to reset anything, a snapshot that is
lost costs nothing, and every reader chooses how far back it looks.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "ANY", "MAX_ERROR", "MAX_ERRORS", "MAX_TRAINERS", "UNKNOWN", "Snapshot", "Span", "TrainerSpan",
    "TrainerTotals", "WorkerSpan", "WorkerTotals",
]  # fmt: skip

#: Trainers that one snapshot tells of, and bytes that it quotes of a worker's error, and of those
#: of all: so that a snapshot of 512 workers fits into one header.
MAX_TRAINERS, MAX_ERROR, MAX_ERRORS = 64, 120, 8192

#: In the place of a number of workers: no limit.
ANY = 0
#: In the place of a time that nobody has measured yet.
UNKNOWN = -1
MICROSECONDS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTotals:
    """One worker, over all its lives. Times are microseconds."""

    #: Its index at this server, from 0.
    index: int
    #: Elements that the generator gave, those that were made again after a death included.
    elements: int = 0
    #: Bytes of the elements that were sent to trainers.
    nbytes: int = 0
    #: Inside the generator.
    making: int = 0
    #: Ready to make elements, and without credit: those that are made are not used yet.
    blocked: int = 0
    #: Half of the last elements took no longer than this, 99 of 100 no longer than that; within
    #: 10 %. `UNKNOWN` before the first.
    p50: int = UNKNOWN
    p99: int = UNKNOWN
    #: Bytes that were made and that the trainers have not used yet, and how many those may be.
    kept: int = 0
    room: int = 0
    #: Elements that were made again after a death, and that no trainer got.
    replayed: int = 0
    lost: int = 0
    #: How often its process was started again.
    restarts: int = 0
    #: Bytes of memory that its process has, and microseconds of a core that it has used; those of
    #: this life, 0 where the system does not say.
    rss: int = 0
    cpu: int = 0
    #: Why its last process ended, or what its generator raised last; "" for neither.
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerTotals:
    """One trainer's reading from this server. Times are microseconds."""

    #: 64 random bits that the trainer keeps for a connection.
    session: int
    #: Elements and bytes that were handed to it.
    elements: int = 0
    nbytes: int = 0
    #: Waiting for an element that is not there yet, ...
    waiting: int = 0
    #: ... and between being given one and asking for the next: what it does with them.
    using: int = 0
    #: Whether that was measured around its training steps, and not inside tf.data, whose own
    #: buffers ask as soon as they have room.
    steps: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A server at one moment."""

    #: Microseconds since the server began.
    at: int
    #: Cores that its processes may use, and bytes of memory that they may have.
    cores: int
    memory: int
    #: Workers over which the generator can be divided: 1 where it takes no part of the work, the
    #: number of its items where it is called with some; `ANY` where nothing is known against more.
    most: int = ANY
    workers: tuple[WorkerTotals, ...] = ()
    trainers: tuple[TrainerTotals, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpan:
    """One worker during a span: rates a second, shares of the span from 0 to 1."""

    index: int
    elements: float
    nbytes: float
    making: float
    blocked: float
    cpu: float
    #: As they are at its end.
    last: WorkerTotals

    @property
    def idle(self) -> float:
        """The share in which nobody wanted anything of it."""
        return max(0.0, 1.0 - self.making - self.blocked)

    @property
    def fill(self) -> float:
        """How much of what may wait for the trainers does, from 0 to 1."""
        return min(1.0, self.last.kept / self.last.room) if self.last.room else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerSpan:
    """One trainer during a span: rates a second, times in seconds."""

    session: int
    elements: float
    nbytes: float
    waiting: float
    using: float
    steps: bool

    @property
    def wait(self) -> float:
        """The share of its time that it waits for elements, from 0 to 1."""
        spent = self.waiting + self.using
        return self.waiting / spent if spent else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A server between two snapshots."""

    seconds: float
    cores: int
    memory: int
    most: int = ANY
    workers: tuple[WorkerSpan, ...]
    #: Those that read meanwhile.
    trainers: tuple[TrainerSpan, ...]

    @classmethod
    def between(cls, first: Snapshot, last: Snapshot) -> Span:
        """``last`` is the later one of the same server; what is new in it began at nothing."""
        seconds = max(1, last.at - first.at) / MICROSECONDS
        workers = {worker.index: worker for worker in first.workers}
        trainers = {trainer.session: trainer for trainer in first.trainers}
        return cls(
            seconds=seconds, cores=last.cores, memory=last.memory, most=last.most,
            workers=tuple(
                _worker(workers.get(now.index, WorkerTotals(index=now.index)), now, seconds)
                for now in last.workers
            ),
            trainers=tuple(
                span
                for now in last.trainers
                if (span := _trainer(trainers.get(now.session), now, seconds)) is not None
            ),
        )  # fmt: skip

    @property
    def elements(self) -> float:
        """Elements a second that the trainers were given."""
        return sum(trainer.elements for trainer in self.trainers)

    @property
    def given(self) -> float:
        """The same as a count."""
        return self.elements * self.seconds

    @property
    def wait(self) -> float:
        """The share of their time that its trainers wait, from 0 to 1."""
        waiting = sum(trainer.waiting for trainer in self.trainers)
        spent = waiting + sum(trainer.using for trainer in self.trainers)
        return waiting / spent if spent else 0.0


def _worker(before: WorkerTotals, now: WorkerTotals, seconds: float) -> WorkerSpan:
    span = seconds * MICROSECONDS
    same = before.restarts == now.restarts
    return WorkerSpan(
        index=now.index,
        elements=(now.elements - before.elements) / seconds,
        nbytes=(now.nbytes - before.nbytes) / seconds,
        making=min(1.0, (now.making - before.making) / span),
        blocked=min(1.0, (now.blocked - before.blocked) / span),
        # Another life's begins at nothing.
        cpu=max(0, now.cpu - (before.cpu if same else 0)) / span,
        last=now,
    )


def _trainer(
    before: TrainerTotals | None, now: TrainerTotals, seconds: float
) -> TrainerSpan | None:
    """None for one that did not read."""
    before = before or TrainerTotals(session=now.session)
    waiting, using = now.waiting - before.waiting, now.using - before.using
    if not (waiting or using):
        return None
    return TrainerSpan(
        session=now.session,
        elements=(now.elements - before.elements) / seconds,
        nbytes=(now.nbytes - before.nbytes) / seconds,
        waiting=waiting / MICROSECONDS, using=using / MICROSECONDS, steps=now.steps,
    )  # fmt: skip
