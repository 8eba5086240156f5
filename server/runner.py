"""Runs the user's generators: the main thread of a worker, one stream at a time.

Owns the generators and the process's global random states, which it keeps apart for the streams.
Touches no socket; the exchange hands it streams that have credit.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from genserver.protocol.columns import Shape
from genserver.protocol.errors import ElementError, GeneratorError, GenserverError
from genserver.protocol.messages import Open
from genserver.protocol.normalize import Normalizer, infer_spec, retyped
from genserver.protocol.spec import ElementSpec
from genserver.protocol.transport.exchange import Exchange, Failure, Job
from genserver.protocol.worker_events import Key

from .failures import in_a_line, kind_of, refusal_text, text_of, user_traceback
from .items import NOTHING
from .progress_page import ProgressPage
from .rerun import Refusal
from .run import Exhausted, Rules, Run
from .shared import Shared, shared_elements
from .source import Source
from .worker import random_states, set_random_states

if TYPE_CHECKING:
    from .replay import Replay

__all__ = ["Runner", "StopRequested"]

logger = logging.getLogger("genserver")

#: Bounds a wake-up that was missed, in seconds.
IDLE_SECONDS = 0.5


class Runner:
    """Advances streams in turn. `run` belongs to one thread, in a worker the main one.

    A ``guest`` in somebody else's process puts the global random states back after each turn.
    """

    def __init__(
        self, source: Source, exchange: Exchange, rules: Rules, page: ProgressPage,
        *, guest: bool = False,
    ) -> None:  # fmt: skip
        """``page`` is told what is made, and tells what an earlier life of this worker made."""
        self._source = source
        self._guest = guest
        self._exchange = exchange
        self._rules = rules
        self._page = page
        self._inherited = page.inherit()
        #: Elements until the worker is replaced, None when it is not.
        self._left = rules.max_items
        self._normalizer: Normalizer | None = None
        self._runs: dict[tuple[int, int], Run] = {}
        self._current: Run | None = None
        self._spare: tuple[Open, Run] | None = None
        self._most = 0
        self._shared: list[Shared] = []
        #: A guest's host's random states, while a generator has its turn.
        self._theirs: Any = None
        exchange.ahead = source.ahead

    def run(self) -> None:
        """Serve until the exchange stops or the worker is `worn`, then close every generator."""
        try:
            while not (self._exchange.stopping or self.worn):
                self._turn()
        finally:
            for run in [*self._runs.values(), self._spare[1] if self._spare else None]:
                self._close(run)
            owners: list[Shared | Replay] = [*self._shared, *self._source.kept]
            for owner in owners:
                self._end(owner)

    @property
    def worn(self) -> bool:
        """Whether it has made as many elements as a worker may, and none of them would be lost.

        Or a worker that may make fewer elements than a batch has would never send one.
        """
        if self._left is None or self._left > 0:
            return False
        return not any(run.unfinished for run in self._runs.values())

    @property
    def name(self) -> str:
        """What it runs, where that is not the server's target."""
        return self._source.name

    @property
    def seeks(self) -> bool:
        """Whether the searched generator has read ``worker.start``."""
        return self._spare is not None and self._spare[1].worker.seeks

    def connect(self, upstream: str) -> None:
        """Where the stage before this one listens; "" where there is none."""
        if self._source.feed is not None:
            self._source.feed.connect(upstream)

    def use_spec(self, spec: ElementSpec) -> None:
        """From now on every element must fit ``spec``."""
        self._normalizer = Normalizer(spec, casts=self._source.casts)

    def search(self, opening: Open) -> ElementSpec | Failure | None:
        """Make the first element for ``opening`` and keep it: its spec, or None if there is none.

        If the first stream that a trainer opens asks for the same, it goes on with this generator,
        so that nothing runs twice.
        """
        with self._visit():
            return self._search(opening)

    def _search(self, opening: Open) -> ElementSpec | Failure | None:
        run: Run | None = None
        if self._spare is not None:
            self._close(self._spare[1])
            self._spare = None
        try:
            run = self._start(opening)
            run.worker._gate = gate = self._exchange.gate()
            while (element := run.keep()) is NOTHING and not self._exchange.stopping:
                gate.wait(IDLE_SECONDS)
            spec = infer_spec(element)
            if self._source.dtypes is not None:
                spec = retyped(spec, self._source.dtypes)
        except Exhausted:
            return None
        except ElementError as error:
            return Failure(0, kind_of(error), refusal_text(error), "")
        except BaseException as error:  # noqa: BLE001  # the user's code may raise anything
            return self._failure(error, 0)
        self._spare = (opening, run)
        return spec

    def _turn(self) -> None:
        work = self._exchange.next(IDLE_SECONDS)
        self._page.meter.blocked(self._exchange.blocked_for)
        with self._visit():
            self._do(work)

    def _do(self, work: Job | Callable[[], None] | None) -> None:
        if isinstance(work, Job) and work.dropped:
            self._close(self._runs.pop(work.key, None))
            self._sweep()
        elif isinstance(work, Job):
            self._advance(work)
        elif work is not None:
            work()

    def _advance(self, job: Job) -> None:
        """One turn of a stream: until its chunk is full, the credit is used, or others wait."""
        try:
            run = self._run_for(job)
            self._switch_to(run)
        except BaseException as error:  # noqa: BLE001  # the user's code may raise anything
            self._finish(job, self._failure(error, job.element))
            return
        run.worker._lend = self._lender(job)
        try:
            while self._step(job, run):
                pass
        finally:
            run.worker._lend = None

    def _step(self, job: Job, run: Run) -> bool:
        """The elements that go the short way, and the first one that does not; False at the end of
        the turn."""
        try:
            value = self._pull(job, run)
        except Exhausted:
            self._finish(job, self._used_up(run, job.opening))
            return False
        except Refusal as refusal:
            self._finish(job, Failure(job.element, refusal.kind, str(refusal), ""))
            return False
        except BaseException as error:  # noqa: BLE001  # the user's code may raise anything
            place = job.element if run.shared is None else run.shared.next
            self._finish(job, self._failure(error, place))
            return False
        if value is NOTHING:
            return False
        assert self._normalizer is not None  # streams are opened after the spec is known
        try:
            over = self._exchange.add(job, self._normalizer.leaves(value))
        except ElementError as error:
            self._finish(job, Failure(job.element, kind_of(error), refusal_text(error), ""))
            return False
        return not (over or self._guest or self.worn)

    def _pull(self, job: Job, run: Run) -> Any:
        stack = job.builder.stack
        if not run.begun or stack is None or stack.put is None:
            element = run.element(self._exchange, job.element)
            self._wear(element is not NOTHING)
            return element
        # A guest puts the process's random states back after each element.
        stop = stack.row + 1 if self._guest else job.stop(stack)
        if self._left is not None:
            stop = min(stop, _whole(stack.row + max(1, self._left), stack.step))
        gave = run.gave
        try:
            return run.fill(self._exchange, job, stack, stop)
        finally:
            self._wear(run.gave - gave)

    def _wear(self, elements: int) -> None:
        """So many new elements were made; those that are run again do not count."""
        if self._left is not None:
            self._left -= elements

    def _lender(self, job: Job) -> Callable[[Shape, np.dtype[Any]], np.ndarray[Any, Any] | None]:
        """What `Worker.empty` asks for memory during a turn; other threads get none."""
        thread = threading.get_ident()

        def lend(shape: Shape, dtype: np.dtype[Any]) -> np.ndarray[Any, Any] | None:
            ours = threading.get_ident() == thread
            return self._exchange.lend(job, shape, dtype) if ours else None

        return lend

    def _run_for(self, job: Job) -> Run:
        run = self._runs.get(job.key)
        if run is None:
            run = self._runs[job.key] = self._take_spare(job) or self._start(job.opening)
            run.attach(job)
            # From here on the page has this life's number, so no next life counts them again.
            self._count_lost(job.key, job.opening)
        return run

    def _count_lost(self, key: Key, opening: Open) -> None:
        """Where a stream goes on instead of repeating: what its trainer did not get is lost."""
        made = self._inherited.pop(key, 0)
        lost = made - opening.start * max(1, opening.batch)
        if self._rules.recovery == "stream" and lost > 0:
            self._page.lose(lost)
            logger.warning(
                "%d element%s made and never sent: lost with the worker's last process, as "
                "--recovery stream has it [epoch %d]",
                lost, " was" if lost == 1 else "s were", opening.epoch,
            )  # fmt: skip

    @contextlib.contextmanager
    def _visit(self) -> Iterator[None]:
        if not self._guest:
            yield
            return
        self._theirs = random_states()
        try:
            yield
        finally:
            self._give_back()

    def _give_back(self) -> None:
        """A guest's host has his random states again, before he is told that a stream is over."""
        theirs, self._theirs = self._theirs, None
        if theirs is not None:
            self._park()
            set_random_states(theirs)

    def _take_spare(self, job: Job) -> Run | None:
        """The searched generator, if the stream asks for just that; else it is closed."""
        if self._spare is None:
            return None
        opening = job.opening
        if opening.shared:
            return None
        (searched, run), self._spare = self._spare, None
        same = (opening.index, opening.count, opening.epoch, opening.seed, opening.start) == (
            searched.index, searched.count, searched.epoch, searched.seed, searched.start,
        )  # fmt: skip
        if same and run.begun_for(job):
            return run
        self._close(run)
        return None

    def _start(self, opening: Open) -> Run:
        self._park()
        shared = self._shared_for(opening) if opening.shared else None
        make = self._source.make
        if shared is not None:
            make = functools.partial(shared_elements, shared)
        self._current = Run(make, opening, self._rules, self._page, shared=shared)
        return self._current

    def _shared_for(self, opening: Open) -> Shared:
        """The generator that a stream has with others of its group."""
        found = next((shared for shared in self._shared if shared.fits(opening)), None)
        if found is None:
            found = Shared(self._source.make, opening, divided=self._rules.divided)
            self._shared.append(found)
            if self._spare is not None and found.fits(self._spare[0]):
                self._spare[1].give_to(found)
                self._spare = None
            elif self._spare is not None and opening.group:
                self._close(self._spare[1])  # another seed or number of workers is wanted
                self._spare = None
        found.group = found.group or opening.group
        found.members += 1
        return found

    def _sweep(self) -> None:
        """Close the generators that no stream shares any more, nor one that has yet to begin."""
        if not self._shared:
            return
        openings = [opening for opening in self._exchange.openings if opening.shared]
        for shared in [one for one in self._shared if one.members == 0]:
            if not any(map(shared.fits, openings)):
                self._shared.remove(shared)
                self._end(shared)

    def _switch_to(self, run: Run) -> None:
        """Give a generator the global random states that it left behind."""
        if self._current is not run:
            self._park()
            set_random_states(run.states)
            self._current = run

    def _park(self) -> None:
        if self._current is not None:
            self._current.states = random_states()
            self._current = None

    def _finish(self, job: Job, failure: Failure | None = None) -> None:
        self._close(self._runs.pop(job.key, None))
        if failure is not None:
            what = in_a_line(failure.kind, failure.text)
            self._page.meter.failed(what)
            logger.error("%s [epoch %d, element %d]", what, job.opening.epoch, failure.element)
        self._give_back()
        self._exchange.finish(job, failure)
        self._sweep()

    def _close(self, run: Run | None) -> None:
        if run is None:
            return
        self._most = max(self._most, run.gave)
        if self._current is run:
            self._current = None
        self._end(run)
        if run.shared is not None:
            run.shared.members -= 1

    def _end(self, generator: Run | Shared | Replay) -> None:
        try:
            generator.close()
        except Exception:
            logger.exception("the generator raised while it was being closed")

    def _failure(self, error: BaseException, element: int) -> Failure:
        """What the trainer is told; a signal's request to stop goes on upwards."""
        if isinstance(error, StopRequested):
            raise error
        if isinstance(error, GeneratorError):  # of the stage before this one
            where = f"worker {error.worker}, epoch {error.epoch}, element {error.element}"
            text = f"{error.text} [first stage: {where}]"
            return Failure(element, error.kind, text, error.traceback)
        if isinstance(error, GenserverError) and self._source.feed is not None:
            return Failure(element, kind_of(error), f"{text_of(error)} [first stage]", "")
        return Failure(element, kind_of(error), text_of(error), user_traceback(error))

    def _used_up(self, run: Run, opening: Open) -> Failure | None:
        """An empty pass after one with elements is a mistake, unless the worker's part explains it.

        The usual one is ``rows = iter(...)`` beside the function: later epochs would be empty, and
        a training loop would run through them without a word.
        """
        earlier = max([self._most, *(other.gave for other in self._runs.values())])
        if run.gave or opening.start or not earlier or opening.work is not None:
            return None  # who is dealt his items may have come too late for any
        text = (
            f"gave {earlier} element{'s' if earlier > 1 else ''} in an earlier pass and none in "
            "this one: it reads from an iterator that is used up; make a new one inside the "
            "function"
        )
        if not self._source.divisible:
            return Failure(0, "UsedUp", f"the function {text}", "")
        logger.warning(
            "worker %d in epoch %d %s, unless that is meant", opening.index, opening.epoch, text
        )
        return None


def _whole(rows: int, step: int) -> int:
    """``rows``, and those that the last batch lacks."""
    return -(-rows // step) * step


class StopRequested(BaseException):
    """Raised by the worker's SIGTERM handler to leave the user's code at once."""
