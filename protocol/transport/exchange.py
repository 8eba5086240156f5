"""Where a worker's two threads meet: the one that runs generators and the one that does I/O.

Owns one lock and, per stream, the chunk under construction. Everything here is bounded by the
credit that the trainer gave: a stream without credit is not advanced. Both threads only ever hold
the lock for a few assignments; the generator runs outside it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..chunk import Chunk, ChunkBuilder
from ..messages import Open
from ..normalize import Leaf
from ..spec import ElementSpec
from ..worker_end import Credit, Dropped, Event, Key, Started

__all__ = ["Exchange", "Failure", "Finished", "Job"]


@dataclass(frozen=True, slots=True)
class Failure:
    """The generator raised, or yielded what cannot travel, at ``element``."""

    element: int
    kind: str
    text: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a stream: None is a clean end."""

    failure: Failure | None = None


@dataclass(slots=True)
class Job:
    """One stream, as the two threads share it. Guarded by the exchange's lock."""

    key: Key
    opening: Open
    builder: ChunkBuilder
    #: Elements and bytes made in this life, against the absolute limits of the trainer.
    made: int
    made_bytes: int = 0
    limit: int = 0
    limit_bytes: int = 0
    full: deque[Chunk] = field(default_factory=deque)
    finished: Finished | None = None
    dropped: bool = False

    @property
    def runnable(self) -> bool:
        """Whether the trainer's credit allows one more element to be begun."""
        may = self.made < self.limit and self.made_bytes < self.limit_bytes
        return may and self.finished is None and not self.dropped


class Exchange:
    """Hands jobs to the runner and chunks to the I/O thread."""

    def __init__(self, notify: Callable[[Key, bool], None]) -> None:
        """``notify(key, now)`` tells the I/O thread that a stream has something to send; ``now``
        when it should not wait for more."""
        self._notify = notify
        self._changed = threading.Condition()
        self._jobs: dict[Key, Job] = {}
        self._turn: deque[Key] = deque()
        self._dropped: deque[Job] = deque()
        self._commands: deque[Callable[[], None]] = deque()
        self._stopping = False
        self.spec: ElementSpec | None = None

    # Called by the I/O thread.

    def apply(self, event: Event) -> None:
        """Take note of what a trainer asked for."""
        with self._changed:
            if isinstance(event, Started):
                assert self.spec is not None  # no OPEN is accepted before the spec is known
                builder = ChunkBuilder(self.spec)
                self._jobs[event.key] = Job(
                    event.key, event.opening, builder, made=event.opening.start
                )
                self._turn.append(event.key)
            elif isinstance(event, Credit):
                job = self._jobs.get(event.key)
                if job is not None:
                    job.limit, job.limit_bytes = event.elements, event.nbytes
            elif isinstance(event, Dropped):
                self._drop(event.key)
            self._changed.notify()

    def take(self, key: Key) -> tuple[list[Chunk], Finished | None]:
        """What a stream has to send now, and how it ended if it did."""
        with self._changed:
            job = self._jobs.get(key)
            if job is None:
                return [], None
            chunks = list(job.full)
            job.full.clear()
            if job.builder.n:
                chunks.append(job.builder.take())
            if job.finished is not None:
                del self._jobs[key]
                self._turn.remove(key)
            return chunks, job.finished

    def command(self, command: Callable[[], None]) -> None:
        """Have the runner's thread call ``command`` between two elements."""
        with self._changed:
            self._commands.append(command)
            self._changed.notify()

    def stop(self) -> None:
        """Have the runner return after the element that it is making."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    # Called by the runner.

    @property
    def stopping(self) -> bool:
        return self._stopping

    def next(self, seconds: float) -> Job | Callable[[], None] | None:
        """The next thing to do: a dropped job to close, a command, a job with credit, or None."""
        with self._changed:
            if not self._work_waits():
                self._changed.wait(seconds)
            if self._dropped:
                return self._dropped.popleft()
            if self._commands:
                return self._commands.popleft()
            return self._runnable()

    def add(self, job: Job, leaves: Sequence[Leaf]) -> None:
        """Copy one element into the job's chunk; the generator may run on."""
        with self._changed:
            if not job.builder.accepts(leaves):
                job.full.append(job.builder.take())
            first = job.builder.n == 0
            job.made_bytes += job.builder.add(leaves)
            job.made += 1
            starved = not job.runnable
            complete = bool(job.full) or not job.builder.accepts(leaves)
        if first or complete or starved:
            self._notify(job.key, complete or starved)

    def finish(self, job: Job, failure: Failure | None = None) -> None:
        """The job's generator is exhausted, or failed."""
        with self._changed:
            job.finished = Finished(failure)
        self._notify(job.key, True)

    def _work_waits(self) -> bool:
        if self._stopping or self._dropped or self._commands:
            return True
        return any(self._jobs[key].runnable for key in self._turn)

    def _runnable(self) -> Job | None:
        """Jobs with credit in turn, one element each."""
        for _ in range(len(self._turn)):
            self._turn.rotate(-1)
            job = self._jobs[self._turn[-1]]
            if job.runnable:
                return job
        return None

    def _drop(self, key: Key) -> None:
        job = self._jobs.pop(key, None)
        if job is not None:
            job.dropped = True
            self._turn.remove(key)
            self._dropped.append(job)
