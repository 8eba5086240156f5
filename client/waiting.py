"""What a user is told while servers are waited for, and when that is no use any more.

Owns nothing. A `Waiting` belongs to one wait, on one thread at a time.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence

from genserver.protocol.errors import Unreachable
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.transport.bound import serves_here
from genserver.protocol.transport.connection import Connection
from genserver.protocol.transport.platform import host_id
from genserver.protocol.transport.safety import check_mechanism
from genserver.protocol.transport.sockets import check_reachable

from .options import PullOptions
from .plan import PlanError

__all__ = ["REPORT_EVERY", "Waiting", "describe", "in_this_process", "say", "settled"]

logger = logging.getLogger("genserver")

#: Seconds between the lines that say what is waited for (design 8), and until the first one where
#: nobody answers.
REPORT_EVERY, FIRST_REPORT = 5.0, 1.0


def say(text: str, level: int = logging.INFO) -> None:
    """Tell the user: through `logging` where it is set up, else on standard error."""
    if logger.hasHandlers():
        logger.log(level, text)
    elif sys.stderr is not None:  # as in a program that was started with it closed
        sys.stderr.write(f"genserver: {text}\n")


def describe(connections: Sequence[Connection]) -> str:
    """How each worker fares, for a waiting or failing trainer."""
    parts = []
    for connection in connections:
        status = connection.status
        if status is None:
            parts.append(f"{connection.endpoint} does not answer")
            continue
        parts.append(f"{connection.endpoint}: {connection.absence or _workers(status)}")
    return "; ".join(parts)


def in_this_process(connections: Sequence[Connection]) -> bool:
    """Whether a generator runs in this very process (``workers=0``): a debugger may be at work, and
    waiting is no news."""
    here = (host_id(), os.getpid())  # a number that another container may have, too
    return serves_here() and any(
        (connection.status.host, worker.pid) == here
        for connection in connections
        if connection.status is not None
        for worker in connection.status.workers
    )


def settled(status: Status) -> bool:
    """Whether a server need not be waited for. Who is stopping says next whether it returns."""
    return status.state in ("ready", "failed")


class Waiting:
    """Begins when it is made."""

    def __init__(self, options: PullOptions, *, keys: bool) -> None:
        """``keys``: whether this trainer has some."""
        self._options = options
        self._keys = keys
        self.began = time.monotonic()
        self._reported = self.began
        self._explained = False

    def report(
        self, connection: Connection, connections: Sequence[Connection], *, gives_up: bool = True
    ) -> None:  # fmt: skip
        """Wait on for one of the ``connections``: says so now and then.

        Raises `Unreachable` after the connect timeout and `PlanError` after that of the first
        element, unless somebody else ``gives_up``, and `KeyRejected` where the keys of the two ends
        do not go together.
        """
        if in_this_process(connections):
            return
        options = self._options
        trouble = connection.trouble
        if trouble is not None and not options.wait:
            check_mechanism(connection.endpoint, keys=self._keys, suspected=trouble)
        limit = options.connect_timeout
        if connection.status is not None:
            limit = options.first_element_timeout  # it answered; the generator is at work
        waited = time.monotonic() - self.began
        if waited >= limit and gives_up and not options.wait:
            self._give_up(connection, connections, waited)
        if self._due(first=connection.status is None and not self._explained):
            say(self._waiting_for(connection, connections, waited))

    def report_nobody(self, name: str, reason: str, *, gives_up: bool = True) -> None:
        """The same where nobody is behind a name, or who was is away."""
        waited = time.monotonic() - self.began
        limit = self._options.connect_timeout
        if waited >= limit and gives_up and not self._options.wait:
            raise Unreachable(name, waited, reason, taken=True)
        if self._due(first=not self._explained):
            until = "until somebody is" if self._options.wait else f"up to {limit:.0f} s"
            how = f"waiting {waited:.0f} s for {name}" if self._explained else name
            say(f"{how}: {reason}" + ("" if self._explained else f" (waiting {until})"))
            self._explained = True

    def _due(self, *, first: bool) -> bool:
        now = time.monotonic()
        if now - self._reported < (FIRST_REPORT if first else REPORT_EVERY):
            return False
        self._reported = now
        return True

    def _give_up(
        self, connection: Connection, connections: Sequence[Connection], waited: float
    ) -> None:
        if connection.status is None:
            reason = check_reachable(connection.endpoint)
            no_genserver = "what listens there is no genserver"
            raise Unreachable(
                str(connection.endpoint), waited, reason or no_genserver, taken=not reason
            )
        raise PlanError(
            f"{connection.endpoint} did not get ready within {waited:.0f} s: "
            f"{describe(connections)}"
        )

    def _waiting_for(
        self, connection: Connection, connections: Sequence[Connection], waited: float
    ) -> str:
        """The line that says what is waited for: the first one of a silent server with advice."""
        others = f" ({describe(connections)})" if len(connections) > 1 else ""
        endpoint = connection.endpoint
        if connection.status is not None:
            how = others or f" ({_workers(connection.status)})"
            return f"waiting {waited:.0f} s for {endpoint} to make its first element{how}"
        reason = check_reachable(endpoint)
        if not reason:
            check_mechanism(endpoint, keys=self._keys)
        if self._explained:
            return f"waiting {waited:.0f} s for {endpoint}: {reason or 'no answer'}{others}"
        self._explained = True
        options = self._options
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
