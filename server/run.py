"""`Run`: one live generator, and the tight loop that its elements come through.

Owns the generator and the random states that belong to it. Belongs to the runner's thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from genserver.protocol.columns import Stack
from genserver.protocol.messages import Open, Work
from genserver.protocol.transport.exchange import Exchange, Job

from .items import NOTHING, Division
from .kinds import Make
from .progress_page import ROW, ProgressPage
from .rerun import Refusal, Rerun
from .shared import Shared
from .worker import Worker, random_states

__all__ = ["Exhausted", "Rules", "Run"]

logger = logging.getLogger("genserver")

#: From so many nanoseconds an element on, the progress page is told of each; below, of each turn.
#: Telling takes 17 ns, which is 1 % of an element of 1.7 us.
EACH_TOLD = 20_000
#: From so many on each is timed, which takes 0.8 us; below, the mean of each turn counts.
EACH_TIMED = 200_000


class Exhausted(Exception):
    """The generator has no more elements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How a worker's generators are run, whatever the stream."""

    #: Whether the workers share one pass; if not, each runs the generator whole.
    divided: bool = True
    #: What becomes of a stream whose worker died: one of `config.RECOVERIES`.
    recovery: str = "auto"
    #: Seconds that running elements again may take.
    max_rerun: float | None = None
    #: Elements after which the worker is replaced.
    max_items: int | None = None
    #: Until this monotonic time (ns) the progress page is told of each element, however small: the
    #: one that killed the life before shall be known, should it kill again.
    exact_until: int = 0


class Run:
    """One live generator, with the random states that belong to it."""

    def __init__(
        self, make: Make, opening: Open, rules: Rules, page: ProgressPage,
        *, shared: Shared | None = None,
    ) -> None:  # fmt: skip
        """``shared`` is the generator that it has with others, where it is one of several."""
        self.shared = shared
        index, count = (opening.index, opening.count) if rules.divided else (0, 1)
        # A stream of batches counts batches; the generator knows its own elements only.
        start = opening.start * max(1, opening.batch)
        goes_on = rules.recovery == "stream"
        self.worker = Worker(
            index, count, opening.epoch, opening.seed, start, stream=opening.index, afresh=goes_on
        )
        self.worker._group, self.worker._upstream = opening.group, opening.upstream
        self.worker.seed_globals()
        self.states = random_states()
        self._opening = opening
        self._rules = rules
        self._page = page
        self._place = -1
        #: The element that the generator rests before.
        self._reached = start
        self._job: Job | None = None
        self._generator: Iterator[Any] = make(self.worker)
        self._kept: list[Any] = []
        self._skip = 0 if goes_on else start
        self._rerun: Rerun | None = None
        #: Nanoseconds in `_next`, which is all that a rerun takes.
        self._spent = 0
        self._mean = page.mean
        #: Whether an element takes so long that telling the page of it costs nothing.
        self._slow = True
        #: And whether timing each costs nothing, either.
        self._timed = True
        #: Whether `element` has given the first element: from then on `fill` may be used.
        self.begun = False
        #: Elements that the generator gave, whoever got them.
        self.gave = 0
        #: While `fill` runs: the number of the element in row 0 of the stack, and the stack.
        self._filling: tuple[int, Stack] | None = None

    def attach(self, job: Job) -> None:
        """The stream that it runs for: the progress page names it, and it may deal the items."""
        self._job = job
        self.worker._gate, self.worker._group = job.gate, job.opening.group
        self.worker._upstream = job.opening.upstream
        self.worker._acked = lambda: job.acked
        if job.dealt is not None:
            job.dealt.position = self._position
            if self.worker._share is not None:  # it was begun before: see `begun_for`
                job.dealt.next()
            self.worker._share = job.dealt
        self._place = self._page.open_stream(*job.key, self._reached)

    @property
    def unfinished(self) -> bool:
        """Whether a next life would begin anew what this one has half done: a batch, or a rerun."""
        job = self._job
        if job is None or not job.runnable:
            return False
        return job.builder.midway > 0 or (self.gave > 0 and job.made == job.opening.start)

    def begun_for(self, job: Job) -> bool:
        """Whether what it has begun, before there was a stream, is what the stream begins with."""
        share, dealt = self.worker._share, job.dealt
        if dealt is None or not isinstance(share, Division):
            return dealt is None
        head = dealt.head()
        begun = Work(0, 0, share.item)  # its number is what `done` will say
        return head is not None and share.begun == 1 and replace(head, stream=0) == begun

    def _position(self) -> int:
        """The number of the element that the generator makes next."""
        if self._filling is None:
            return self._reached
        first, stack = self._filling
        return first + stack.row

    def keep(self) -> Any:
        """The first element, which `element` will give again; `NOTHING` where that takes time."""
        element = self._next(0)
        if element is not NOTHING:
            self._kept.append(element)
        return element

    def give_to(self, shared: Shared) -> None:
        """Have others go on with what `keep` began; this is over."""
        shared.take_over(self._generator, self.worker, self.states, self._kept.pop())
        self._generator = iter(())

    def element(self, exchange: Exchange, number: int) -> Any:
        """Element ``number``, which is the next one; `Exhausted` after the last.

        `NOTHING` when it must be reached or waited for, and others shall have a turn. `Refusal`
        when it cannot be reached.
        """
        if self._kept:
            element = self._kept.pop()
        elif self._skip:
            element = self._reach(exchange, number)
        else:
            element = self._next(number)
        self.begun = element is not NOTHING
        return element

    def fill(self, exchange: Exchange, job: Job, stack: Stack, stop: int) -> Any:
        """Put elements into ``stack`` up to row ``stop``, or until somebody else wants a turn.

        Returns the element that did not go in the short way, or `NOTHING` where there is none or
        it must be waited for; `Exhausted` at the end.
        """
        # What is done here is done for every element: a tenth of a microsecond counts.
        put, lent, step = stack.put, job.builder.lent, stack.step
        assert put is not None  # the stack has begun
        began = row = stack.row
        mark = stack.whole + step
        odd = 0
        number, opening, page = job.element, self._opening, self._page
        page.begin(self._place, opening.index, opening.epoch, number - began, began)
        page.filling = stack
        self._filling = (number - began, stack)
        words, clock = page.words, time.monotonic_ns()
        timed, told, turn = self._timed, 0, clock
        exact = self._slow or self._rules.recovery == "stream" or clock < self._rules.exact_until
        try:
            for element in self._generator:
                if lent or not put(element, row):
                    if element is NOTHING:
                        return NOTHING
                    odd = 1
                    return element
                del element  # the generator may want the memory for the next one
                row += 1
                stack.row = row
                if exact:
                    words[ROW] = row
                    if timed:
                        last, clock = clock, time.monotonic_ns()
                        page.gave(1, clock - last)
                        told += 1
                if row == mark:
                    # The row is in its place before it can be seen. Then the question, in this
                    # order: who takes what is there first asks to be told of the rest.
                    stack.whole = row
                    mark += step
                    if job.quiet:
                        exchange.announce(job)
                    if exchange.shared:
                        return NOTHING
                if row >= stop or exchange.attention:
                    return NOTHING
            raise Exhausted
        finally:
            made, now = row - began + odd, time.monotonic_ns()
            self.gave += made
            self._slow = now - turn >= made * EACH_TOLD
            self._timed = now - turn >= made * EACH_TIMED
            self._reached = number + made
            page.filling = self._filling = None
            page.rest(self._place, made - told, now - clock, self._reached)
            exchange.filled(job, stack, began)

    def close(self) -> None:
        """Run the generator's finally blocks. They may hang like an element: the page knows."""
        opening, page = self._opening, self._page
        close = getattr(self._generator, "close", None)
        page.begin(self._place, opening.index, opening.epoch, self._reached, 0)
        try:
            if close is not None:
                close()
        finally:
            page.rest(self._place, 0, 0, self._reached)
            page.close_stream(self._place)

    def _next(self, number: int) -> Any:
        opening, page, made = self._opening, self._page, 0
        page.begin(self._place, opening.index, opening.epoch, number, 0)
        self._reached = number
        clock = time.monotonic_ns()
        try:
            element = next(self._generator)
            made = int(element is not NOTHING)
        except StopIteration:
            raise Exhausted from None
        finally:
            spent = time.monotonic_ns() - clock
            self._spent += spent
            self._reached = number + made
            page.rest(self._place, made, spent, self._reached)
        self.gave += made
        return element

    def _reach(self, exchange: Exchange, number: int) -> Any:
        """The first element that is wanted, by itself or by running those before it."""
        if self._rerun is None:
            try:
                element = self._next(number)
            except Exhausted:
                if self.worker.seeks:
                    raise  # nothing was left for it
                raise self._begin_rerun().ended(0) from None
            if element is NOTHING:
                return NOTHING
            if self.worker.seeks:
                self._skip = 0
                return element
            self._rerun = self._begin_rerun()
            self._page.meter.replayed(1)
            self._note_progress(self._rerun)
        while self.gave < self._skip:
            try:
                self._next(self.gave)
                self._page.meter.replayed(1)
            except Exhausted:
                raise self._rerun.ended(self.gave) from None
            self._note_progress(self._rerun)
            if exchange.attention or exchange.shared:
                return NOTHING
        logger.warning("%s", self._rerun.finished(self._spent / 1e9))
        self._skip = 0
        return self._next(number)

    def _begin_rerun(self) -> Rerun:
        if self._rules.recovery == "seek":
            raise Refusal(
                "CannotSeek",
                f"the generator has to go on at element {self._skip} and did not read "
                "worker.start before its first yield, which --recovery seek promises",
            )
        rerun = Rerun(self._skip, mean=self._mean, limit=self._rules.max_rerun)
        logger.warning("%s", rerun.announcement)
        return rerun

    def _note_progress(self, rerun: Rerun) -> None:
        line = rerun.passed(self.gave, self._spent / 1e9)
        if line:
            logger.warning("%s", line)
