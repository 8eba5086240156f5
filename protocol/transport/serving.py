"""A worker's bound end: its data socket and its shared memory, on a `Loop`.

Owns both. Runs on the loop's thread only. Decides nothing: the pure end does.
"""

from __future__ import annotations

import functools
import secrets
import time

from ..codec import encode
from ..link import Numbered
from ..spec import ElementSpec
from ..version import MEMORY
from ..worker_end import WorkerEnd
from ..worker_events import Dropped, Event, Joined, Key, Released
from .bound import Bound
from .buffers import BufferPool
from .exchange import Exchange
from .leases import Bytes
from .lender import Lender, make_lender
from .loop import Loop
from .sockets import Router

__all__ = ["DataEnd", "make_data_end"]

#: A stream sends chunks that are not full at most this often (seconds): a message costs both ends
#: together about 1.5 ms of a core, whatever is in it. A slower generator's elements never wait.
FLUSH_EVERY = 0.02


def make_data_end(loop: Loop, router: Router, ipc: str) -> DataEnd:
    """A worker's end on its bound ``router``, with shared memory beside the socket file ``ipc``.

    Without memory where there is no such file ("") or the system has none to share.
    """
    lender = make_lender(ipc)
    end = WorkerEnd(secrets.randbits(64), () if lender is None else (MEMORY,))
    return DataEnd(loop, router, end, lender)


class DataEnd(Bound):
    """A worker's end: moves chunks from the exchange to the trainers that opened the streams."""

    def __init__(
        self, loop: Loop, router: Router, end: WorkerEnd, lender: Lender | None = None
    ) -> None:
        """Closes ``lender``, the worker's shared memory."""
        super().__init__(loop, router)
        self.end = end
        self._lender = lender
        self._buffers = BufferPool()
        self.exchange = Exchange(self._notify, lambda key: functools.partial(self.allocate, key[0]))
        #: When to look for more of a stream that was sent something lately.
        self._due: dict[Key, float] = {}
        #: Bytes of the elements that went out.
        self.sent = 0
        #: When a stream was last sent something.
        self._sent: dict[Key, float] = {}

    def tick(self, now: float) -> None:
        self._flush_due(now)
        self._buffers.tick(now)
        self._apply(self.end.tick(now))
        if self._lender is not None:
            self._lender.prune(self.end.knows)

    def receive(self, peer: bytes, numbered: Numbered, now: float, user: str) -> None:
        self._apply(self.end.receive(peer, numbered, now, user))

    def refuse(self, peer: bytes, text: str, now: float) -> None:
        self.end.refuse(peer, text, now)
        self._send()

    def serve(self, spec: ElementSpec) -> None:
        """The element spec is known: streams may be opened."""
        self.exchange.spec = spec
        self._apply(self.end.serve(time.monotonic()))

    def deliver(self, peer: bytes, numbered: Numbered) -> bool:
        lender = self._lender
        if lender is None:
            return super().deliver(peer, numbered)
        return self._router.send(peer, encode(numbered, lambda array: lender.place(peer, array)))

    def allocate(self, session: int, nbytes: int) -> Bytes:
        """Memory for a column that goes to a session's trainer. The runner's thread."""
        lent = None if self._lender is None else self._lender.allocate(session, nbytes)
        return self._buffers.take(nbytes, time.monotonic()) if lent is None else lent

    def close(self) -> None:
        super().close()
        if self._lender is not None:
            self._lender.close()

    def leave(self, reason: str, *, returns: bool = False) -> None:
        """Send what is finished and say goodbye to all trainers; ``returns`` when another life of
        the worker is going to take over."""
        now = time.monotonic()
        for key in self.exchange.keys:
            self._flush(key, now)
        self.end.leave(reason, now, returns=returns)
        self._send()

    def _apply(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Joined) and self._lender is not None:
                self._lender.join(event.peer, event.session, event.fence, event.memory)
            elif isinstance(event, Released) and self._lender is not None:
                self._lender.released(event.peer, event.slots)
            else:
                if isinstance(event, Dropped):
                    self._sent.pop(event.key, None)
                self.exchange.apply(event)
        self._send()

    def _notify(self, key: Key, now: bool) -> None:
        self.loop.call(lambda: self._announced(key, now))

    def _announced(self, key: Key, at_once: bool) -> None:
        if at_once or key not in self._due:
            self._flush(key, time.monotonic())

    def _flush_due(self, now: float) -> None:
        for key, due in list(self._due.items()):
            if now >= due:
                self._flush(key, now)
            else:
                self.loop.hurry(due)

    def _flush(self, key: Key, now: float) -> None:
        # Who makes fewer elements than that is better off announcing each: it is one wake-up, and
        # looking for more in vain would be another.
        often = now - self._sent.get(key, 0.0) < FLUSH_EVERY * 3 / 2
        taken = self.exchange.take(key, again=often)
        chunks, finished = taken.chunks, taken.finished
        for ended in taken.done:
            self.end.done(key, *ended, now)
        for chunk in chunks:
            self.end.chunk(key, chunk, now)
            self.sent += chunk.nbytes
        if taken.until is not None:
            self.end.take(key, taken.until, now)
        if chunks:
            self._sent[key] = now
        self._due.pop(key, None)
        if finished is None and chunks and often:
            # What comes until then is fetched without being announced, which saves its wake-up.
            self._due[key] = now + FLUSH_EVERY
            self.loop.hurry(self._due[key])
        elif finished is not None:
            self._sent.pop(key, None)
            failure = finished.failure
            if failure is None:
                self.end.end(key, now)
            else:
                self.end.fail(
                    key, element=failure.element, kind=failure.kind, text=failure.text,
                    trace=failure.traceback, now=now,
                )  # fmt: skip
        self._send()

    def _send(self) -> None:
        for peer, numbered in self.end.outgoing():
            if not self.deliver(peer, numbered):
                self.end.unroutable(peer)
