"""A few elements of a server, as a trainer gets them, within a time and without many ahead.

Owns one pass: its streams and connections, which are given back when the block ends. Elements are
made for it; none is taken from a trainer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from genserver.protocol.errors import Unreachable
from genserver.protocol.rows import value_at
from genserver.protocol.spec import ElementSpec
from genserver.protocol.transport.sockets import check_reachable

from .lane import Lane
from .mixing import Run
from .options import PullOptions
from .plan import Plan
from .source import Reach, Source

__all__ = ["Glance", "lanes_for"]

#: Seconds of one wait: between two of them Ctrl-C is heard.
TURN_SECONDS = 0.25
#: Bytes of elements that all workers together may make ahead, but for one element each.
AHEAD = 2**28
#: Bytes of an element whose size is free, until it is known.
GUESS = 2**20


def lanes_for(plan: Plan, elements: int) -> int:
    """Into how many lanes to divide the workers, so that the first lane's are enough.

    Of hundreds of workers only as many are disturbed as there are elements to look at, and of large
    elements only as many as the memory is good for.
    """
    if any(plan.upstream):
        return 1  # all workers of a second stage share what the first one makes
    enough = max(1, min(elements, AHEAD // max(1, plan.nbytes or GUESS)))
    return -(-plan.count // min(plan.count, enough))


class Glance:
    """The first ``elements`` of a pass. Use as a context manager. One thread."""

    def __init__(self, endpoint: str, *, elements: int, seconds: float, options: PullOptions):
        """Waits until the server is ready. Raises what `Client` raises."""
        self._until = time.monotonic() + seconds
        self._wanted = elements
        self._source = source = Source(endpoint, options)
        for at in source.members.fixed or ():
            reason = check_reachable(at)
            if reason:  # whoever looks wants to know at once
                raise Unreachable(str(at), 0.0, reason)
        plan, self.generator = _planned(source)
        #: Structure, shapes and dtypes.
        self.spec: ElementSpec = plan.spec
        lanes = lanes_for(plan, elements)
        streams = -(-plan.count // lanes)
        ahead = -(-elements // streams) * max(1, plan.nbytes or GUESS)
        # Half of a worker's part is what it may make ahead.
        source.options = replace(options, memory_budget=2 * plan.count * ahead)
        number, begun = source.begin()
        self._lane = Lane(source, number=number, expect=plan.spec, lanes=lanes, begun=begun)

    def __enter__(self) -> Glance:
        return self

    def __exit__(self, *exception: object) -> None:
        self._lane.close()

    @property
    def ended(self) -> bool:
        """Whether the pass has no more."""
        return self._lane.ended

    def elements(self) -> Iterator[list[Any]]:
        """The arrays of each element, in flattening order; views of received memory.

        Ends with the elements, the pass or the time, whichever is first.
        """
        leaves = [leaf for _, leaf in self.spec.leaves()]
        got = 0
        while got < self._wanted and not self._lane.ended:
            left = self._until - time.monotonic()
            if left <= 0:
                return
            run = self._lane.take(min(TURN_SECONDS, left))
            for part, row in _rows(run):
                if got < self._wanted:
                    got += 1
                    yield [value_at(c, row, leaf) for c, leaf in zip(part, leaves, strict=True)]


def _rows(run: Run | None) -> Iterator[tuple[Any, int]]:
    """(columns, row) of each element, in their order."""
    if run is not None:
        for row in range(run.n // len(run.parts)):
            for part in run.parts:
                yield part, row


def _planned(source: Source) -> tuple[Plan, str]:
    """The plan, and the generator's name."""
    reach = Reach(source)
    try:
        plan = None
        while plan is None:
            plan = reach.plan(TURN_SECONDS)
        status = reach.connections[0].status
        return plan, "" if status is None else status.generator
    finally:
        reach.release()
