"""Where a worker's two threads meet: the one that runs generators and the one that does I/O.

Owns one lock and, per stream, the chunk under construction. Everything here is bounded by the
credit that the trainer gave: a stream without credit is not advanced. Both threads only ever hold
the lock for a few assignments; the generator runs outside it, and so does the copying: the runner
fills rows without the lock, the I/O thread may take the finished ones of the same columns.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..chunk import Allocate, Chunk, ChunkBuilder, aligned_empty
from ..columns import Room, Shape, Stack
from ..messages import Open
from ..normalize import Leaf
from ..spec import ElementSpec
from ..worker_events import Credit, Dropped, Event, Given, Key, Started
from .dealt import Dealt, Gate

__all__ = ["Exchange", "Failure", "Finished", "Job", "Taken"]


@dataclass(frozen=True, slots=True)
class Failure:
    """The generator raised, or yielded what cannot travel, at ``element`` of its own count."""

    element: int
    kind: str
    text: str
    traceback: str


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a stream: None is a clean end."""

    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    """What a stream has to send, in this order."""

    #: (ordinal, count, total) of the items that ended: what came behind them may be in `chunks`.
    done: Sequence[tuple[int, int, int]] = ()
    chunks: Sequence[Chunk] = ()
    #: It wants the items below this ordinal; None where that was said.
    until: int | None = None
    finished: Finished | None = None


@dataclass(slots=True)
class Job:
    """One stream, as the two threads share it.

    The runner alone raises `made` and `made_bytes`; the I/O thread alone raises the limits. Who
    reads the other's sees a value that was right a moment ago, and less credit than there is.
    """

    key: Key
    opening: Open
    builder: ChunkBuilder
    #: Elements and bytes made in this life, against the absolute limits of the trainer. The bytes
    #: of a half-made batch count already.
    made: int
    #: Where the generator waits for what it needs.
    gate: Gate
    #: The items that the trainer deals; None where it does not.
    dealt: Dealt | None = None
    made_bytes: int = 0
    limit: int = 0
    limit_bytes: int = 0
    #: The trainer has used the elements before this one.
    acked: int = 0
    #: The most bytes that the trainer ever let it run ahead.
    window: int = 0
    full: deque[Chunk] = field(default_factory=deque)
    finished: Finished | None = None
    dropped: bool = False
    #: Whether the I/O thread waits to be told of the next element; if not, it comes by itself.
    quiet: bool = True

    @property
    def runnable(self) -> bool:
        """Whether the trainer's credit allows one more element to be begun, or finished, and there
        is something to make it of."""
        if self.gate.waiting:
            return False
        may = self.made < self.limit and self.made_bytes < self.limit_bytes
        return (may or self.builder.midway > 0) and self.finished is None and not self.dropped

    @property
    def blocked(self) -> bool:
        """Whether only credit is missing."""
        return not (self.gate.waiting or self.finished or self.dropped or self.runnable)

    @property
    def room(self) -> Room:
        """The credit that is left, in elements and bytes."""
        return self.limit - self.made, self.limit_bytes - self.made_bytes

    @property
    def kept(self) -> int:
        """Bytes that were made and not used yet, taking the elements for equally large.

        The runner counts what it makes at the end of its turn (`Exchange.filled`): the trainer may
        have used by then what is not counted yet.
        """
        made = self.made - self.opening.start
        unused = max(0, self.made - max(self.acked, self.opening.start))
        return self.made_bytes * unused // max(1, made)

    @property
    def space(self) -> Room:
        """How large a chunk may become. A quarter of the window, or the worker would have to wait
        until the trainer has used up all that it was sent."""
        elements, nbytes = self.room
        return elements, min(nbytes, max(1, self.window // 4))

    @property
    def element(self) -> int:
        """The number of the element that the generator makes next, in its own count."""
        return self.made * self.builder.step + self.builder.midway

    def stop(self, stack: Stack) -> int:
        """The row of ``stack`` at which its columns or the credit end."""
        size = max(1, stack.weight * stack.step)
        elements, nbytes = self.room
        begun = stack.row - stack.whole
        allowed = min(elements, -(-(nbytes + begun * stack.weight) // size))
        return min(stack.rows, stack.whole + max(allowed, begun > 0) * stack.step)


class Exchange:
    """Hands jobs to the runner and chunks to the I/O thread."""

    def __init__(
        self,
        notify: Callable[[Key, bool], None],
        allocate: Callable[[Key], Allocate] = lambda _: aligned_empty,
    ) -> None:
        """``notify(key, now)`` tells the I/O thread that a stream has something to send; ``now``
        when it should not wait for more. ``allocate`` gives a stream the memory of its chunks."""
        self._notify = notify
        self._allocate = allocate
        self._changed = threading.Condition()
        self._jobs: dict[Key, Job] = {}
        self._turn: deque[Key] = deque()
        self._dropped: deque[Job] = deque()
        self._commands: deque[Callable[[], None]] = deque()
        self._stopping = False
        #: Items that a stream asks for ahead of what it does.
        self.ahead = 0
        self.spec: ElementSpec | None = None
        #: The runner should come to `next` before it runs a generator again.
        self.attention = False
        #: Nanoseconds of the last call of `next` in which a stream waited for credit.
        self.blocked_for = 0
        #: Several streams have credit: the runner should come to `next` after each element.
        self.shared = False

    # Called by the I/O thread.

    def apply(self, event: Event) -> None:
        """Take note of what a trainer asked for."""
        with self._changed:
            if isinstance(event, Started):
                self._start(event)
            elif isinstance(event, Credit):
                job = self._jobs.get(event.key)
                if job is not None:
                    job.limit, job.limit_bytes = event.elements, event.nbytes
                    job.acked = event.ack
                    job.window = max(job.window, event.nbytes - job.made_bytes)
            elif isinstance(event, Given):
                job = self._jobs.get(event.key)
                if job is not None and job.dealt is not None:
                    job.dealt.give(event.work)
            elif isinstance(event, Dropped):
                self._drop(event.key)
            self._look()
            self._changed.notify()

    def take(self, key: Key, *, again: bool = True) -> Taken:
        """What a stream has to send now.

        With ``again``, who got something must come again by itself; else the next element notifies.
        """
        with self._changed:
            job = self._jobs.get(key)
            if job is None:
                return Taken()
            # Before the rows are counted: one that is finished after it is announced.
            job.quiet = True
            chunks = list(job.full)
            job.full.clear()
            if job.builder.n:
                chunks.append(job.builder.take())
            if chunks and again:
                job.quiet = False
            if job.finished is not None:
                del self._jobs[key]
                self._turn.remove(key)
            until, done = (None, ()) if job.dealt is None else job.dealt.news()
            return Taken(done, chunks, until, job.finished)

    @property
    def keys(self) -> list[Key]:
        """The streams that are served."""
        with self._changed:
            return list(self._jobs)

    @property
    def openings(self) -> list[Open]:
        """How the streams were opened that are not over."""
        with self._changed:
            return [job.opening for job in self._jobs.values() if job.finished is None]

    @property
    def level(self) -> tuple[int, int]:
        """Bytes that were made and that the trainers have not used, and how many those may be."""
        with self._changed:
            jobs = [job for job in self._jobs.values() if job.finished is None]
            return sum(job.kept for job in jobs), sum(job.window for job in jobs)

    def command(self, command: Callable[[], None]) -> None:
        """Have the runner's thread call ``command`` between two elements."""
        with self._changed:
            self._commands.append(command)
            self._look()
            self._changed.notify()

    def stop(self) -> None:
        """Have the runner return after the element that it is making."""
        with self._changed:
            self._stopping = True
            self._look()
            self._changed.notify()

    # Called by the runner.

    @property
    def stopping(self) -> bool:
        return self._stopping

    def gate(self) -> Gate:
        """For a generator that runs without a stream."""
        return Gate(self._changed, self._look)

    def next(self, seconds: float) -> Job | Callable[[], None] | None:
        """The next thing to do: a dropped job to close, a command, a job with credit, or None."""
        with self._changed:
            self.blocked_for = 0
            if not self._work_waits():
                blocked = any(job.blocked for job in self._jobs.values())
                began = time.monotonic_ns()
                self._changed.wait(seconds)
                self.blocked_for = time.monotonic_ns() - began if blocked else 0
            work: Job | Callable[[], None] | None
            if self._dropped:
                work = self._dropped.popleft()
            elif self._commands:
                work = self._commands.popleft()
            else:
                work = self._runnable()
            self._look()
            return work

    def add(self, job: Job, leaves: Sequence[Leaf]) -> bool:
        """Copy one element (one row of a batch) into the job's chunk; the generator may run on.

        Returns whether the turn is over. `ElementError` where a batch has rows of several shapes.
        """
        if not job.builder.accepts(leaves):
            self._seal(job)
        job.made_bytes += job.builder.add(leaves, job.space)
        if job.builder.midway:
            return self.attention
        job.made += 1
        return self._made(job, job.builder.full or not job.builder.accepts(leaves))

    def filled(self, job: Job, stack: Stack, began: int) -> None:
        """Rows from ``began`` on were written the short way, the generator may run on."""
        if stack.row == began:
            return
        job.made_bytes += (stack.row - began) * stack.weight
        job.made += stack.whole // stack.step - began // stack.step
        if not stack.midway:
            self._made(job, job.builder.full)

    def announce(self, job: Job) -> None:
        """The first element since the I/O thread found nothing."""
        job.quiet = False
        self._notify(job.key, False)

    def lend(self, job: Job, shape: Shape, dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
        """The memory of the next row of the first array of ``shape`` and ``dtype``, or None."""
        builder = job.builder
        index = builder.wanted(shape, dtype)
        if index is None or (builder.midway and not builder.lends(index, shape)):
            return None
        if not builder.lends(index, shape):
            self._seal(job)
        return builder.lend(index, shape, job.space)

    def finish(self, job: Job, failure: Failure | None = None) -> None:
        """The job's generator is exhausted, or failed."""
        with self._changed:
            rest = failure is None and not job.opening.drop_remainder
            job.full.extend(job.builder.seal(remainder=rest))
            job.finished = Finished(failure)
        self._notify(job.key, True)

    def _made(self, job: Job, complete: bool) -> bool:
        """Whole elements were made: tell the I/O thread what it must know. True ends the turn."""
        starved = not job.runnable
        if complete:
            self._seal(job)
        elif starved:
            self._notify(job.key, True)
        elif job.quiet:
            self.announce(job)
        return complete or starved or self.attention or self.shared

    def _seal(self, job: Job) -> None:
        with self._changed:
            chunks = job.builder.seal()
            job.full.extend(chunks)
        if chunks:
            self._notify(job.key, True)

    def _start(self, event: Started) -> None:
        assert self.spec is not None  # no OPEN is accepted before the spec is known
        opening = event.opening
        builder = ChunkBuilder(self.spec, self._allocate(event.key), batch=opening.batch)
        job = Job(
            event.key, opening, builder, made=opening.start, gate=Gate(self._changed, self._look)
        )
        if opening.work is not None:
            key = event.key
            job.dealt = Dealt(
                opening.work, self.ahead, job.gate, lambda now: self._notify(key, now)
            )
            self._notify(key, True)
        self._jobs[event.key] = job
        self._turn.append(event.key)

    def _look(self) -> None:
        """Whether the runner's present turn should end early."""
        self.attention = bool(self._stopping or self._dropped or self._commands)
        self.shared = sum(job.runnable for job in self._jobs.values()) > 1

    def _work_waits(self) -> bool:
        if self._stopping or self._dropped or self._commands:
            return True
        return any(self._jobs[key].runnable for key in self._turn)

    def _runnable(self) -> Job | None:
        """Jobs with credit in turn."""
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
