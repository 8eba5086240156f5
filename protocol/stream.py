"""One stream at each end: element numbers, credit, acknowledgement, replay.

`PulledStream` is the trainer's, `ServedStream` the worker's. Limits are absolute, so a repeated
or lost GRANT does no harm. Pure: no socket, clock or thread.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from .chunk import Chunk
from .dealing import Deals
from .errors import RemoteProtocolError
from .messages import (
    Close,
    Done,
    End,
    EndAck,
    Error,
    Fail,
    Grant,
    Item,
    Kind,
    Open,
    Take,
    Work,
)
from .tables import StreamState, advance_stream

__all__ = ["MAX_CREDIT", "MAX_CREDIT_BYTES", "Delivery", "PulledStream", "ServedStream", "Window"]

#: The most elements and bytes that a trainer may have a worker run ahead of what it has used: the
#: worker keeps them. A trainer's windows are far below (client/plan.py), also of a second stage.
MAX_CREDIT, MAX_CREDIT_BYTES = 2**16, 2**29


@dataclass(frozen=True, slots=True)
class Window:
    """How far a worker may run ahead of the trainer's use, per stream.

    An element may be begun while fewer than ``elements`` and ``nbytes`` are ahead, so that one
    element may overshoot: a window of one byte means one element at a time.
    """

    elements: int
    nbytes: int
    #: Bytes of a worker's shared memory that the trainer may hold, waiting or in use.
    held: int = 0


@dataclass(frozen=True, slots=True)
class Delivery:
    """Elements for the consumer: those of ``chunk`` from ``skip`` on. Give back to `took`."""

    first: int
    skip: int
    chunk: Chunk

    @property
    def n(self) -> int:
        """How many elements are new."""
        return self.chunk.n - self.skip


class PulledStream:
    """The trainer's end of one stream."""

    def __init__(self, opening: Open, window: Window, deals: Deals | None = None) -> None:
        """``deals`` is what the worker is given to do, where the trainer deals."""
        self.opening = opening
        self.deals = deals
        self.window = window
        self.state = StreamState.IDLE
        self.next = opening.start  # the next element that has not arrived
        self._taken = opening.start  # the next element that the consumer has not got
        self._held_bytes = 0  # arrived, not taken
        self._received_bytes = 0  # since the last OPEN
        self._granted = (0, 0, 0)

    @property
    def id(self) -> int:
        return self.opening.stream

    @property
    def _elements(self) -> int:
        """How many of the generator's own elements have arrived, those before the start too."""
        return self.next * max(1, self.opening.batch)

    def open(self) -> list[Open | Work | Grant]:
        """What starts the stream, or resumes it on a new link where it left off."""
        self._move(Kind.OPEN)
        self._received_bytes = 0
        self._granted = (0, 0, 0)
        opening, again = replace(self.opening, start=self.next), []
        if self.deals is not None:
            again = self.deals.opened(self.id, self._elements)
            opening = replace(opening, work=self.deals.first)
        return [opening, *again, self._grant()]

    def deal(self, item: int) -> Work | None:
        """Give the worker one more item; None where the next OPEN will say it."""
        assert self.deals is not None  # who deals made it
        work = self.deals.deal(self.id, item)
        return work if self.state is StreamState.OPEN else None

    def wanted(self, message: Take) -> list[Work]:
        """The worker is free: what it is given."""
        self.state, late = advance_stream(self.state, Kind.TAKE, sending=False)
        return [] if late else self._dealer().take(message)

    def done(self, message: Done) -> None:
        """The worker is done with an item; see `Deals.done`."""
        self.state, late = advance_stream(self.state, Kind.DONE, sending=False)
        if not late:
            self._dealer().done(message)

    def finished(self) -> list[tuple[int, int]]:
        """The items that ended, and whose elements are all here, since this was asked last; see
        `Deals.finished`."""
        return [] if self.deals is None else self.deals.finished(self._elements)

    def due(self) -> list[Work]:
        """Items that the worker wants and may have now."""
        if self.deals is None or self.state is not StreamState.OPEN:
            return []
        return self.deals.due(self.id)

    def _dealer(self) -> Deals:
        if self.deals is None:
            raise RemoteProtocolError(f"stream {self.id}: nothing is dealt to it")
        return self.deals

    def receive(self, message: Item | End | Fail | Error) -> Delivery | EndAck | None:
        """Apply a message: what to deliver or to answer, or None.

        `RemoteProtocolError` on a hole, an overrun of the grant or a wrong count.
        """
        kind = {Item: Kind.ITEM, End: Kind.END, Fail: Kind.FAIL, Error: Kind.ERROR}[type(message)]
        if isinstance(message, Item):
            self._check(message)
        if isinstance(message, End) and self.state is StreamState.OPEN:
            self._check_count(message)
        self.state, late = advance_stream(self.state, kind, sending=False)
        if isinstance(message, End):
            # Also when late: the worker resends END until it hears this.
            self.state, _ = advance_stream(self.state, Kind.END_ACK, sending=True)
            return EndAck(self.id)
        if isinstance(message, Item) and not late:
            return self._deliver(message)
        return None

    def took(self, delivery: Delivery) -> Grant | None:
        """The consumer took the last element of ``delivery``; returns a GRANT when one is due."""
        self._taken = delivery.first + delivery.chunk.n
        self._held_bytes -= delivery.chunk.nbytes
        if self.state is not StreamState.OPEN:
            return None
        elements, nbytes, _ = self._limits()
        half_elements = (elements - self._granted[0]) * 2 >= self.window.elements
        half_bytes = (nbytes - self._granted[1]) * 2 >= self.window.nbytes
        return self._grant() if half_elements or half_bytes else None

    def close(self) -> Close | None:
        """The consumer wants no more; None when the worker knows already."""
        if self.state in (StreamState.IDLE, StreamState.CLOSED):
            self.state = StreamState.CLOSED
            return None
        self._move(Kind.CLOSE)
        return Close(self.id)

    def _check(self, item: Item) -> None:
        if self.state is not StreamState.OPEN:
            return
        if item.chunk.n < 1:
            raise RemoteProtocolError(f"stream {self.id}: an empty chunk")
        if item.first > self.next:
            raise RemoteProtocolError(f"stream {self.id}: element {self.next} is missing")
        over = item.first + item.chunk.n > self._granted[0]
        if over or self._received_bytes >= self._granted[1]:
            raise RemoteProtocolError(f"stream {self.id}: the worker overran its credit")

    def _check_count(self, end: End) -> None:
        if end.count != self.next:
            raise RemoteProtocolError(
                f"stream {self.id}: END counts {end.count} elements, {self.next} arrived"
            )
        if self.deals is not None and not self.deals.complete:
            raise RemoteProtocolError(f"stream {self.id}: END before the end of its items")

    def _deliver(self, item: Item) -> Delivery | None:
        self._received_bytes += item.chunk.nbytes
        skip = self.next - item.first
        if skip >= item.chunk.n:
            return None
        self.next = item.first + item.chunk.n
        self._held_bytes += item.chunk.nbytes
        return Delivery(item.first, skip, item.chunk)

    def _limits(self) -> tuple[int, int, int]:
        room = max(0, self.window.nbytes - self._held_bytes)
        return self._taken + self.window.elements, self._received_bytes + room, self._taken

    def _grant(self) -> Grant:
        # Late chunks of an earlier cut may have weighed more than the grant; never go back.
        limits = self._limits()
        self._granted = tuple(map(max, self._granted, limits))  # type: ignore[assignment]  # mypy loses the length of a mapped tuple
        self._move(Kind.GRANT)
        return Grant(self.id, *self._granted)

    def _move(self, kind: Kind) -> None:
        self.state, _ = advance_stream(self.state, kind, sending=True)


@dataclass(slots=True)
class _Sent:
    first: int
    before: int  # bytes of the stream before this chunk, in this worker's life
    chunk: Chunk


class ServedStream:
    """The worker's end of one stream, in one life of the worker."""

    def __init__(self, opening: Open) -> None:
        self.opening = opening
        self.state, _ = advance_stream(StreamState.IDLE, Kind.OPEN, sending=False)
        self.next = opening.start  # first element of the next chunk
        self._bytes = 0  # all chunks cut in this life
        self._base = 0  # ... of which lie before this link's OPEN
        self._ring: deque[_Sent] = deque()
        self._final: End | Fail | None = None
        #: What it wants of the trainer, and the items that ended which the trainer may not know of.
        self._take = Take(opening.stream, 0)
        self._done: deque[Done] = deque()
        self._dealt = opening.work or 0  # the ordinal of the next item
        #: Absolute limits in elements and in bytes of this life; see `Window`.
        self.limit_elements = 0
        self.limit_bytes = 0
        #: The elements before it are used.
        self.ack = opening.start

    @property
    def id(self) -> int:
        return self.opening.stream

    @property
    def resend(self) -> End | None:
        """END while it waits for END_ACK."""
        return self._final if self.state is StreamState.ENDED and type(self._final) is End else None

    @property
    def unacknowledged(self) -> int:
        """Chunks kept for a replay."""
        return len(self._ring)

    def item(self, chunk: Chunk) -> Item:
        """Number a chunk; it is kept until it is acknowledged."""
        self.state, _ = advance_stream(self.state, Kind.ITEM, sending=True)
        item = Item(self.id, self.next, chunk)
        self._ring.append(_Sent(self.next, self._bytes, chunk))
        self.next += chunk.n
        self._bytes += chunk.nbytes
        return item

    def end(self) -> End:
        """The generator is exhausted."""
        self.state, _ = advance_stream(self.state, Kind.END, sending=True)
        self._final = End(self.id, self.next)
        return self._final

    def fail(self, fail: Fail) -> Fail:
        """The generator raised."""
        self.state, _ = advance_stream(self.state, Kind.FAIL, sending=True)
        self._final = fail
        return fail

    def take(self, until: int) -> Take:
        """It wants the items below that ordinal."""
        self.state, _ = advance_stream(self.state, Kind.TAKE, sending=True)
        self._take = Take(self.id, until)
        return self._take

    def done(self, ordinal: int, count: int, total: int) -> Done:
        """An item ended; kept until the elements behind it are acknowledged."""
        self.state, _ = advance_stream(self.state, Kind.DONE, sending=True)
        self._done.append(Done(self.id, ordinal, count, total))
        return self._done[-1]

    def dealt(self, work: Work) -> bool:
        """Apply a WORK; whether it is a new one."""
        self.state, late = advance_stream(self.state, Kind.WORK, sending=False)
        if late or work.ordinal < self._dealt:
            return False
        if self.opening.work is None or work.ordinal > self._dealt:
            raise RemoteProtocolError(f"stream {self.id}: item {self._dealt} of it is missing")
        self._dealt += 1
        return True

    def receive(self, message: Grant | EndAck | Close) -> bool:
        """Apply a message; True when the limits rose."""
        kind = {Grant: Kind.GRANT, EndAck: Kind.END_ACK, Close: Kind.CLOSE}[type(message)]
        self.state, late = advance_stream(self.state, kind, sending=False)
        if self.state is StreamState.CLOSED:
            self._ring.clear()
        if not isinstance(message, Grant) or late:
            return False
        if message.ack > self.next or message.elements < message.ack:
            raise RemoteProtocolError(f"stream {self.id}: acknowledges what was never sent")
        if message.elements - message.ack > MAX_CREDIT:
            raise RemoteProtocolError(f"stream {self.id}: a credit of too many elements")
        while self._ring and self._ring[0].first + self._ring[0].chunk.n <= message.ack:
            self._ring.popleft()
        while self._done and self._done[0].count < message.ack * max(1, self.opening.batch):
            self._done.popleft()  # what came behind it arrived
        used = (self._ring[0].before if self._ring else self._bytes) - self._base
        if message.nbytes - used > MAX_CREDIT_BYTES:
            raise RemoteProtocolError(f"stream {self.id}: a credit of too many bytes")
        self.ack = max(self.ack, message.ack)
        self.limit_elements = max(self.limit_elements, message.elements)
        self.limit_bytes = max(self.limit_bytes, self._base + message.nbytes)
        return True

    def resume(self, opening: Open) -> list[Take | Done | Item | End | Fail]:
        """The stream's OPEN came again on a new link: what to send again, in order."""
        oldest = self._ring[0].first if self._ring else self.next
        known = replace(self.opening, start=opening.start, work=opening.work) == opening
        known = known and (self.opening.work is None) == (opening.work is None)
        if not known or not oldest <= opening.start <= self.next:
            raise RemoteProtocolError(f"stream {self.id}: cannot be resumed at {opening.start}")
        self.state, _ = advance_stream(self.state, Kind.OPEN, sending=False)
        again = [sent for sent in self._ring if sent.first + sent.chunk.n > opening.start]
        self._base = again[0].before if again else self._bytes
        self.limit_bytes = self._base
        self._done = deque(done for done in self._done if done.ordinal >= (opening.work or 0))
        items: list[Take | Done | Item | End | Fail] = [*self._done]
        if self._final is None and self._take.until:
            items.append(self._take)
        items += [Item(self.id, s.first, s.chunk) for s in again]
        if self._final is not None:
            if isinstance(self._final, End):
                self.state, _ = advance_stream(self.state, Kind.END, sending=True)
            items.append(self._final)
        return items
