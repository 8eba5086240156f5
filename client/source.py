"""Where elements come from: the endpoints and options of one dataset or client.

A `Source` is plain data that TensorFlow may hold on to for ever; it owns no socket and no thread.
A `Reach` is what it takes to use the servers for a while: connections, given back by `release`.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

from genserver.protocol.endpoint import Endpoint, parse_endpoint
from genserver.protocol.errors import EndpointError, ServerStopped, Unreachable
from genserver.protocol.keys import TrainerKeys
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.transport.connection import Connection, connect
from genserver.protocol.transport.key_files import find_trainer_keys
from genserver.protocol.transport.platform import host_id, memory_size
from genserver.protocol.transport.safety import check_mechanism, check_safe
from genserver.protocol.transport.sockets import check_reachable

from .handout import Handout
from .options import OptionError, PullOptions
from .passes import Pass
from .plan import Plan, PlanError, make_plan
from .progress import STARTING, Progress
from .state import State, Terms

__all__ = ["Reach", "Source", "say"]

logger = logging.getLogger("genserver")

#: Seconds between the lines that say what is waited for (design 8), and until the first one where
#: nobody answers.
REPORT_EVERY, FIRST_REPORT = 5.0, 1.0
#: A worker out of reach for so long (seconds) stays so, and is no sign of a server that leaves.
MISSED_FOR = 1.0


#: How elements come, as the log says it.
WAYS = {"memory": "through shared memory", "ipc": "through socket files", "tcp": "over tcp"}


def say(text: str) -> None:
    """Tell the user: through `logging` where it is set up, else on standard error."""
    if logger.hasHandlers():
        logger.info(text)
    elif sys.stderr is not None:  # as in a program that was started with it closed
        sys.stderr.write(f"genserver: {text}\n")


class Source:
    """Any thread."""

    def __init__(self, endpoints: str | Sequence[str], options: PullOptions) -> None:
        names = [endpoints] if isinstance(endpoints, str) else list(endpoints)
        if not names:
            raise OptionError("give at least one endpoint")
        if len(set(names)) != len(names):
            raise OptionError(f"an endpoint is given twice: {names}")
        self.endpoints: tuple[Endpoint, ...] = tuple(map(parse_endpoint, names))
        #: For the endpoints that are no files.
        self.keys: TrainerKeys | None = None
        if any(endpoint.scheme == "tcp" for endpoint in self.endpoints):
            self.keys = find_trainer_keys(options.keys)
        for endpoint in self.endpoints:
            check_safe(
                endpoint, keys=self.keys is not None, insecure_network=options.insecure_network
            )
        self.names = tuple(names)
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
                    return plan
        finally:
            reach.release()


class Reach:
    """Connections to a source's servers. One thread at a time."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.connections: list[Connection] = [
            connect(endpoint, source.options.transport, source.options.give_up_after, source.keys)
            for endpoint in source.endpoints
        ]
        self._began = time.monotonic()
        self._reported = self._began
        self._explained = False
        #: When a worker was first out of reach, although its server says that it is ready.
        self._missed: float | None = None
        self._plan: Plan | None = None

    def release(self) -> None:
        """Give the connections back; idempotent."""
        connections, self.connections = self.connections, []
        for connection in connections:
            connection.release()

    def plan(self, seconds: float) -> Plan | None:
        """The plan once every server is ready, or None after ``seconds``.

        Raises `Unreachable` after the connect timeout, `Rejected` and its `KeyRejected`,
        `PlanError`, `EndpointError` for a worker that cannot be reached as asked, the errors of a
        server that failed, and `Interrupted`. A line after 1 s says why nobody answers, and one
        every 5 s what is waited for.
        """
        if self._plan is not None:
            return self._plan
        statuses: list[Status] = []
        for connection in self.connections:
            status = connection.wait(_settled, seconds, since=self._began)
            if status is None:
                self._report(connection)
                return None
            if status.state != "ready":
                raise ServerStopped(endpoint=str(connection.endpoint), reason=status.cause)
            statuses.append(status)
        options = self._source.options
        plan = make_plan(self._source.names, statuses, options, memory=memory_size())
        way = self._way(seconds)
        if way is not None:
            self._plan = replace(plan, way=way, seed=self._seed(plan))
        return self._plan

    def _seed(self, plan: Plan) -> int:
        """The seed of every pass: where somebody counts, the one that he began with."""
        options, progress = self._source.options, self._source.progress
        if progress is None:
            return plan.seed
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
                lambda status: status is not known, min(seconds, MISSED_FOR), since=self._began
            )
            return None
        self._missed = None
        return " and ".join(WAYS[transport] for transport in sorted(transports))

    def describe(self) -> str:
        """How each worker fares, for a waiting or failing trainer."""
        parts = []
        for connection in self.connections:
            status = connection.status
            if status is None:
                parts.append(f"{connection.endpoint} does not answer")
                continue
            parts.append(f"{connection.endpoint}: {connection.absence or _workers(status)}")
        return "; ".join(parts)

    @property
    def in_this_process(self) -> bool:
        """Whether a generator runs in this very process (``workers=0``): a debugger may be at work,
        and waiting is no news."""
        here = (host_id(), os.getpid())
        return any(
            (connection.status.host, worker.pid) == here
            for connection in self.connections
            if connection.status is not None
            for worker in connection.status.workers
        )

    def _report(self, connection: Connection) -> None:
        if self.in_this_process:
            return
        now = time.monotonic()
        waited = now - self._began
        options = self._source.options
        limit = options.connect_timeout
        trouble = connection.trouble
        if trouble is not None and not options.wait:
            check_mechanism(
                connection.endpoint, keys=self._source.keys is not None, suspected=trouble
            )
        if connection.status is not None:
            limit = options.first_element_timeout  # it answered; the generator is at work
        if waited >= limit and not options.wait:
            if connection.status is None:
                reason = check_reachable(connection.endpoint)
                no_genserver = "what listens there is no genserver"
                raise Unreachable(
                    str(connection.endpoint), waited, reason or no_genserver, taken=not reason
                )
            raise PlanError(
                f"{connection.endpoint} did not get ready within {waited:.0f} s: {self.describe()}"
            )
        first = connection.status is None and not self._explained
        if now - self._reported >= (FIRST_REPORT if first else REPORT_EVERY):
            self._reported = now
            say(self._waiting_for(connection, waited))

    def _waiting_for(self, connection: Connection, waited: float) -> str:
        """The line that says what is waited for: the first one of a silent server with advice."""
        others = f" ({self.describe()})" if len(self.connections) > 1 else ""
        endpoint = connection.endpoint
        if connection.status is not None:
            how = others or f" ({_workers(connection.status)})"
            return f"waiting {waited:.0f} s for {endpoint} to make its first element{how}"
        reason = check_reachable(endpoint)
        if not reason:
            check_mechanism(endpoint, keys=self._source.keys is not None)
        if self._explained:
            return f"waiting {waited:.0f} s for {endpoint}: {reason or 'no answer'}{others}"
        self._explained = True
        options = self._source.options
        limit = "until it answers" if options.wait else f"up to {options.connect_timeout:.0f} s"
        advice = f"is it started? genserver serve MODULE:GENERATOR --bind {endpoint}"
        if not reason:
            reason, advice = "something listens there and does not answer", "is it a genserver?"
        return f"{endpoint}: {reason}; {advice} (waiting {limit})"


def _workers(status: Status) -> str:
    return ", ".join(map(_worker, status.workers))


def _worker(worker: WorkerStatus) -> str:
    if not worker.between_lives or not worker.cause:
        return f"worker {worker.index} {worker.state}"
    return f"worker {worker.index} is being started again ({worker.cause})"


def _settled(status: Status) -> bool:
    return status.state in ("ready", "failed")  # who is stopping says next whether it returns
