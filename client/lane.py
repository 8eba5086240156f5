"""A lane: pulls for a group of workers during one pass, whichever is ready (design 3).

Owns its streams and its share of the connections, and gives both back in `close`. Never waits
longer than it is asked to: a TensorFlow thread that waits can neither be cancelled nor lent.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from genserver.protocol.chunk import Column
from genserver.protocol.errors import Closed, GenserverError, Stalled
from genserver.protocol.messages import Open
from genserver.protocol.spec import ElementSpec
from genserver.protocol.stream import Delivery
from genserver.protocol.transport.connection import StreamHandle
from genserver.protocol.transport.inbox import Inbox

from .plan import Member, Plan, PlanError
from .repeats import Repeats
from .source import REPORT_EVERY, Reach, Source, say

__all__ = ["Lane", "Run"]


@dataclass(frozen=True, slots=True)
class Run:
    """``n`` elements, stacked array by array in flattening order."""

    n: int
    columns: Sequence[Column]


@dataclass(slots=True)
class _Partial:
    """A delivery of which single elements are taken (deterministic order)."""

    delivery: Delivery
    at: int


class Lane:
    """One of ``lanes`` lanes of a pass. One thread at a time; `close` from any thread."""

    def __init__(
        self, source: Source, *, epoch: int, expect: ElementSpec, lane: int = 0, lanes: int = 1
    ) -> None:
        """``expect`` is the spec that the dataset was made for."""
        self._source = source
        self._expect = expect
        self._epoch = epoch
        self._which = slice(lane, None, lanes)
        self._reach = Reach(source)
        self._streams: list[StreamHandle] = []
        self._inbox: Inbox | None = None
        self._partial: dict[int, _Partial] = {}
        self._turn = 0
        self._live: list[int] = []
        self._error: GenserverError | None = None
        self._repeats = Repeats()
        self.closed = False
        self._waiting_since = time.monotonic()
        self._reported = self._waiting_since
        self._got_any = False

    @property
    def ended(self) -> bool:
        """Whether every worker's end has come and everything was taken."""
        return self._inbox is not None and not self._live

    def take(self, seconds: float) -> Run | None:
        """The next elements, or None: after ``seconds`` without any, or at the end (`ended`).

        A run is of one worker; in deterministic order it is one element. Raises what failed, and
        the same again at every later call; often repeated, it comes after ``seconds``.
        """
        if self._error is not None:
            self._repeats.again(self._error, seconds)
            raise self._error.with_traceback(None)  # or each call would add its frames
        if self.closed and not self.ended:
            raise Closed
        try:
            run = self._take(seconds)
            if run is None and not self.ended:
                self._report()
        except GenserverError as error:
            self._error = error
            # A notebook's last traceback keeps an interrupted iterator: its workers are free now.
            self.close()
            raise
        if run is not None:
            self._got_any = True
            self._waiting_since = self._reported = time.monotonic()
        return run

    def close(self) -> None:
        """Free the streams at once; idempotent. Blocks on nothing but a moment's lock."""
        if self.closed:
            return
        self.closed = True
        for stream in self._streams:
            stream.close()
        self._reach.release()

    def _take(self, seconds: float) -> Run | None:
        if self._inbox is None:
            plan = self._reach.plan(seconds)
            if plan is None:
                return None
            self._open(plan)
        if self._source.options.deterministic:
            return self._in_turn(seconds)
        return self._whoever(seconds)

    def _open(self, plan: Plan) -> None:
        if plan.spec != self._expect:
            raise PlanError(f"the server now serves {plan.spec}, before it was {self._expect}")
        members = plan.members[self._which]
        self._inbox = Inbox(len(members))
        self._live = list(range(len(members)))
        for source, member in enumerate(members):
            self._streams.append(self._open_stream(plan, member, source, self._inbox))

    def _open_stream(self, plan: Plan, member: Member, source: int, inbox: Inbox) -> StreamHandle:
        opening = Open(0, member.index, plan.count, self._epoch, plan.seed)
        connection = self._reach.connections[member.server]
        return connection.open(member.worker, opening, plan.spec, plan.window, inbox, source)

    def _whoever(self, seconds: float) -> Run | None:
        assert self._inbox is not None  # _take opened it
        got = self._inbox.take(seconds)
        if got is None:
            if self._inbox.ended:
                self._live = []
            return None
        source, delivery = got
        chunk = delivery.chunk
        run = Run(delivery.n, chunk.rows(delivery.skip, chunk.n))
        self._streams[source].took(delivery)
        return run

    def _in_turn(self, seconds: float) -> Run | None:
        """One element of the worker whose turn it is; a worker that has ended is passed over."""
        assert self._inbox is not None  # _take opened it
        while self._live:
            self._turn %= len(self._live)
            source = self._live[self._turn]
            partial = self._partial.pop(source, None)
            if partial is None:
                got = self._inbox.take(seconds, source)
                if got is None:
                    if not self._inbox.over(source):
                        return None
                    self._live.remove(source)
                    continue
                partial = _Partial(got[1], got[1].skip)
            self._turn += 1
            return self._one_of(source, partial)
        return None

    def _one_of(self, source: int, partial: _Partial) -> Run:
        chunk, at = partial.delivery.chunk, partial.at
        if at + 1 < chunk.n:
            self._partial[source] = _Partial(partial.delivery, at + 1)
        else:
            self._streams[source].took(partial.delivery)
        return Run(1, chunk.rows(at, at + 1))

    def _report(self) -> None:
        now = time.monotonic()
        waited = now - self._waiting_since
        if self._inbox is None or self._reach.in_this_process:
            return  # the reach reports while it connects; nothing is reported to a debugger
        limit = self._source.options.first_element_timeout
        if not self._got_any and waited >= limit:
            raise Stalled(seconds=waited, workers=self._reach.describe())
        if now - self._reported >= REPORT_EVERY:
            self._reported = now
            which = "an" if self._got_any else "the first"
            say(f"waiting {waited:.0f} s for {which} element ({self._reach.describe()})")
