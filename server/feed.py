"""The elements of the stage before this one: pulled by a second stage's worker.

A `Feed` is a worker's connection to the server of the first stage; a `Fed` what one pass takes of
it. Element ``q`` of the first stage's worker ``w`` is item ``q * workers + w`` of the second. Owns
the streams. Filled by the thread of the connection, emptied by the one that runs the generator.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from genserver.protocol.dealing import Deals
from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.errors import GenserverError, Stalled
from genserver.protocol.messages import NO_MORE, Open, Work
from genserver.protocol.rows import row_of
from genserver.protocol.spec import ElementSpec
from genserver.protocol.stream import MAX_CREDIT_BYTES, Delivery, Window
from genserver.protocol.transport.connection import Connection, StreamHandle, connect
from genserver.protocol.transport.dealt import Dealt
from genserver.protocol.transport.platform import memory_size
from genserver.protocol.watch import GIVE_UP_AFTER

from .items import NOTHING, Division, NoItem
from .worker import Worker

__all__ = ["Fed", "Feed"]

#: Seconds until the first stage's status must be here: its server was ready before it was named.
STATUS_SECONDS = 30.0
#: Elements of one first-stage worker that may be here: the one in use, and the one ahead.
WINDOW_ELEMENTS = 2
#: Hardly a limit of its own in bytes: what is asked for is.
WINDOW_BYTES = MAX_CREDIT_BYTES // 2


class Feed:
    """What a worker of a second stage is fed by. Any thread."""

    #: Nobody knows how many there will be, or what the first one is.
    total = NO_MORE

    def __init__(self) -> None:
        self._connection: Connection | None = None

    def connect(self, endpoint: str) -> None:
        """The first stage's server is there; idempotent."""
        if self._connection is None:
            self._connection = connect(parse_endpoint(endpoint), "auto", GIVE_UP_AFTER)

    def reader(self, worker: Worker) -> Fed:
        """For one pass."""
        assert self._connection is not None  # it is told before the first pass
        return Fed(self._connection, worker)


@dataclass(slots=True)
class _Stream:
    """One to a first-stage worker."""

    handle: StreamHandle
    #: The items that it was dealt and whose elements have not arrived, in order.
    items: deque[int] = field(default_factory=deque)
    #: What arrived and was not given back, in order, and how many of its elements are not done.
    deliveries: deque[tuple[Delivery, list[int]]] = field(default_factory=deque)

    def release(self, delivery: Delivery) -> None:
        """One element less is needed. They are given back in order."""
        for known, unused in self.deliveries:
            if known is delivery:
                unused[0] -= 1
        while self.deliveries and self.deliveries[0][1][0] == 0:
            self.handle.took(self.deliveries.popleft()[0])


class Fed:
    """The first stage's elements for one pass of one worker."""

    def __init__(self, connection: Connection, worker: Worker) -> None:
        status = connection.wait(lambda status: status.spec is not None, STATUS_SECONDS)
        if status is None:
            raise Stalled(seconds=STATUS_SECONDS, workers="the first stage's server is silent")
        assert status.spec is not None  # that was waited for
        self._connection = connection
        self._worker = worker
        self._spec: ElementSpec = status.spec
        self._workers = self.stride = len(status.workers)
        self._lock = threading.Lock()
        #: By first-stage worker, and by the number that the connection knows each by.
        self._streams: dict[int, _Stream] = {}
        self._numbered: dict[int, _Stream] = {}
        self._numbers = itertools.count()
        self._group = worker._group
        self._wanted: set[int] = set()
        #: Of those, what was asked for ahead, before anybody dealt it to this worker.
        self._guessed: set[int] = set()
        self._arrived: dict[int, tuple[Delivery, int, _Stream]] = {}  # with the row
        self._totals: dict[int, int] = {}
        self._error: GenserverError | None = None
        self._listens: object = None
        self._closed = False

    # The thread that runs the generator.

    def item(self, number: int) -> Any:
        """The element that is item ``number``; `NOTHING` where it is not here yet. `NoItem` behind
        a worker's last; raises what the first stage raised."""
        share = self._worker._share
        self._follow(number)
        self._want(number)
        if isinstance(share, Dealt):
            self._listen(share)
        if isinstance(share, Division):
            self._want(share.following, guessed=True)
        gate = self._worker._gate
        if gate is not None and not gate.passes(lambda: self._has(number)):
            return NOTHING
        with self._lock:
            if number in self._arrived:
                delivery, row, _ = self._arrived[number]
                return row_of(delivery.chunk.columns, row, self._spec)
            if self._error is not None:
                raise self._error
            source = number % self._workers
            total = self._totals.get(source)
            if total is None or number // self._workers < total:
                return NOTHING  # woken for something else
            raise NoItem(total * self._workers + source)

    def done(self, number: int) -> None:
        """Everything was made of it."""
        with self._lock:
            self._release(number)

    def close(self) -> None:
        """Free the streams; idempotent."""
        with self._lock:
            self._closed = True
            streams, self._streams = self._streams, {}
            self._numbered.clear()
        for stream in streams.values():
            stream.handle.close()

    def _follow(self, number: int) -> None:
        """What began before there was a trainer belongs to his pass from now on: the streams are
        opened anew, as that pass's, for ``number`` and what else is sure. So passes of two trainers
        never share a generator."""
        with self._lock:
            self._guessed.discard(number)
            if self._closed or self._group == self._worker._group:
                return
            self._group = self._worker._group
            old, self._streams = self._streams, {}
            self._numbered.clear()
            for source, stream in old.items():
                made = self._open(source)  # before the other is closed: the generator goes on
                for item in stream.items:
                    if item in self._guessed:
                        self._guessed.discard(item)
                        self._wanted.discard(item)
                    else:
                        made.items.append(item)
                        made.handle.deal(item // self._workers)
                stream.handle.close()

    def _listen(self, share: Dealt) -> None:
        """Ask for what the worker is dealt as soon as it is."""
        if share is not self._listens:
            self._listens = share
            share.listen(self._note)

    def _has(self, number: int) -> bool:
        with self._lock:
            source, place = number % self._workers, number // self._workers
            ended = place >= self._totals.get(source, place + 1)
            return number in self._arrived or self._error is not None or ended

    # Also the worker's I/O thread, which holds the exchange's lock.

    def _note(self, work: Work) -> None:
        if work.item == NO_MORE:
            return
        self._want(work.item)
        with self._lock:  # those before it were dealt to others
            if self._closed:
                return
            for number in [guess for guess in self._guessed if guess < work.item]:
                self._guessed.discard(number)
                if number in self._arrived:
                    self._release(number)
                else:
                    self._wanted.discard(number)  # and given back when it arrives

    def _release(self, number: int) -> None:
        """Under the lock."""
        delivery, _, stream = self._arrived.pop(number)
        self._wanted.discard(number)
        stream.release(delivery)

    def _want(self, number: int, *, guessed: bool = False) -> None:
        with self._lock:
            if not guessed:
                self._guessed.discard(number)
            if number in self._wanted or self._closed:
                return
            self._wanted.add(number)
            if guessed:
                self._guessed.add(number)
            source = number % self._workers
            stream = self._streams.get(source) or self._open(source)
            stream.items.append(number)
            stream.handle.deal(number // self._workers)

    def _open(self, source: int) -> _Stream:
        worker, (first, total) = self._worker, self._worker._upstream
        opening = Open(
            0, first + source, total or self._workers, worker.epoch, worker.seed, work=0,
            group=self._group, shared=True,
        )  # fmt: skip
        window = Window(WINDOW_ELEMENTS, WINDOW_BYTES, memory_size() // 4)
        deals = Deals(None, source, on_end=lambda total: self._end(source, total))
        number = next(self._numbers)
        handle = self._connection.open(source, opening, self._spec, window, self, number, deals)
        made = self._streams[source] = self._numbered[number] = _Stream(handle)
        return made

    # The connection's thread.

    def put(self, source: int, delivery: Delivery) -> None:
        """Elements of a first-stage worker arrived, on the stream of that number."""
        with self._lock:
            stream = self._numbered.get(source)
            if stream is None:
                return
            stream.deliveries.append((delivery, [delivery.n]))
            for row in range(delivery.skip, delivery.chunk.n):
                number = self._next_of(stream)
                self._arrived[number] = (delivery, row, stream)
                if number not in self._wanted:
                    self._release(number)
        self._wake()

    def _next_of(self, stream: _Stream) -> int:
        """The item whose element comes next: the first one that there is."""
        while True:
            number = stream.items.popleft()
            total = self._totals.get(number % self._workers)
            if total is None or number // self._workers < total:
                return number

    def end(self, source: int) -> None:
        """A stream ended, which none does before it is closed."""

    def finish(self, source: int, item: int, count: int) -> None:
        """An element was given; it arrives by itself."""

    def fail(self, error: GenserverError) -> None:
        """The first stage failed: that is told when what arrived before is used."""
        with self._lock:
            self._error = self._error or error
        self._wake()

    def interrupt(self) -> None:
        """Ctrl-C is the supervisor's business."""

    def _end(self, source: int, total: int) -> None:
        with self._lock:
            self._totals[source] = min(total, self._totals.get(source, total))
        self._wake()

    def _wake(self) -> None:
        gate = self._worker._gate
        if gate is not None:
            gate.open()
