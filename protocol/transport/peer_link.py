"""The connecting end's shell: one server process, and the socket of the current link to it.

Owns one DEALER at a time and throws it away with its link. Runs on the loop's thread only.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np

from ..chunk import Chunk
from ..codec import ItemHeader, decode_header, decode_item, encode, frame_sizes
from ..endpoint import Endpoint
from ..errors import EndpointError, RemoteProtocolError
from ..link import Numbered
from ..messages import Item, Message
from ..spec import ElementSpec
from ..tables import LinkState
from ..trainer_end import Event, Lost, TrainerEnd
from .loop import Loop
from .sockets import Dealer

__all__ = ["PeerLink"]

logger = logging.getLogger("genserver")

#: What TensorFlow and its Eigen kernels can alias, in bytes: other memory is copied with the GIL
#: held (design 6).
ALIGNMENT = 64
#: Back-off between new links after a loss, in seconds: first and longest.
RELINK_FIRST, RELINK_LONGEST = 0.1, 5.0
#: A tick that comes so late (seconds) means that this process slept; the peer is judged at the
#: next one, when what arrived meanwhile has been read.
OVERSLEPT = 2.0


def aligned(nbytes: int) -> memoryview:
    """Fresh memory that starts on a multiple of `ALIGNMENT`."""
    raw = np.empty(nbytes + ALIGNMENT, np.uint8)
    shift = -raw.ctypes.data % ALIGNMENT
    return raw[shift : shift + nbytes].data


class PeerLink:
    """Moves messages between a `TrainerEnd` and its socket, and links again after a loss."""

    def __init__(
        self,
        loop: Loop,
        session: int,
        *,
        endpoint: Callable[[], Endpoint],
        on_event: Callable[[Event], None],
        spec: Callable[[int], ElementSpec | None],
    ) -> None:
        """``spec`` says what the elements of a stream look like, None for one that is closed."""
        now = time.monotonic()
        self.end = TrainerEnd(session, now)
        #: When the peer was last heard on any link, monotonic seconds.
        self.heard = now
        self._loop = loop
        self._endpoint = endpoint
        self._on_event = on_event
        self._spec = spec
        self._dealer: Dealer | None = None
        self._relink_at = now
        self._back_off = RELINK_FIRST
        self._ticked = now

    def link(self) -> None:
        """Make a new link; the old socket is thrown away."""
        self._drop_socket()
        self.end.connect(time.monotonic())
        try:
            self._dealer = Dealer(self._endpoint())
        except EndpointError as error:  # its name cannot be resolved at the moment
            self._dispatch(self.end.lose(str(error)))
            return
        self._loop.add(self._dealer, self._readable)
        self.flush()

    def close(self) -> None:
        """Say goodbye and close."""
        self.end.leave("the trainer is done", time.monotonic())
        self.flush()
        self._drop_socket()

    def flush(self) -> None:
        """Send what the end has to say."""
        for numbered in self.end.outgoing():
            if self._dealer is not None and not self._dealer.send(encode(numbered)):
                self._dispatch(self.end.lose("the socket's queue is full"))

    def tick(self, now: float) -> None:
        """Let time pass."""
        overslept = now - self._ticked > OVERSLEPT
        self._ticked = now
        if overslept:
            return
        self._dispatch(self.end.tick(now))
        self.flush()
        if self.end.link.state is LinkState.LOST and now >= self._relink_at:
            self._back_off = min(self._back_off * 2, RELINK_LONGEST)
            self.link()

    def _drop_socket(self) -> None:
        if self._dealer is not None:
            self._loop.remove(self._dealer)
            self._dealer.close()
            self._dealer = None

    def _dispatch(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Lost):
                logger.info("a link was lost: %s", event.reason)
                self._relink_at = time.monotonic() + self._back_off
                self._loop.hurry(self._relink_at)
                self._drop_socket()
            self._on_event(event)

    def _readable(self) -> bool:
        dealer = self._dealer
        header = dealer.receive_header() if dealer is not None else None
        if dealer is None or header is None:
            return False
        try:
            numbered = self._read(dealer, header)
            self.heard = time.monotonic()
            events = self.end.receive(numbered, self.heard)
            self._back_off = RELINK_FIRST
        except RemoteProtocolError as error:
            dealer.skip()
            events = self.end.lose(str(error))
        self._dispatch(events)
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
        if spec is None:
            dealer.skip()  # closed here, and the worker had not heard it yet
            return Item(item.stream, item.first, Chunk(0, 0, ()))
        buffers = []
        for size in frame_sizes(item, spec):
            if not dealer.more:
                raise RemoteProtocolError("an announced frame is missing")
            buffer = aligned(size)
            if dealer.receive_into(buffer) != size:
                raise RemoteProtocolError("a frame of another size than announced")
            buffers.append(buffer)
        if dealer.more:
            raise RemoteProtocolError("frames that were not announced")
        return decode_item(item, buffers, spec)
