"""Where elements come from: the endpoints and options of one dataset or client.

A `Source` is plain data that TensorFlow may hold on to for ever; it owns no socket and no thread.
A `Reach` is what it takes to use the servers for a while: connections, given back by `release`.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from genserver.protocol.errors import EndpointError, ServerStopped
from genserver.protocol.keys import TrainerKeys
from genserver.protocol.messages import Status
from genserver.protocol.transport.connection import Connection, connect
from genserver.protocol.transport.key_files import find_trainer_keys
from genserver.protocol.transport.platform import memory_size
from genserver.protocol.transport.safety import check_safe

from .handout import Handout
from .members import Members
from .options import PullOptions
from .passes import Pass
from .plan import Plan, make_plan
from .progress import STARTING, Progress
from .state import State, Terms
from .targets import endpoints_of, parse_targets
from .waiting import Waiting, describe, in_this_process, say, settled

__all__ = ["Reach", "Source"]

#: The number of the pass before the first, which is planned and never read.
BEFORE_ALL = -1
#: A worker out of reach for so long (seconds) stays so, and is no sign of a server that leaves.
MISSED_FOR = 1.0


#: How elements come, as the log says it.
WAYS = {"memory": "through shared memory", "ipc": "through socket files", "tcp": "over tcp"}


class Source:
    """Any thread."""

    def __init__(self, endpoints: str | Sequence[str], options: PullOptions) -> None:
        targets = parse_targets(endpoints)
        #: For the endpoints that are no files.
        self.keys: TrainerKeys | None = None
        if any(endpoint.scheme == "tcp" for t in targets for endpoint in t.endpoints):
            self.keys = find_trainer_keys(options.keys)
        #: Who serves which pass.
        self.members = Members(targets, options, self.keys)
        for endpoint in endpoints_of((t for t in targets if not t.moving), ()):
            check_safe(
                endpoint, keys=self.keys is not None, insecure_network=options.insecure_network
            )
        self.names = tuple(target.text for target in targets)
        self.options = options
        resume = options.resume
        #: Counts what training uses, where somebody wants to know.
        self.progress = Progress.from_state(resume) if isinstance(resume, State) else resume
        if self.progress is not None:
            self.progress.claim()
        self._passes = itertools.count(0)
        #: By the number of a pass whose lanes have not all begun, and how many those are.
        self._handouts: dict[int, tuple[Handout | None, int]] = {}
        self._handing = threading.Lock()

    def begin(self, lanes: int = 1) -> tuple[int, Pass | None]:
        """A new pass: its number, from 0 on, and where somebody counts, what he counts by."""
        if self.progress is None:
            return next(self._passes), None
        number, begun = self.progress.begin(lanes)
        if any(begun.taken) or begun.again:
            again = f"; {begun.again} that were used come again" if begun.again else ""
            say(f"goes on in epoch {begun.epoch} behind {sum(begun.taken)} elements{again}")
        return number, begun

    def begun(self, number: int) -> Pass | None:
        """What the pass of that number is counted by, for a lane that begins."""
        return None if self.progress is None else self.progress.begun(number)

    def handout(self, plan: Plan, number: int, lanes: int, begun: Pass | None) -> Handout | None:
        """The items of a pass, for each of its lanes; None where none are dealt."""
        if plan.items is None:
            return None
        with self._handing:
            handout, left = self._handouts.pop(number, (None, lanes))
            if handout is None:
                handout = Handout(plan, begun.finished if begun is not None else ())
            if left > 1:
                self._handouts[number] = handout, left - 1
            for forgotten in [old for old in self._handouts if old <= number - STARTING]:
                del self._handouts[forgotten]
            return handout

    def wait(self, begun: Pass | None, seconds: float) -> None:
        """See `Progress.wait`; where nobody counts there is nothing to wait for."""
        if self.progress is not None and begun is not None:
            self.progress.wait(begun, seconds)

    def epoch(self, number: int, begun: Pass | None) -> int:
        """The epoch of a pass."""
        if begun is not None:
            return begun.epoch
        return number if self.options.epoch is None else self.options.epoch

    def plan(self) -> Plan:
        """Connect, wait for the servers to be ready, and plan; raises what `Reach.plan` raises."""
        reach = Reach(self)
        try:
            while True:
                plan = reach.plan(0.5)
                if plan is not None:
                    for endpoint, count in plan.replays:
                        what = f"{endpoint} replays the same {count} elements again and again"
                        say(f"{what}: it is for measuring, do not train on it", logging.WARNING)
                    return plan
        finally:
            reach.release()


class Reach:
    """Connections to the servers of one pass. One thread at a time."""

    def __init__(self, source: Source, number: int = BEFORE_ALL) -> None:
        """``number`` is the pass's."""
        self._source = source
        self._members = source.members.fixed
        #: Finds out who they are.
        self._call = None if self._members is not None else source.members.call(number)
        self.connections: list[Connection] = []
        self._connect()
        self._waiting = Waiting(source.options, keys=source.keys is not None)
        #: When a worker was first out of reach, although its server says that it is ready.
        self._missed: float | None = None
        self._plan: Plan | None = None

    def release(self) -> None:
        """Give the connections back; idempotent."""
        connections, self.connections = self.connections, []
        for connection in connections:
            connection.release()
        call, self._call = self._call, None
        if call is not None:
            call.release()

    def plan(self, seconds: float) -> Plan | None:
        """The plan once every server is ready, or None after ``seconds``.

        Raises `Unreachable` after the connect timeout, `Rejected` and its `KeyRejected`,
        `PlanError`, `EndpointError` for a worker that cannot be reached as asked, the errors of a
        server that failed, and `Interrupted`. A line after 1 s says why nobody answers, and one
        every 5 s what is waited for.
        """
        if self._plan is not None:
            return self._plan
        if self._call is not None:
            self._members = self._call.take(seconds)
            if self._members is None:
                return None
            self._connect()
        statuses: list[Status] = []
        for connection in self.connections:
            status = connection.wait(settled, seconds, since=self._waiting.began)
            if status is None:
                self._waiting.report(connection, self.connections)
                return None
            if status.state != "ready":
                raise ServerStopped(endpoint=str(connection.endpoint), reason=status.cause)
            statuses.append(status)
        names = [str(connection.endpoint) for connection in self.connections]
        options, moving = self._source.options, self._source.members.fixed is None
        plan = make_plan(names, statuses, options, memory=memory_size(), moving=moving)
        way = self._way(seconds)
        if way is not None:
            self._plan = replace(plan, way=way, seed=self._seed(plan))
        return self._plan

    def _connect(self) -> None:
        """Once it is known to whom; who found that out is done."""
        if self._members is None:
            return
        options, keys = self._source.options, self._source.keys
        self.connections = [
            connect(endpoint, options.transport, options.give_up_after, keys)
            for endpoint in self._members
        ]
        call, self._call = self._call, None
        if call is not None:
            call.release()

    def _seed(self, plan: Plan) -> int:
        """The seed of every pass: where somebody counts, or servers come and go, the one that was
        begun with."""
        options, progress = self._source.options, self._source.progress
        first = self._source.members.first  # where servers come and go, somebody else may be now
        if progress is None:
            return plan.seed if first is None or options.seed is not None else first.seed
        seed = progress.seed
        if options.seed is not None or seed is None:
            seed = plan.seed
        terms = Terms(
            seed=seed, workers=plan.count, batch=options.batch or 0,
            drop_remainder=options.drop_remainder, deterministic=options.deterministic,
            dealt=plan.items is not None,
        )  # fmt: skip
        progress.agree(terms, seed_is_free=options.seed is None, epoch=options.epoch)
        return seed

    def _way(self, seconds: float) -> str | None:
        """How the workers are reached; `EndpointError` where one is not for a while.

        None after ``seconds`` at most: the files of a server that leaves go before its goodbye is
        here, and another status may be under way.
        """
        try:
            transports = set().union(*(connection.transports() for connection in self.connections))
        except EndpointError:
            now = time.monotonic()
            self._missed = now if self._missed is None else self._missed
            if now - self._missed >= MISSED_FOR:
                raise
            known = self.connections[0].status
            self.connections[0].wait(
                lambda status: status is not known,
                min(seconds, MISSED_FOR),
                since=self._waiting.began,
            )
            return None
        self._missed = None
        return " and ".join(WAYS[transport] for transport in sorted(transports))

    def describe(self) -> str:
        """How each worker fares, for a waiting or failing trainer."""
        return describe(self.connections)

    @property
    def in_this_process(self) -> bool:
        """Whether a generator runs in this very process (``workers=0``)."""
        return in_this_process(self.connections)
