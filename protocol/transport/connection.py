"""A trainer's connection to one server, as other threads hold it.

The methods of `Connection` and `StreamHandle` only post to the I/O thread, which owns the sockets
and all state (core.py). Connections are shared: the iterators of a process that use the same server
use the same one, and it outlives the last of them by `GRACE`.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from ..dealing import Deals
from ..endpoint import Endpoint
from ..errors import GenserverError, Interrupted, Rejected
from ..keys import TrainerKeys
from ..messages import Open, Status
from ..spec import ElementSpec
from ..stream import Delivery, PulledStream, Window
from ..telemetry import Snapshot
from ..watch import GIVE_UP_AFTER
from .consumer import Consumer, Sink
from .core import Core
from .platform import after_fork_in_child
from .process import acquire_loop, release_loop
from .usage import Usage

__all__ = ["Connection", "StreamHandle", "connect", "connections"]


class StreamHandle:
    """One stream of a connection, for the thread that consumes it."""

    def __init__(self, core: Core, worker: int, stream: int, window: Window) -> None:
        self._core = core
        self._worker = worker
        self._stream = stream
        self._window = window
        self._elements = 0
        self._nbytes = 0

    def took(self, delivery: Delivery) -> None:
        """The last element of ``delivery`` was handed on. Any thread; does not block."""
        self._elements += delivery.chunk.n
        self._nbytes += delivery.chunk.nbytes
        # A third of the window is worth waking the I/O thread for: with the half that a GRANT waits
        # for (`PulledStream.took`) the worker still has a sixth. Less can wait for its turn.
        urgent = self._used(3)
        if urgent:
            self._elements = self._nbytes = 0
        post = self._core.loop.call if urgent else self._core.loop.later
        post(lambda: self._core.took(self._worker, self._stream, delivery))

    def hurry(self) -> None:
        """The consumer is about to wait: what it took must be known now. Any thread.

        Unless it is so little that the worker, who is slow then, has most of its credit left.
        """
        if self._used(8):
            self._elements = self._nbytes = 0
            self._core.loop.wake()

    def _used(self, part: int) -> bool:
        """Whether at least one ``part`` of the window was taken since the I/O thread was told."""
        elements, nbytes = self._window.elements, self._window.nbytes
        return self._elements * part >= elements or self._nbytes * part >= nbytes

    def deal(self, item: int) -> None:
        """Give the worker one more item, where the stream was opened with `Deals` that nobody
        else deals. Any thread; does not block."""
        self._core.loop.call(lambda: self._core.deal(self._worker, self._stream, item))

    @property
    def crowded(self) -> bool:
        """Whether the consumer holds on to so much received memory that it should copy what it
        keeps: else the worker would have to do without shared memory. Any thread."""
        return self._core.crowded(self._worker, self._window.held * 3 // 4)

    def close(self) -> None:
        """Free the stream. Any thread, also a finalizer; does not block."""
        self._core.loop.call(lambda: self._core.close_stream(self._worker, self._stream))


class Connection:
    """Any thread. Call `release` when done; nothing else ends it."""

    def __init__(
        self, endpoint: Endpoint, transport: str, give_up_after: float, keys: TrainerKeys | None
    ) -> None:
        self.endpoint = endpoint
        self.users = 0
        self._streams = itertools.count(1)
        self._core = Core(
            acquire_loop(), endpoint, transport, give_up_after=give_up_after, keys=keys,
            on_idle=self._may_end, on_failure=self._forget,
        )  # fmt: skip

    @property
    def status(self) -> Status | None:
        """What the server said last that holds for its streams."""
        return self._core.status

    @property
    def absence(self) -> str:
        """Why it does not serve at the moment, or ""."""
        return self._core.absence

    @property
    def trouble(self) -> Rejected | None:
        """What may be wrong with the keys, as long as the server has not answered."""
        return self._core.trouble

    @property
    def snapshots(self) -> tuple[Snapshot, ...]:
        """What the server said of itself in the last seconds, one a second, the latest last; none
        of a server that is silent or away."""
        return self._core.measures.snapshots(time.monotonic())

    def follow(self, usage: Usage) -> None:
        """Tell the server what this counts, from now on. Any thread; does not block."""
        self._core.loop.call(lambda: self._core.measures.follow(usage))

    def follow_no_more(self, usage: Usage) -> None:
        """It counts no more. Any thread, also a finalizer; does not block."""
        self._core.loop.call(lambda: self._core.measures.follow_no_more(usage))

    @property
    def error(self) -> GenserverError | None:
        """Why the connection is of no more use."""
        return self._core.error

    def wait(
        self, enough: Callable[[Status], bool], seconds: float, *, since: float = math.inf
    ) -> Status | None:
        """The status once ``enough(status)``, or None after ``seconds``.

        Raises `error`, and `Interrupted` when there was a Ctrl-C ``since`` the caller began: maybe
        in another of several short waits.
        """
        deadline = time.monotonic() + seconds
        with self._core.changed:
            while True:
                if self._core.error is not None:
                    raise self._core.error
                status = self._core.status
                if status is not None and enough(status):
                    return status
                if self._core.interrupted_at > since:
                    raise Interrupted
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._core.changed.wait(left)

    def transports(self) -> set[str]:
        """How the workers can be reached: "memory", "ipc", "tcp"; `EndpointError` where one cannot.

        The status has arrived. Of a worker that is being started again nothing is known.
        """
        status = self._core.status
        assert status is not None  # the callers waited for it
        there = [worker.index for worker in status.workers if not worker.between_lives]
        return {self._core.route_to(worker).transport for worker in there}

    def open(
        self, worker: int, opening: Open, spec: ElementSpec, window: Window, inbox: Sink,
        source: int, deals: Deals | None = None,
    ) -> StreamHandle:  # fmt: skip
        """Start a stream; its elements, end or failure go to ``inbox`` as ``source``.

        ``spec`` is that of the stream's elements: of batches, if ``opening`` asks for some;
        ``deals`` what the worker is given to do, which is the I/O thread's from now on.
        """
        stream = next(self._streams)
        pulled = PulledStream(replace(opening, stream=stream), window, deals)
        consumer = Consumer(pulled, spec, inbox, source)
        self._core.loop.call(lambda: self._core.open(worker, consumer))
        return StreamHandle(self._core, worker, stream, window)

    def release(self) -> None:
        """The caller is done with the connection. Takes no lock: a finalizer may call it."""
        self._core.loop.call(self._released)

    def _released(self) -> None:
        with _sharing:
            self.users -= 1
            if self.users:
                return
            self._core.idle_since = time.monotonic()
        self._core.unused()

    def _may_end(self) -> bool:
        """Whether still nobody uses it; then it is forgotten, and the loop given back."""
        with _sharing:
            if self._core.idle_since is None:
                return False
            _drop(self)
        release_loop()
        return True

    def _forget(self) -> None:
        with _sharing:
            _drop(self)  # the next user gets a new one

    def adopt(self) -> None:
        """One more user. The sharing lock is held."""
        self.users += 1
        self._core.idle_since = None


_connections: dict[tuple[Endpoint, str, float, TrainerKeys | None], Connection] = {}
_sharing = threading.Lock()


def _drop(connection: Connection) -> None:
    for key in [key for key, known in _connections.items() if known is connection]:
        del _connections[key]


def connect(
    endpoint: Endpoint, transport: str = "auto", give_up_after: float = GIVE_UP_AFTER,
    keys: TrainerKeys | None = None,
) -> Connection:  # fmt: skip
    """The process's connection to ``endpoint``, made when there is none. Any thread.

    ``keys`` are for what goes over tcp. A peer that is silent or away for ``give_up_after`` seconds
    is given up.
    """
    key = endpoint, transport, give_up_after, keys
    with _sharing:
        connection = _connections.get(key)
        if connection is None:
            connection = _connections[key] = Connection(*key)
        connection.adopt()
        return connection


def connections() -> list[Connection]:
    """Those of this process that somebody uses. Any thread; blocks on nothing but a moment's
    lock."""
    with _sharing:
        return [connection for connection in _connections.values() if connection.users]


def _forget_connections() -> None:
    global _sharing
    _connections.clear()
    _sharing = threading.Lock()


after_fork_in_child(_forget_connections)
