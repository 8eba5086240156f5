"""The servers of each pass: fixed ones, or those that are behind names when the pass begins.

All lanes of a pass have the same ones, whoever asks first. Owns what finds them out, a `Lookup` and
connections, for as long as a pass begins; what is decided, roll_call.py decides.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence

from genserver.protocol.endpoint import Endpoint
from genserver.protocol.errors import GenserverError, PeerLost, ServerChanged, ServerStopped
from genserver.protocol.keys import TrainerKeys
from genserver.protocol.messages import Status
from genserver.protocol.transport.connection import Connection, connect
from genserver.protocol.transport.lookup import Lookup
from genserver.protocol.transport.safety import check_safe

from .options import PullOptions
from .progress import STARTING
from .roll_call import LOOK_EVERY, Chosen, RollCall, Standing
from .targets import Target, endpoints_of
from .waiting import Waiting, say, settled

__all__ = ["Call", "Members"]

#: Errors after which the server, or another one, may soon answer at the same address.
PASSING = (ServerStopped, ServerChanged, PeerLost)


class Members:
    """Who serves which pass. Any thread."""

    def __init__(
        self, targets: Sequence[Target], options: PullOptions, keys: TrainerKeys | None
    ) -> None:
        self.targets = tuple(targets)
        self.options = options
        self.keys = keys
        #: The same for every pass; None where they come and go.
        self.fixed: tuple[Endpoint, ...] | None = None
        if not any(target.moving for target in self.targets):
            self.fixed = tuple(endpoints_of(self.targets, ()))
        self._lock = threading.Lock()
        #: By the number of the pass: those that begin, and who serves those that began last.
        self._calls: dict[int, Call] = {}
        self._decided: dict[int, tuple[Endpoint, ...]] = {}
        self._last: tuple[Endpoint, ...] = ()
        #: What the first of the first pass said: all passes have its spec and its seed.
        self.first: Status | None = None

    def call(self, number: int) -> Call:
        """Find out who serves the pass of that number; the caller gives it back."""
        with self._lock:
            call = self._calls.get(number)
            if call is None:
                call = self._calls[number] = Call(self, number, self._last)
            call.users += 1
            return call

    def known(self, number: int) -> tuple[Endpoint, ...] | None:
        """Who serves a pass, where that is decided. Who counts what training uses counts by
        worker, and so keeps the servers that he began with."""
        if self.fixed is not None:
            return self.fixed
        with self._lock:
            pinned = self._last if self.options.resume is not None and self._last else None
            return self._decided.get(number, pinned)

    def decide(self, number: int, chosen: Chosen, first: Status | None) -> None:
        """These serve the pass from now on; ``first`` is what the first of them said."""
        with self._lock:
            before, self._last = self._last, chosen.members
            self._decided[number] = chosen.members
            self.first = self.first or first
            for forgotten in [old for old in self._decided if old <= number - STARTING]:
                del self._decided[forgotten]
        for endpoint in chosen.left_out:
            say(f"{endpoint} is not ready: left out of this pass")
        if before and set(before) != set(chosen.members):
            say(_change(before, chosen.members))

    def leave(self, call: Call) -> bool:
        """One user less of a call; whether he was the last."""
        with self._lock:
            call.users -= 1
            if call.users == 0 and self._calls.get(call.number) is call:
                del self._calls[call.number]
            return call.users == 0


def _change(before: Sequence[Endpoint], now: Sequence[Endpoint]) -> str:
    """Who came and went, as a line."""
    news = [f"{endpoint} joined" for endpoint in now if endpoint not in before]
    news += [f"{endpoint} left" for endpoint in before if endpoint not in now]
    return f"{len(now)} server{'s' * (len(now) > 1)} from this pass on: {', '.join(news)}"


class Call:
    """Finds out who serves one pass. Any thread: its lanes share it."""

    def __init__(self, members: Members, number: int, before: Sequence[Endpoint]) -> None:
        self.number = number
        #: Counted by `Members`.
        self.users = 0
        self._members = members
        options = members.options
        limits = {
            Standing.SILENT: options.connect_timeout,
            Standing.STARTING: options.first_element_timeout,
        }
        if options.wait:
            limits = dict.fromkeys(limits, math.inf)
        self._roll = RollCall(before, limits)
        self._turn = threading.Lock()
        self._lookup: Lookup | None = None
        self._connections: dict[Endpoint, Connection] = {}
        self._waiting = Waiting(options, keys=members.keys is not None)
        #: Why the last one that was of no use was not.
        self._unfit = ""

    def take(self, seconds: float) -> tuple[Endpoint, ...] | None:
        """The servers of the pass, or None after ``seconds``.

        Raises `Unreachable`, `PlanError`, `Interrupted`, and what a server that is waited for says
        against being used.
        """
        known = self._members.known(self.number)
        if known is not None or not self._turn.acquire(timeout=seconds):
            return known
        try:
            known = self._members.known(self.number)  # by another lane, meanwhile
            return self._step(seconds) if known is None else known
        finally:
            self._turn.release()

    def release(self) -> None:
        """The caller is done with it. Any thread."""
        if self._members.leave(self):
            for connection in self._connections.values():
                connection.release()
            self._connections = {}
            if self._lookup is not None:
                self._lookup.close()

    def _step(self, seconds: float) -> tuple[Endpoint, ...] | None:
        if self._lookup is None:
            moving = [target.host for target in self._members.targets if target.moving]
            self._lookup = Lookup(moving)
        if self._roll.look_due(time.monotonic()):
            self._lookup.ask()
        for endpoint in self._roll.candidates:
            self._see(endpoint)
        chosen = self._roll.decide(time.monotonic())
        if chosen is None:
            self._report()
            self._wait(self._lookup, seconds)
            return None
        self._members.decide(self.number, chosen, self._connections[chosen.members[0]].status)
        return chosen.members

    def _wait(self, lookup: Lookup, seconds: float) -> None:
        """Until there may be news, and not for so long that the last look is old by then."""
        awaited, seconds = self._awaited(), min(seconds, LOOK_EVERY / 2)
        if awaited is not None and not awaited.absence:
            awaited.wait(settled, seconds, since=self._waiting.began)
            seconds = 0.0
        found = lookup.wait(seconds, since=self._waiting.began)
        if found is not None:
            found_now = endpoints_of(self._members.targets, found)
            self._roll.found(found_now, time.monotonic())
            self._connect()

    def _connect(self) -> None:
        """Be connected to those that were found last, and to nobody else."""
        options, keys = self._members.options, self._members.keys
        for endpoint in set(self._connections) - set(self._roll.candidates):
            self._connections.pop(endpoint).release()
        for endpoint in self._roll.candidates:
            if endpoint not in self._connections:
                check_safe(
                    endpoint, keys=keys is not None, insecure_network=options.insecure_network
                )
                self._connections[endpoint] = connect(
                    endpoint, options.transport, options.give_up_after, keys
                )

    def _awaited(self) -> Connection | None:
        """Of those who are waited for, one that is not ready."""
        for endpoint in self._roll.awaited:
            connection = self._connections.get(endpoint)
            if connection is not None and connection.error is None:
                status = connection.status
                if status is None or not settled(status) or connection.absence:
                    return connection
        return None

    def _see(self, endpoint: Endpoint) -> None:
        """How a candidate fares."""
        connection = self._connections.get(endpoint)
        if connection is None:  # until the next look
            return
        error = connection.error
        if isinstance(error, PASSING):
            self._connections.pop(endpoint).release()
            self._roll.stands(endpoint, Standing.SILENT)
            return
        status = connection.status
        if error is None and status is not None and status.state == "failed":
            error = ServerStopped(endpoint=str(endpoint), reason=status.cause)
        if error is not None:
            self._refuse(endpoint, error)
        elif status is not None and status.state == "ready" and not connection.absence:
            self._is_ready(endpoint, status)
        else:
            answered = status is not None and status.state == "starting"
            self._roll.stands(endpoint, Standing.STARTING if answered else Standing.SILENT)

    def _is_ready(self, endpoint: Endpoint, status: Status) -> None:
        standing = Standing.READY
        first = self._members.first
        if first is not None and status.spec != first.spec:
            standing = Standing.UNFIT
            self._say_unfit(f"{endpoint} serves {status.spec}, this data is {first.spec}")
        self._roll.stands(endpoint, standing)

    def _refuse(self, endpoint: Endpoint, error: GenserverError) -> None:
        """Who is waited for and cannot be used is an error, a newcomer is left out."""
        if endpoint in self._roll.awaited:
            raise error
        self._roll.stands(endpoint, Standing.UNFIT)
        self._say_unfit(str(error))

    def _say_unfit(self, why: str) -> None:
        if why != self._unfit:
            self._unfit = why
            say(f"left out: {why}")

    def _report(self) -> None:
        connections = list(self._connections.values())
        waited_for = self._awaited()
        if waited_for is not None and waited_for.absence:
            self._waiting.report_nobody(
                str(waited_for.endpoint), waited_for.absence, gives_up=not self._roll.anybody
            )
        elif waited_for is not None:
            self._waiting.report(waited_for, connections, gives_up=not self._roll.anybody)
        elif not connections or self._unfit:
            names = ", ".join(t.text for t in self._members.targets if t.moving)
            reason = self._unfit or "nobody is behind the name; are the servers started?"
            self._waiting.report_nobody(names, reason)
