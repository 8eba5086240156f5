"""The connecting end's shell: one server process, and the socket of the current link to it.

Owns one DEALER at a time and what the worker lent over it, and throws both away with the link. Runs
on the loop's thread only.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from ..chunk import Chunk
from ..codec import (
    Frame,
    ItemHeader,
    Part,
    Placed,
    decode_header,
    decode_item,
    encode,
    parts_of,
    piece_sizes,
    placed_in,
)
from ..errors import EndpointError, RemoteProtocolError
from ..handshake import Handshakes, Trouble
from ..keys import TrainerKeys
from ..link import Numbered, Pauses
from ..messages import Error, Item, Message
from ..spec import ElementSpec
from ..trainer_end import TrainerEnd
from ..trainer_events import Broken, Delivered, Event, Lost, Refused
from .borrower import Borrower
from .buffers import BufferPool
from .distance import Route
from .leases import Bytes
from .loop import Loop
from .platform import memory_size
from .sockets import Dealer

__all__ = ["PeerLink"]

logger = logging.getLogger("genserver")

#: Back-off between new links after a loss, in seconds: first and longest.
RELINK_FIRST, RELINK_LONGEST = 0.1, 5.0
#: On a small machine, too, so many bytes of one message may be on their way.
LEAST_BACKLOG = 2**30
#: So many breaches of the protocol in so many seconds, with nothing delivered in between, are no
#: damage on the way.
MAX_BREACHES, BREACHES_WITHIN = 3, 60.0
#: Seconds until the next look at a peer that said goodbye and may return.
RETURN_AFTER = 0.5


class PeerLink:
    """Moves messages between a `TrainerEnd` and its socket, and links again after a loss."""

    def __init__(
        self,
        loop: Loop,
        session: int,
        *,
        route: Callable[[], Route],
        on_event: Callable[[Event], None],
        spec: Callable[[int], ElementSpec | None],
        buffers: BufferPool,
        memory: int = 0,
        keys: TrainerKeys | None = None,
        measures: bool = False,
    ) -> None:
        """``spec`` says what the elements of a stream look like, None for one that is closed.

        ``memory`` bytes at most may be lent over the link; what comes through the socket is
        received into ``buffers``. ``measures`` is `TrainerEnd`'s.
        """
        now = time.monotonic()
        self.end = TrainerEnd(session, now, measures=measures)
        self._loop = loop
        self._route = route
        self._buffers = buffers
        self._memory = memory
        self._borrower: Borrower | None = None
        self._on_event = on_event
        self._spec = spec
        self._keys = keys
        self._handshakes = Handshakes("" if keys is None else keys.public)
        #: What the handshakes of late make of the other end, where that is not sure.
        self.trouble: Trouble | None = None
        #: Bytes that may have been received and belong to no whole message: an element may be as
        #: large as what the trainer can hold.
        self._most = max(LEAST_BACKLOG, memory_size() // 2)
        #: When the peer broke the protocol, since it last delivered something.
        self._breaches: deque[float] = deque()
        self._dealer: Dealer | None = None
        self._relink_at: float | None = None
        self._back_off = RELINK_FIRST
        self._pauses = Pauses(now)

    def link(self) -> None:
        """Make a new link; the old socket is thrown away."""
        self._drop_socket()
        self._relink_at = None
        try:
            route = self._route()
            self._dealer = Dealer(route.endpoint, self._keys)
        except EndpointError as error:  # its name cannot be resolved at the moment
            self.end.connect(time.monotonic())
            self._dispatch(self.end.lose(str(error)))
            return
        if route.memory and self._memory:
            self._borrow(route.endpoint.path)
        memory = self._memory if self._borrower is not None else 0
        self.end.connect(time.monotonic(), memory=memory)
        if self._borrower is not None and not self._borrower.introduce(
            self.end.session, self.end.fence
        ):
            self._lend_no_more("the worker does not take note")
        self._loop.add(self._dealer, self._readable)
        if self._dealer.monitor is not None:
            self._loop.add(self._dealer.monitor, self._shaken)
        self.flush()

    def renew(self) -> None:
        """The peer is another by now: make a new link, when what the old one sent has been read."""
        self._drain()
        self._back_off = RELINK_FIRST
        self.link()

    def link_later(self) -> None:
        """The peer said goodbye, and may return."""
        self._drop_socket()
        self._link_at(time.monotonic() + RETURN_AFTER)

    def close(self) -> None:
        """Say goodbye and close."""
        self.end.leave("the trainer is done", time.monotonic())
        self.flush()
        self._drop_socket()
        self._relink_at = None

    def flush(self) -> None:
        """Send what the end has to say."""
        for numbered in self.end.outgoing():
            if self._dealer is not None and not self._dealer.send(encode(numbered)):
                self._dispatch(self.end.lose("the socket's queue is full"))

    def tick(self, now: float) -> None:
        """Let time pass."""
        if self._pauses.slept(now):
            self._drain()  # what arrived meanwhile tells how the peer fares
        self._dispatch(self.end.tick(now))
        self._weigh()
        self._release()
        self.flush()
        if self._relink_at is not None and now >= self._relink_at:
            self._back_off = min(self._back_off * 2, RELINK_LONGEST)
            self.link()

    @property
    def borrowed(self) -> int:
        """Bytes of the worker's memory that somebody still sees."""
        return 0 if self._borrower is None else self._borrower.held

    def _borrow(self, ipc: str) -> None:
        try:
            self._borrower = Borrower(self._loop, ipc, self._release)
        except OSError as error:
            self._lend_no_more(str(error.strerror or error).lower())

    def _lend_no_more(self, why: str) -> None:
        """Shared memory does not work with this worker; said once."""
        logger.warning("no shared memory with the worker (%s): its socket is used instead", why)
        self._memory = 0
        self._return_memory()

    def _return_memory(self) -> None:
        if self._borrower is not None:
            self._borrower.close()
            self._borrower = None

    def _release(self) -> None:
        """Tell the worker which of its slots nobody sees any more."""
        if self._borrower is not None:
            slots = self._borrower.ended()
            if slots:
                self.end.release(slots, time.monotonic())
                self.flush()

    def _drop_socket(self) -> None:
        self._return_memory()
        if self._dealer is not None:
            if self._dealer.monitor is not None:
                self._loop.remove(self._dealer.monitor)
            self._loop.remove(self._dealer)
            self._dealer.close()
            self._dealer = None

    def _dispatch(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Lost):
                logger.info("a link was lost: %s", event.reason)
                self._drop_socket()
                self._link_at(time.monotonic() + self._back_off)
            self._on_event(event)

    def _link_at(self, at: float) -> None:
        self._relink_at = at
        self._loop.hurry(at)

    def _shaken(self) -> bool:
        """A handshake went one way or the other. One that was refused is not tried again."""
        monitor = self._dealer.monitor if self._dealer is not None else None
        shake = monitor.shake() if monitor is not None else None
        if shake is None:
            return False
        self.trouble = self._handshakes.saw(shake, time.monotonic())
        if self.trouble is not None and self.trouble.sure:
            self._drop_socket()
            self._dispatch([Refused(Error(self.trouble.code.value, self.trouble.text))])
        return self._dealer is not None

    def _weigh(self) -> None:
        """A message is handed on when it is whole: one that never is would fill the memory."""
        backlog = 0 if self._dealer is None else self._dealer.backlog
        if backlog > self._most:
            self._dispatch(self._breach(f"{backlog} bytes that are no whole message"))

    def _breach(self, reason: str) -> list[Event]:
        """A link may be damaged, and the next one be right; a peer that is not does it again."""
        now = time.monotonic()
        self._breaches.append(now)
        while now - self._breaches[0] > BREACHES_WITHIN:
            self._breaches.popleft()
        events = self.end.lose(reason)
        if len(self._breaches) < MAX_BREACHES:
            return events
        self._drop_socket()
        return [Broken(reason)]

    def _drain(self) -> None:
        """Read what has arrived; it is bounded by credit."""
        while self._readable():
            pass

    def _readable(self) -> bool:
        dealer = self._dealer
        header = dealer.receive_header() if dealer is not None else None
        if dealer is None or header is None:
            return False
        try:
            numbered = self._read(dealer, header)
            events = self.end.receive(numbered, time.monotonic())
            self._back_off = RELINK_FIRST
        except RemoteProtocolError as error:
            dealer.skip()
            events = self._breach(str(error))
        if any(isinstance(event, Delivered) for event in events):
            self._breaches.clear()
        self._dispatch(events)
        self._release()
        self.flush()
        return self._dealer is not None

    def _read(self, dealer: Dealer, header: bytes) -> Numbered:
        number, message = decode_header(header)
        if isinstance(message, ItemHeader):
            return Numbered(number, self._read_item(dealer, message))
        if dealer.more:
            raise RemoteProtocolError("frames that were not announced")
        return Numbered(number, message)

    def _read_item(self, dealer: Dealer, item: ItemHeader) -> Message:
        """Receive each frame straight into aligned memory that TensorFlow can alias."""
        spec = self._spec(item.stream)
        if spec is None:  # closed here, and the worker had not heard it yet
            dealer.skip()
            gone = [(placed.segment, placed.generation) for placed in placed_in(item)]
            if gone:
                self.end.release(gone, time.monotonic())
            return Item(item.stream, item.first, Chunk(0, 0, ()))
        memory = [self._part(dealer, part) for part in parts_of(item, spec)]
        if dealer.more:
            raise RemoteProtocolError("frames that were not announced")
        return decode_item(item, memory, spec)

    def _part(self, dealer: Dealer, part: Part) -> Frame:
        if isinstance(part, Placed):
            return self._lease(part).data
        buffer = self._buffers.take(part, time.monotonic()).data
        start = 0
        for size in piece_sizes(part):
            if not dealer.more:
                raise RemoteProtocolError("an announced frame is missing")
            if dealer.receive_into(buffer[start : start + size]) != size:
                raise RemoteProtocolError("a frame of another size than announced")
            start += size
        return buffer

    def _lease(self, placed: Placed) -> Bytes:
        if self._borrower is None:
            raise RemoteProtocolError("an array in shared memory that nobody lent")
        try:
            return self._borrower.lease(placed)
        except RemoteProtocolError as error:
            self._lend_no_more(str(error))  # the next link does without
            raise
