"""A trainer's connection to one server: the control link, and a data link to each worker in use.

`Connection` and `StreamHandle` are what other threads hold; their methods only post to the I/O
thread, which owns the sockets and all state (`_Core`). Connections are shared: the iterators of a
process that use the same server use the same one, and it outlives the last of them by `GRACE`.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ..endpoint import Endpoint
from ..errors import (
    EndpointError,
    GeneratorError,
    GenserverError,
    InternalError,
    PeerLost,
    Rejected,
    ServerStopped,
    Unreachable,
    WorkerDied,
)
from ..messages import Error, Fail, Open, Status
from ..stream import Delivery, PulledStream, Window
from ..trainer_end import (
    Delivered,
    Ended,
    Event,
    Failed,
    Left,
    Reborn,
    Refused,
    Suspect,
    Told,
    Welcomed,
)
from .distance import choose_endpoint
from .inbox import Inbox
from .loop import Loop
from .peer_link import PeerLink
from .platform import after_fork_in_child
from .process import acquire_loop, on_interrupt, release_loop

__all__ = ["Connection", "StreamHandle", "connect"]

logger = logging.getLogger("genserver")

#: Silence, new links included, after which a peer is given up (design 8), in seconds.
GIVE_UP_AFTER = 120.0
#: A server says its STATUS right after WELCOME. Who has not after so long (seconds) is a worker.
STATUS_WITHIN = 2.0
#: A connection that nobody uses is kept so long (seconds): the next epoch starts at once.
GRACE = 2.0


class StreamHandle:
    """One stream of a connection, for the thread that consumes it."""

    def __init__(self, core: _Core, worker: int, stream: int, window: Window) -> None:
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
        # A quarter of the window is worth waking the I/O thread for; less can wait for its turn.
        urgent = self._elements * 4 >= self._window.elements
        urgent = urgent or self._nbytes * 4 >= self._window.nbytes
        if urgent:
            self._elements = self._nbytes = 0
        post = self._core.loop.call if urgent else self._core.loop.later
        post(lambda: self._core.took(self._worker, self._stream, delivery))

    def close(self) -> None:
        """Free the stream. Any thread, also a finalizer; does not block."""
        self._core.loop.call(lambda: self._core.close_stream(self._worker, self._stream))


class Connection:
    """Any thread. Call `release` when done; nothing else ends it."""

    def __init__(self, endpoint: Endpoint, transport: str) -> None:
        self.endpoint = endpoint
        self.users = 0
        self._streams = itertools.count(1)
        self._core = _Core(acquire_loop(), endpoint, transport)

    @property
    def status(self) -> Status | None:
        """What the server said last."""
        return self._core.status

    @property
    def error(self) -> GenserverError | None:
        """Why the connection is of no more use."""
        return self._core.error

    def wait(self, enough: Callable[[Status], bool], seconds: float) -> Status | None:
        """The status once ``enough(status)``, or None after ``seconds``; raises `error`."""
        deadline = time.monotonic() + seconds
        with self._core.changed:
            while True:
                if self._core.error is not None:
                    raise self._core.error
                status = self._core.status
                if status is not None and enough(status):
                    return status
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._core.changed.wait(left)

    def open(
        self, worker: int, opening: Open, window: Window, inbox: Inbox, source: int
    ) -> StreamHandle:
        """Start a stream; its elements, end or failure go to ``inbox`` as ``source``."""
        stream = next(self._streams)
        pulled = PulledStream(replace(opening, stream=stream), window)
        self._core.loop.call(lambda: self._core.open(worker, _Consumer(pulled, inbox, source)))
        return StreamHandle(self._core, worker, stream, window)

    def release(self) -> None:
        """The caller is done with the connection. Takes no lock: a finalizer may call it."""
        self._core.loop.call(self._released)

    def _released(self) -> None:
        with _sharing:
            self.users -= 1
            if self.users == 0:
                self._core.idle_since = time.monotonic()

    def adopt(self) -> None:
        """One more user. The sharing lock is held."""
        self.users += 1
        self._core.idle_since = None


@dataclass(slots=True)
class _Consumer:
    pulled: PulledStream
    inbox: Inbox
    source: int


@dataclass(slots=True)
class _Worker:
    link: PeerLink
    consumers: dict[int, _Consumer] = field(default_factory=dict)


class _Core:
    """The connection's state on the I/O thread; `status`, `error` and `changed` are shared."""

    def __init__(self, loop: Loop, endpoint: Endpoint, transport: str) -> None:
        self.loop = loop
        self.endpoint = endpoint
        self.changed = threading.Condition()
        self.status: Status | None = None
        self.error: GenserverError | None = None
        self.idle_since: float | None = None
        self._transport = transport
        self._session = secrets.randbits(64)
        self._control: PeerLink | None = None
        self._welcomed = False
        #: Seconds since WELCOME without a STATUS, as ticks have counted them.
        self._mute = 0.0
        self._ticked = time.monotonic()
        self._workers: dict[int, _Worker] = {}
        self._forget_signals = on_interrupt(self._interrupt, self._crashed)
        loop.call(self._start)

    # Posted by `Connection` and `StreamHandle`.

    def open(self, worker: int, consumer: _Consumer) -> None:
        if self.error is not None:
            consumer.inbox.fail(self.error)
            return
        peer = self._workers.get(worker)
        if peer is None:
            try:
                self._endpoint_of(worker)
            except EndpointError as error:
                consumer.inbox.fail(error)
                return
            peer = self._workers[worker] = _Worker(self._new_link(worker))
            peer.link.link()
        peer.consumers[consumer.pulled.id] = consumer
        peer.link.end.open(consumer.pulled, time.monotonic())
        peer.link.flush()
        self._check_alive(worker)

    def took(self, worker: int, stream: int, delivery: Delivery) -> None:
        peer = self._workers.get(worker)
        if peer is not None:
            peer.link.end.took(stream, delivery, time.monotonic())
            peer.link.flush()

    def close_stream(self, worker: int, stream: int) -> None:
        peer = self._workers.get(worker)
        if peer is not None:
            peer.consumers.pop(stream, None)
            peer.link.end.close(stream, time.monotonic())
            peer.link.flush()

    # The loop's callbacks.

    def _start(self) -> None:
        self._control = PeerLink(
            self.loop,
            self._session,
            endpoint=lambda: self.endpoint,
            on_event=self._on_control,
            spec=lambda: None,
        )
        self._control.link()
        self.loop.every_tick(self._tick)

    def _tick(self, now: float) -> None:
        assert self._control is not None  # set before the first tick
        links = [self._control, *(worker.link for worker in self._workers.values())]
        for link in links:
            link.tick(now)
        self._give_up(now)
        self._expect_status(now)
        if self.idle_since is not None and now - self.idle_since >= GRACE:
            self._retire()

    def _give_up(self, now: float) -> None:
        """Whoever was silent for too long, new links included, ends its streams with an error."""
        assert self._control is not None  # set before the first tick
        silent = now - self._control.heard
        if silent >= GIVE_UP_AFTER and self.error is None and self.status is not None:
            self._fail(PeerLost(endpoint=str(self.endpoint), peer="the server", seconds=silent))
        for index, worker in self._workers.items():
            silent = now - worker.link.heard
            if silent >= GIVE_UP_AFTER and worker.consumers:
                lost = PeerLost(endpoint=str(self.endpoint), peer=f"worker {index}", seconds=silent)
                self._fail_worker(index, lost)

    def _expect_status(self, now: float) -> None:
        """Who welcomes and says no STATUS is a worker: its port follows the server's own."""
        # A tick counts little, however late it comes: what arrived meanwhile was not read yet.
        self._mute += min(now - self._ticked, 0.5) if self._welcomed else 0.0
        self._ticked = now
        if self._mute >= STATUS_WITHIN and self.status is None and self.error is None:
            reason = (
                "a worker of a genserver listens there; give the server's own endpoint, that of "
                "--bind"
            )
            self._fail(Unreachable(str(self.endpoint), self._mute, reason, taken=True))

    def _retire(self) -> None:
        """Nobody wants the connection any more: close it and give the loop back."""
        with _sharing:
            if self.idle_since is None:
                return
            for key in [k for k, c in _connections.items() if c._core is self]:
                del _connections[key]
        self.loop.drop_tick(self._tick)
        self._forget_signals()
        for worker in self._workers.values():
            worker.link.close()
        assert self._control is not None  # set before the first tick
        self._control.close()
        release_loop()

    def _new_link(self, worker: int) -> PeerLink:
        return PeerLink(
            self.loop,
            self._session,
            endpoint=lambda: self._endpoint_of(worker),
            on_event=lambda event: self._on_worker(worker, event),
            spec=lambda: self.status.spec if self.status is not None else None,
        )

    def _endpoint_of(self, worker: int) -> Endpoint:
        assert self.status is not None  # streams are opened after the status arrived
        return choose_endpoint(
            self.endpoint, self.status, self.status.workers[worker], self._transport
        )

    def _on_control(self, event: Event) -> None:
        if isinstance(event, Told):
            with self.changed:
                self.status = event.status
                self.changed.notify_all()
            for worker in list(self._workers):
                self._check_alive(worker)
        elif isinstance(event, Welcomed):
            self._welcomed = True
        elif isinstance(event, Refused):
            self._fail(Rejected(str(self.endpoint), event.error.code, event.error.text))
        elif isinstance(event, Left):
            self._fail(ServerStopped(endpoint=str(self.endpoint), reason=event.reason))
        elif isinstance(event, Reborn):
            reason = "another server answers there now"
            self._fail(ServerStopped(endpoint=str(self.endpoint), reason=reason))
        elif isinstance(event, Suspect) and self.status is not None:
            logger.warning("the server at %s is silent", self.endpoint)

    def _on_worker(self, worker: int, event: Event) -> None:
        consumers = self._workers[worker].consumers
        if isinstance(event, Delivered):
            consumer = consumers.get(event.stream)
            if consumer is not None:
                consumer.inbox.put(consumer.source, event.delivery)
        elif isinstance(event, Ended):
            consumer = consumers.pop(event.stream, None)
            if consumer is not None:
                consumer.inbox.end(consumer.source)
        elif isinstance(event, Failed):
            consumer = consumers.pop(event.stream, None)
            if consumer is not None:
                consumer.inbox.fail(self._failure(consumer, event.failure))
        elif isinstance(event, Refused):
            self._fail_worker(
                worker, Rejected(str(self.endpoint), event.error.code, event.error.text)
            )
        elif isinstance(event, Reborn):
            self._fail_worker(worker, self._died(worker, "another process took its place"))

    def _failure(self, consumer: _Consumer, failure: Fail | Error) -> GenserverError:
        if isinstance(failure, Error):
            return Rejected(str(self.endpoint), failure.code, failure.text)
        opening = consumer.pulled.opening
        return GeneratorError(
            worker=opening.index, epoch=opening.epoch, element=failure.element,
            kind=failure.kind, text=failure.text, traceback=failure.traceback,
        )  # fmt: skip

    def _check_alive(self, worker: int) -> None:
        assert self.status is not None  # streams are opened after the status arrived
        state = self.status.workers[worker]
        if state.state == "failed":
            self._fail_worker(worker, self._died(worker, state.cause))

    def _died(self, worker: int, cause: str) -> WorkerDied:
        return WorkerDied(endpoint=str(self.endpoint), worker=worker, cause=cause)

    def _fail_worker(self, worker: int, error: GenserverError) -> None:
        consumers = self._workers[worker].consumers
        for consumer in consumers.values():
            consumer.inbox.fail(error)
        consumers.clear()

    def _fail(self, error: GenserverError) -> None:
        with self.changed:
            self.error = error
            self.changed.notify_all()
        with _sharing:
            for key in [k for k, c in _connections.items() if c._core is self]:
                del _connections[key]  # the next user gets a new one
        for worker in self._workers:
            self._fail_worker(worker, error)

    def _crashed(self, error: Exception) -> None:
        self._fail(InternalError(f"{type(error).__name__}: {error}"))

    def _interrupt(self) -> None:
        with self.changed:
            self.changed.notify_all()
        for worker in self._workers.values():
            for consumer in worker.consumers.values():
                consumer.inbox.interrupt()


_connections: dict[tuple[Endpoint, str], Connection] = {}
_sharing = threading.Lock()


def connect(endpoint: Endpoint, transport: str = "auto") -> Connection:
    """The process's connection to ``endpoint``, made when there is none. Any thread."""
    with _sharing:
        connection = _connections.get((endpoint, transport))
        if connection is None:
            connection = _connections[endpoint, transport] = Connection(endpoint, transport)
        connection.adopt()
        return connection


def _forget_connections() -> None:
    global _sharing
    _connections.clear()
    _sharing = threading.Lock()


after_fork_in_child(_forget_connections)
