"""A connection's state on the I/O thread: the control link, and a data link to each worker in use.

Owns the links, and through them the sockets. `Watch` decides whom to link again, to wait for and to
give up; this carries it out. Every method runs on the loop's thread; `status`, `error`, `absence`
and `changed` are shared with the threads that hold a `Connection`.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ..endpoint import Endpoint
from ..errors import (
    EndpointError,
    GeneratorError,
    GenserverError,
    InternalError,
    Rejected,
    RemoteProtocolError,
    Unreachable,
)
from ..handshake import Trouble, rejected
from ..keys import TrainerKeys
from ..messages import Error, Fail, Status
from ..spec import ElementSpec
from ..stream import Delivery
from ..trainer_events import (
    Broken,
    Delivered,
    Ended,
    Event,
    Failed,
    Finished,
    Forgotten,
    Left,
    Lost,
    Measured,
    Reborn,
    Refused,
    Suspect,
    Told,
    Welcomed,
)
from ..watch import Abandon, Action, GiveUp, Renew, Resume, Say, Watch
from .buffers import BufferPool
from .consumer import Consumer
from .distance import Route, choose_route
from .loop import Loop
from .measures import Measures
from .peer_link import PeerLink
from .platform import has_ipc, host_id
from .process import on_interrupt

__all__ = ["Core"]

logger = logging.getLogger("genserver")

#: A server says its STATUS right after WELCOME. Who has not after so long (seconds) is a worker.
STATUS_WITHIN = 2.0
#: A connection that nobody uses is kept so long (seconds): the next epoch starts at once.
GRACE = 2.0


@dataclass(slots=True)
class _Worker:
    link: PeerLink
    consumers: dict[int, Consumer] = field(default_factory=dict)  # by the id of their stream


class Core:
    """What a `Connection` is on the I/O thread."""

    def __init__(
        self, loop: Loop, endpoint: Endpoint, transport: str, *, give_up_after: float,
        keys: TrainerKeys | None, on_idle: Callable[[], bool], on_failure: Callable[[], None],
    ) -> None:  # fmt: skip
        """``give_up_after`` is `Watch`'s. ``on_idle`` is asked when nobody has used it for `GRACE`
        whether it may end, and ``on_failure`` told that it is of no more use."""
        self.loop = loop
        self.endpoint = endpoint
        self.changed = threading.Condition()
        self._watch = Watch(str(endpoint), give_up_after, time.monotonic())
        #: What a waiting trainer is told while the server is away.
        self.absence = ""
        self.error: GenserverError | None = None
        #: When Ctrl-C came last.
        self.interrupted_at = 0.0
        self.idle_since: float | None = None
        self._ended = False
        self._transport = transport
        self._keys = keys
        self._on_idle = on_idle
        self._on_failure = on_failure
        self._session = secrets.randbits(64)
        self._control: PeerLink | None = None
        self._welcomed = False
        #: Seconds since WELCOME without a STATUS, as ticks have counted them.
        self._mute = 0.0
        self._ticked = time.monotonic()
        self._workers: dict[int, _Worker] = {}
        self._buffers = BufferPool()
        self._explained = False
        self.measures = Measures(self._session)
        self._forget_signals = on_interrupt(self._interrupt, self._crashed)
        loop.call(self._start)

    @property
    def status(self) -> Status | None:
        """What the server said last that holds for the streams. Any thread."""
        return self._watch.status

    # Posted by `Connection` and `StreamHandle`.

    def open(self, worker: int, consumer: Consumer) -> None:
        if self.error is not None:
            consumer.inbox.fail(self.error)
            return
        peer = self._workers.get(worker)
        if peer is None:
            peer = self._use(worker, consumer.pulled.window.held)
        peer.consumers[consumer.pulled.id] = consumer
        peer.link.end.open(consumer.pulled, time.monotonic())
        peer.link.flush()
        self._act(self._watch.opened(worker))

    def _use(self, worker: int, memory: int) -> _Worker:
        """A worker that nobody has used yet. One that left since the plan was made is linked when
        it is back, or given up."""
        made = self._workers[worker] = _Worker(self._new_link(worker, memory))
        self._watch.use(worker)
        if self._watch.reachable(worker):
            with contextlib.suppress(EndpointError):
                self._explain(worker, self.route_to(worker))
            made.link.link()
        return made

    def took(self, worker: int, stream: int, delivery: Delivery) -> None:
        peer = self._workers.get(worker)
        if peer is not None:
            peer.link.end.took(stream, delivery, time.monotonic())
            peer.link.flush()

    def crowded(self, worker: int, limit: int) -> bool:
        """Whether more than ``limit`` bytes that a worker sent are still seen. Any thread.

        What came through sockets is counted for all workers alike.
        """
        peer = self._workers.get(worker)
        if peer is None:
            return False
        return peer.link.borrowed + self._buffers.held / len(self._workers) > limit

    def deal(self, worker: int, stream: int, item: int) -> None:
        peer = self._workers.get(worker)
        if peer is not None:
            peer.link.end.deal(stream, item, time.monotonic())
            peer.link.flush()

    def close_stream(self, worker: int, stream: int) -> None:
        peer = self._workers.get(worker)
        if peer is not None:
            peer.consumers.pop(stream, None)
            peer.link.end.close(stream, time.monotonic())
            peer.link.flush()

    def unused(self) -> None:
        """Nobody uses it any more. Of a server that is away nothing is kept: whoever comes next
        wants what is served then, whatever it is."""
        if self._watch.away:
            self._retire_if_unused()

    # The loop's callbacks.

    def _start(self) -> None:
        self._control = PeerLink(
            self.loop,
            self._session,
            route=lambda: Route(self.endpoint),
            on_event=self._on_control,
            spec=lambda _: None,
            buffers=self._buffers,
            keys=self._keys,
            measures=True,
        )
        self._control.link()
        self.loop.every_tick(self._tick)

    def _tick(self, now: float) -> None:
        assert self._control is not None  # set before the first tick
        links = [self._control, *(worker.link for worker in self._workers.values())]
        for link in links:
            link.tick(now)
        if self._ended:
            return  # a link was lost just now, and nobody uses it
        self._buffers.tick(now)
        self.measures.tell(self._control.end, now)
        self._control.flush()
        heard = {index: worker.link.end.heard for index, worker in self._workers.items()}
        wanted = [index for index, worker in self._workers.items() if worker.consumers]
        if self.error is None:
            self._act(self._watch.tick(now, heard, wanted))
        self.absence = self._watch.absence(now)
        self._expect_status(now)
        if self.idle_since is not None and now - self.idle_since >= GRACE:
            self._retire_if_unused()

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

    def _retire_if_unused(self) -> None:
        """Close the connection, unless somebody took it up again meanwhile."""
        if self._ended or not self._on_idle():
            return
        self._ended = True
        self.loop.drop_tick(self._tick)
        self._forget_signals()
        for worker in self._workers.values():
            worker.link.close()
        assert self._control is not None  # set before the first tick
        self._control.close()

    def _new_link(self, worker: int, memory: int) -> PeerLink:
        return PeerLink(
            self.loop,
            self._session,
            route=lambda: self.route_to(worker),
            on_event=lambda event: self._on_worker(worker, event),
            spec=lambda stream: self._spec_of(worker, stream),
            buffers=self._buffers,
            memory=memory,
            keys=self._keys,
        )

    def _spec_of(self, worker: int, stream: int) -> ElementSpec | None:
        consumer = self._workers[worker].consumers.get(stream)
        return None if consumer is None else consumer.spec

    def route_to(self, worker: int) -> Route:
        """The way to a worker; `EndpointError` when there is none. Any thread."""
        assert self.status is not None  # streams are opened after the status arrived
        return choose_route(
            self.endpoint, self.status, self.status.workers[worker], self._transport
        )

    def _explain(self, worker: int, route: Route) -> None:
        """Say once why workers of this very host are not reached the short way."""
        assert self.status is not None  # streams are opened after the status arrived
        if route.why and self.status.host == host_id() and has_ipc() and not self._explained:
            self._explained = True
            logger.warning(
                "elements of worker %d travel by %s: %s", worker, route.transport, route.why
            )

    def _on_control(self, event: Event) -> None:
        assert self._control is not None  # it is its event
        now = time.monotonic()
        if isinstance(event, Lost | Left | Reborn) and self.idle_since is not None:
            self._retire_if_unused()
        if self.error is not None or self._ended:
            return
        if isinstance(event, Told):
            self._act(self._watch.told(event.status, now))
        elif isinstance(event, Measured):
            self.measures.remember(event.snapshot, now)
        elif isinstance(event, Welcomed):
            self._welcomed = True
        elif isinstance(event, Refused):
            self._fail(self._rejected(event.error))
        elif isinstance(event, Broken):
            self._fail(RemoteProtocolError(f"{self.endpoint}: {event.reason}"))
        elif isinstance(event, Left):
            self._act(self._watch.left(event.reason, event.returns, now))
            if event.returns:
                self._control.link_later()
        elif isinstance(event, Lost):
            self._act(self._watch.lost(now, self._control.end.heard))
        elif isinstance(event, Reborn):
            self.measures.forget()
            self._control.end.resume(now)
            self._act(self._watch.reborn())
        elif isinstance(event, Suspect):
            self._act(self._watch.suspect())
        with self.changed:
            self.absence = self._watch.absence(now)
            self.changed.notify_all()

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
        elif isinstance(event, Finished):
            consumer = consumers.get(event.stream)
            if consumer is not None:
                consumer.inbox.finish(consumer.source, event.item, event.count)
        elif isinstance(event, Failed):
            consumer = consumers.pop(event.stream, None)
            if consumer is not None:
                consumer.inbox.fail(self._failure(consumer, event.failure))
        elif isinstance(event, Refused):
            self._fail_worker(worker, self._rejected(event.error))
        elif isinstance(event, Broken):
            where = f"worker {worker} of {self.endpoint}"
            self._fail_worker(worker, RemoteProtocolError(f"{where}: {event.reason}"))
        elif isinstance(event, Reborn):
            self._act(self._watch.worker_reborn(worker, time.monotonic()))
        elif isinstance(event, Forgotten):
            self._act(self._watch.worker_forgot(worker, event.streams))
        elif isinstance(event, Welcomed):
            self._watch.welcomed(worker)

    def _act(self, actions: list[Action]) -> None:
        """Carry out what the watch decides."""
        for action in actions:
            if isinstance(action, Say):
                logger.warning("%s", action.text)
            elif isinstance(action, Renew):
                self._workers[action.worker].link.renew()
                self._watch.renewed(action.worker)
            elif isinstance(action, Resume):
                self._resume(action)
            elif isinstance(action, Abandon):
                self._fail_worker(action.worker, action.error, action.streams)
            elif isinstance(action, GiveUp):
                self._fail(action.error)

    def _resume(self, action: Resume) -> None:
        again = self._workers[action.worker].link.end.resume(time.monotonic())
        begun = [pulled.next for pulled in again if pulled.next > pulled.opening.start]
        line = self._watch.gone_on(action.worker, begun, action.why)
        if line:
            logger.warning("%s", line)

    def _failure(self, consumer: Consumer, failure: Fail | Error) -> GenserverError:
        if isinstance(failure, Error):
            return self._rejected(failure)
        opening = consumer.pulled.opening
        return GeneratorError(
            worker=opening.index, epoch=opening.epoch, element=failure.element,
            kind=failure.kind, text=failure.text, traceback=failure.traceback,
        )  # fmt: skip

    @property
    def trouble(self) -> Rejected | None:
        """What may be wrong with the keys, as long as the server has not answered. Any thread."""
        trouble = None if self._control is None or self._welcomed else self._control.trouble
        return None if trouble is None else self._rejected(trouble)

    def _rejected(self, why: Error | Trouble) -> Rejected:
        return rejected(str(self.endpoint), why.code, why.text)

    def _fail_worker(
        self, worker: int, error: GenserverError, streams: Collection[int] | None = None
    ) -> None:
        """End a worker's streams, all or those that are named."""
        peer = self._workers[worker]
        for stream in list(peer.consumers if streams is None else streams):
            consumer = peer.consumers.pop(stream, None)
            peer.link.end.close(stream, time.monotonic())
            if consumer is not None:
                consumer.inbox.fail(error)

    def _fail(self, error: GenserverError) -> None:
        with self.changed:
            self.error = error
            self.changed.notify_all()
        self._on_failure()
        for worker in self._workers:
            self._fail_worker(worker, error)

    def _crashed(self, error: Exception) -> None:
        self._fail(InternalError(f"{type(error).__name__}: {error}"))

    def _interrupt(self) -> None:
        with self.changed:
            self.interrupted_at = time.monotonic()
            self.changed.notify_all()
        for worker in self._workers.values():
            for consumer in worker.consumers.values():
                consumer.inbox.interrupt()
