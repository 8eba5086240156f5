"""`Run`: one live generator, and the tight loop that its elements come through.

Owns the generator and the random states that belong to it. Belongs to the runner's thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from typing import Any

from genserver.protocol.columns import Stack
from genserver.protocol.messages import Open
from genserver.protocol.transport.exchange import Exchange, Job

from .source import Source
from .worker import Worker, random_states

__all__ = ["NOTHING", "Exhausted", "Run"]

logger = logging.getLogger("genserver")

#: What `Run.fill` returns when every element that it took went the short way.
NOTHING = object()


class Exhausted(Exception):
    """The generator has no more elements."""


class Run:
    """One live generator, with the random states that belong to it."""

    def __init__(self, source: Source, opening: Open, *, divided: bool) -> None:
        index, count = (opening.index, opening.count) if divided else (0, 1)
        # A stream of batches counts batches; the generator knows its own elements only.
        start = opening.start * max(1, opening.batch)
        self.worker = Worker(index, count, opening.epoch, opening.seed, start, stream=opening.index)
        self.worker.seed_globals()
        self.states = random_states()
        self._generator: Iterator[Any] = source.call(self.worker)
        self._kept: list[Any] = []
        self._skip = start
        #: Whether `element` has given the first element: from then on `fill` may be used.
        self.begun = False
        #: Elements that the generator gave, whoever got them.
        self.gave = 0

    def keep(self) -> Any:
        """The first element, which `element` will give again."""
        element = self._next()
        self._kept.append(element)
        return element

    def element(self) -> Any:
        """The next element; `Exhausted` after the last."""
        self.begun = True
        if self._kept:
            return self._kept.pop()
        element = self._next()
        if self._skip and not self.worker.seeks:
            element = self._drop_first(element)
        self._skip = 0
        return element

    def fill(self, exchange: Exchange, job: Job, stack: Stack, stop: int) -> Any:
        """Put elements into ``stack`` up to row ``stop``, or until somebody else wants a turn.

        Returns the element that did not go in the short way, or `NOTHING`; `Exhausted` at the end.
        """
        # What is done here is done for every element: a tenth of a microsecond counts.
        put, lent, step = stack.put, job.builder.lent, stack.step
        assert put is not None  # the stack has begun
        began = row = stack.row
        mark = stack.whole + step
        try:
            for element in self._generator:
                if lent or not put(element, row):
                    self.gave += 1
                    return element
                del element  # the generator may want the memory for the next one
                row += 1
                stack.row = row
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
            self.gave += row - began
            exchange.filled(job, stack, began)

    def close(self) -> None:
        """Run the generator's finally blocks."""
        close = getattr(self._generator, "close", None)
        if close is not None:
            close()

    def _next(self) -> Any:
        try:
            element = next(self._generator)
        except StopIteration:
            raise Exhausted from None
        self.gave += 1
        return element

    def _drop_first(self, element: Any) -> Any:
        began = time.monotonic()
        for _ in range(self._skip):
            element = self._next()
        logger.warning(
            "ran %d elements again to go on at element %d, in %.1f s; a generator that begins at "
            "worker.start saves that", self._skip, self._skip, time.monotonic() - began,
        )  # fmt: skip
        return element
