"""Where elements come from: the endpoints and options of one dataset or client.

A `Source` is plain data that TensorFlow may hold on to for ever; it owns no socket and no thread.
A `Reach` is what it takes to use the servers for a while: connections, given back by `release`.
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
import time
from collections.abc import Sequence

from genserver.protocol.endpoint import Endpoint, parse_endpoint
from genserver.protocol.errors import ServerStopped, Unreachable
from genserver.protocol.messages import Status
from genserver.protocol.transport.connection import Connection, connect
from genserver.protocol.transport.platform import host_id, memory_size
from genserver.protocol.transport.sockets import check_reachable, check_safe

from .options import OptionError, PullOptions
from .plan import Plan, PlanError, make_plan

__all__ = ["Reach", "Source", "say"]

logger = logging.getLogger("genserver")

#: Seconds between the lines that say what is waited for (design 8).
REPORT_EVERY = 5.0


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
        for endpoint in self.endpoints:
            check_safe(endpoint, insecure_network=options.insecure_network)
        self.names = tuple(names)
        self.options = options
        self._epochs = itertools.count(0)

    def next_epoch(self) -> int:
        """The number of a new pass."""
        number = next(self._epochs)
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
            connect(endpoint, source.options.transport) for endpoint in source.endpoints
        ]
        self._began = time.monotonic()
        self._reported = self._began
        self._plan: Plan | None = None

    def release(self) -> None:
        """Give the connections back; idempotent."""
        connections, self.connections = self.connections, []
        for connection in connections:
            connection.release()

    def plan(self, seconds: float) -> Plan | None:
        """The plan once every server is ready, or None after ``seconds``.

        Raises `Unreachable` after the connect timeout, `Rejected`, `PlanError` and the errors of a
        server that failed. A line every 5 s says what is waited for.
        """
        if self._plan is not None:
            return self._plan
        statuses: list[Status] = []
        for connection in self.connections:
            status = connection.wait(_settled, seconds)
            if status is None:
                self._report(connection)
                return None
            if status.state != "ready":
                reason = status.cause or "it was just being stopped"
                raise ServerStopped(endpoint=str(connection.endpoint), reason=reason)
            statuses.append(status)
        options = self._source.options
        self._plan = make_plan(self._source.names, statuses, options, memory=memory_size())
        return self._plan

    def describe(self) -> str:
        """How each worker fares, for a waiting or failing trainer."""
        parts = []
        for connection in self.connections:
            status = connection.status
            if status is None:
                parts.append(f"{connection.endpoint} does not answer")
                continue
            workers = ", ".join(f"worker {w.index} {w.state}" for w in status.workers)
            parts.append(f"{connection.endpoint}: {workers}")
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
        if connection.status is not None:
            limit = options.first_element_timeout  # it answered; the generator is at work
        if waited >= limit and not options.wait:
            if connection.status is None:
                reason = (
                    check_reachable(connection.endpoint) or "what listens there is no genserver"
                )
                raise Unreachable(str(connection.endpoint), waited, reason)
            raise PlanError(
                f"{connection.endpoint} did not get ready within {waited:.0f} s: {self.describe()}"
            )
        if now - self._reported >= REPORT_EVERY:
            self._reported = now
            what = "to make its first element" if connection.status else "to answer"
            say(f"waiting {waited:.0f} s for {connection.endpoint} {what} ({self.describe()})")


def _settled(status: Status) -> bool:
    return status.state in ("ready", "stopping", "failed")
