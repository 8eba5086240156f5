"""A lane: pulls for a group of workers during one pass, whichever is ready (design 3).

Owns its streams and its share of the connections, and gives both back in `close`. Never waits
longer than it is asked to: a TensorFlow thread that waits can neither be cancelled nor lent.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

from genserver.protocol.errors import Closed, GenserverError, Stalled
from genserver.protocol.messages import Open
from genserver.protocol.spec import ElementSpec
from genserver.protocol.stream import Delivery
from genserver.protocol.transport.connection import StreamHandle
from genserver.protocol.transport.inbox import Inbox
from genserver.protocol.transport.usage import Usage

from .handout import Handout, space_of
from .mixing import GROUP, Mixer, Run, copied
from .passes import Pass
from .plan import Member, Plan, PlanError
from .repeats import Repeats
from .source import Reach, Source
from .usage import clock
from .waiting import REPORT_EVERY, say

__all__ = ["Lane"]


class Lane:
    """One of ``lanes`` lanes of a pass. One thread at a time; `close` from any thread."""

    def __init__(
        self, source: Source, *, number: int, expect: ElementSpec, lane: int = 0, lanes: int = 1,
        group: int = GROUP, begun: Pass | None = None, steps: bool = False,
    ) -> None:  # fmt: skip
        """``number`` is the pass's; ``expect`` is the spec that the dataset was made for; ``group``
        is `Mixer`'s; ``begun`` says where the workers start, and is told what is handed on;
        ``steps``: whoever asks does so from the training loop itself."""
        self._source = source
        self._expect = expect
        self._number, self._lanes = number, lanes
        self._epoch = source.epoch(number, begun)
        self._lane, self._which = lane, slice(lane, None, lanes)
        self._begun = begun
        #: The global index of each source, and how many elements of its pass have arrived.
        self._indices: tuple[int, ...] = ()
        self._arrived: list[int] = []
        self._reach = Reach(source, number)
        self._streams: list[StreamHandle] = []
        self._group = group
        self._inbox = Inbox(0)
        self._mixer: Mixer | None = None
        #: What a pass is known by to the stages of a server, where nothing is dealt and there is
        #: one lane.
        self._pass_group = secrets.randbits(63) + 1
        self._plan: Plan | None = None
        self._error: GenserverError | None = None
        self._repeats = Repeats()
        self.closed = False
        self._waiting_since = time.monotonic()
        self._reported = self._waiting_since
        self._got_any = False
        #: What it does, by server; when it last came back, with elements or without.
        self._usages: tuple[Usage, ...] = ()
        self._steps = steps
        self._gave = self._waiting_since
        self._servers: tuple[int, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether every worker's end has come and everything was taken."""
        return self._mixer is not None and self._mixer.over

    def take(self, seconds: float) -> Run | None:
        """The next elements, or None: after ``seconds`` without any, or at an end (see `ended`).

        With that the elements count as used. Raises what failed, and the same again at every later
        call; often repeated, it comes after ``seconds``.
        """
        if self._error is not None:
            self._repeats.again(self._error, seconds)
            raise self._error.with_traceback(None)  # or each call would add its frames
        if self.closed and not self.ended:
            raise Closed
        asked = time.monotonic()
        try:
            run = self._take(seconds)
            if run is None and not self.ended:
                self._report()
        except GenserverError as error:
            self._error = error
            # A notebook's last traceback keeps an interrupted iterator: its workers are free now.
            self.close()
            raise
        self._count(asked)
        if run is not None:
            self._got_any = True
            self._waiting_since = self._reported = self._gave
        return run

    def more(self) -> Run | None:
        """Elements that are there already, after a `take` that gave some; neither waits nor
        raises."""
        return None if self.closed or self._mixer is None else self._next(self._mixer)

    def close(self) -> None:
        """Free the streams at once; idempotent. Blocks on nothing but a moment's lock."""
        if self.closed:
            return
        self.closed = True
        if self._begun is not None and not self.ended:
            self._begun.left = True
        for stream in self._streams:
            stream.close()
        for connection, usage in zip(self._reach.connections, self._usages, strict=False):
            connection.follow_no_more(usage)
        self._reach.release()

    def _take(self, seconds: float) -> Run | None:
        if self._mixer is None:
            plan = self._reach.plan(seconds)
            if plan is None:
                return None
            self._mixer = self._open(plan)
        run = self._next(self._mixer)
        if run is None and not self._mixer.over:
            for stream in self._streams:
                stream.hurry()
            got = self._inbox.take(seconds, self._mixer.awaited)
            if got is not None:
                self._put(self._mixer, *got)
            run = self._next(self._mixer)
        return run

    def _next(self, mixer: Mixer) -> Run | None:
        """A run of what has arrived, without waiting; None when nothing may come now."""
        arrived, ended = self._inbox.take_all()
        for source, delivery in arrived:
            self._put(mixer, source, delivery)
        self._finish()
        for source in ended:
            self._end(mixer, source)
        # Who holds on to so much gets copies, one element at a time, so that what is kept keeps
        # nothing else alive and the workers have their memory back.
        crowded = any(stream.crowded for stream in self._streams)
        run = mixer.next(single=crowded)
        if run is not None and crowded and not run.small:
            run = copied(run)
        for source, delivery in run.done if run is not None else ():
            self._streams[source].took(delivery)
            usage = self._usages[self._servers[source]]
            usage.elements += delivery.n * self._rows(delivery)
            usage.nbytes += delivery.chunk.nbytes
        progress = self._source.progress
        if run is not None and self._begun is not None and progress is not None:
            workers = tuple(self._indices[source] for source in run.sources)
            progress.hand(self._begun, self._lane, workers, run.n // len(workers))
        return run

    def _rows(self, delivery: Delivery) -> int:
        """The generator's elements in each of the stream's, which may be batches."""
        columns = delivery.chunk.columns
        return columns[0].shape[1] if self._source.options.batch is not None and columns else 1

    def _count(self, asked: float) -> None:
        """It waited from then on, and before that the trainer used what it was given last."""
        now = time.monotonic()
        if not clock.running:
            for usage in self._usages:
                usage.using += asked - self._gave if self._got_any else 0.0
                usage.waiting += now - asked
        self._gave = now

    def _put(self, mixer: Mixer, source: int, delivery: Delivery) -> None:
        self._arrived[source] = delivery.first + delivery.chunk.n
        mixer.put(source, delivery)

    def _end(self, mixer: Mixer, source: int) -> None:
        mixer.end(source)
        progress = self._source.progress
        if self._begun is not None and progress is not None:
            progress.end(self._begun, self._indices[source], self._arrived[source])

    def _finish(self) -> None:
        progress = self._source.progress
        if self._plan is None or self._plan.items is None:
            return
        for source, item, count in self._inbox.take_finished():
            if self._begun is not None and progress is not None:
                member = self._plan.members[self._which][source]
                space = space_of(self._plan, member)
                progress.finish(self._begun, member.index, space, item, count)

    def _open(self, plan: Plan) -> Mixer:
        if plan.spec != self._expect:
            raise PlanError(f"the server now serves {plan.spec}, before it was {self._expect}")
        members = plan.members[self._which]
        self._inbox = Inbox(len(members))
        self._indices = tuple(member.index for member in members)
        self._servers = tuple(member.server for member in members)
        self._usages = tuple(Usage(steps=self._steps) for _ in self._reach.connections)
        for connection, usage in zip(self._reach.connections, self._usages, strict=True):
            connection.follow(usage)
        if self._lane == 0:  # one of those that read from the same servers
            clock.tell(self._usages)
        self._plan = plan
        handout = self._source.handout(plan, self._number, self._lanes, self._begun)
        # Who is dealt his items begins anew: those that are finished are not dealt again.
        begun = self._begun if handout is None else None
        starts = begun.taken if begun is not None else (0,) * plan.count
        self._arrived = [starts[index] for index in self._indices]
        for source, member in enumerate(members):
            self._streams.append(self._open_stream(plan, member, source, handout))
        ordered = self._source.options.deterministic
        # Whoever takes the workers in turn has them all, so that a worker's index is its place.
        turn = self._begun.turn if self._begun is not None and ordered else 0
        return Mixer(len(members), ordered=ordered, group=self._group, turn=turn)

    def _open_stream(
        self, plan: Plan, member: Member, source: int, handout: Handout | None
    ) -> StreamHandle:  # fmt: skip
        options = self._source.options
        opening = Open(
            0, member.index, plan.count, self._epoch, plan.seed, start=self._arrived[source],
            batch=options.batch or 0, drop_remainder=options.drop_remainder,
        )  # fmt: skip
        deals = None
        if handout is not None:
            deals = handout.deals(member)
            opening = replace(
                opening, work=0, group=handout.group, upstream=handout.upstream(member)
            )  # fmt: skip
        elif any(plan.upstream):
            opening = replace(opening, group=self._pass_group)
        connection = self._reach.connections[member.server]
        return connection.open(
            member.worker, opening, plan.spec, plan.window, self._inbox, source, deals
        )

    def _report(self) -> None:
        now = time.monotonic()
        waited = now - self._waiting_since
        if self._mixer is None or self._reach.in_this_process:
            return  # the reach reports while it connects; nothing is reported to a debugger
        limit = self._source.options.first_element_timeout
        if not self._got_any and waited >= limit:
            raise Stalled(seconds=waited, workers=self._reach.describe())
        if now - self._reported >= REPORT_EVERY:
            self._reported = now
            which = "an" if self._got_any else "the first"
            say(f"waiting {waited:.0f} s for {which} element ({self._reach.describe()})")
