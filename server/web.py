"""``--http``: the port at which a server tells its figures, and whether it is alive and ready.

Owns a thread, the listening socket and the connections that it took, `MOST` at once, each for
`LONGEST` seconds and one request. Reads what the board shows and touches nothing else of the
supervisor, which never waits for it.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import selectors
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from genserver.protocol.endpoint import Endpoint
from genserver.protocol.errors import EndpointError
from genserver.protocol.transport.safety import beyond_this_host
from genserver.protocol.transport.sockets import Plain, WakeUp, end_sending, listen

from .board import Board, Shown
from .config import ConfigError
from .http_reply import MAX_REQUEST, Page, page_at, reply

__all__ = ["Web", "check_installed"]

#: Connections at once: one more ends the oldest, which is a slow one, since a request is answered
#: as soon as it is there.
MOST = 16
#: Seconds for a request and its answer together: what Prometheus waits for a scrape by default.
LONGEST = 10.0
#: Seconds for the other end to close after it has its answer, and bytes that it may send meanwhile:
#: whoever closes first on what is not read takes the answer back.
LINGER, MAX_IGNORED = 1.0, 65536
#: Longest wait, in seconds: how late a connection may be cut.
TURN_SECONDS = 0.5
#: Seconds that the end of the thread may take.
STOP_SECONDS = 2.0


def check_installed() -> None:
    """`ConfigError` where the library is missing."""
    if importlib.util.find_spec("prometheus_client") is None:
        raise ConfigError(
            "--http needs the package prometheus-client: pip install 'genserver-data[http]'"
        )


@dataclass(slots=True)
class _Caller:
    """A connection: what was received, then what is left to send, then the wait for its end."""

    raw: Plain
    due: float
    received: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None
    ignored: int = 0


class Web:
    """Listens when constructed, answers from `start` to `stop`. A context manager that stops."""

    def __init__(self, endpoint: Endpoint, *, insecure_network: bool) -> None:
        """Raises `EndpointError` where it may not or cannot listen."""
        self._listener, self._endpoint = _open(endpoint, insecure_network)
        #: What is told; the supervisor writes it.
        self.board = Board(time.monotonic())
        self._wake_up = WakeUp()
        self._over = False
        self._selector = selectors.DefaultSelector()
        #: By age, the oldest first.
        self._callers: dict[int, _Caller] = {}
        #: When the listener is looked at again, after the system had no descriptor left.
        self._resumes: float | None = None
        self._thread: threading.Thread | None = None
        self._text: Callable[[Shown], Page] | None = None
        self._last: tuple[Shown, Page] | None = None

    @property
    def url(self) -> str:
        """For the start-up lines."""
        return f"http{str(self._endpoint).removeprefix('tcp')}"

    def start(self) -> None:
        """Answer from now on. Signals that this thread keeps waiting wait for the new one, too."""
        self._text = _text()
        self.board.turned = time.monotonic()  # its loop begins now
        self._thread = threading.Thread(target=self._run, name="genserver-http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and free the port; whoever is connected is cut. Once."""
        self._over = True
        self._wake_up.wake()
        if self._thread is None:
            self._selector.close()
        else:
            self._thread.join(STOP_SECONDS)
        self._listener.close()
        self._wake_up.close()

    def __enter__(self) -> Web:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # On the thread.

    def _run(self) -> None:
        selector = self._selector
        selector.register(self._wake_up.reader, selectors.EVENT_READ)
        selector.register(self._listener, selectors.EVENT_READ)
        try:
            while not self._over:
                ready = selector.select(TURN_SECONDS)
                for key, _ in ready:
                    if isinstance(key.data, _Caller) and key.fd in self._callers:
                        self._serve(key.data)
                # Last: who is here already is answered before a new one may push him out.
                if any(key.fileobj is self._listener for key, _ in ready):
                    self._accept()
                self._let_time_pass(time.monotonic())
        finally:
            for caller in list(self._callers.values()):
                self._cut(caller)
            selector.close()
            # Where this thread fails, connections are refused, not left without an answer.
            self._listener.close()

    def _accept(self) -> None:
        try:
            raw, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                self._selector.unregister(self._listener)
                self._resumes = time.monotonic() + TURN_SECONDS
            return  # or it is gone again
        raw.setblocking(False)
        if len(self._callers) >= MOST:
            self._cut(next(iter(self._callers.values())))
        caller = _Caller(raw, time.monotonic() + LONGEST)
        self._callers[raw.fileno()] = caller
        self._selector.register(raw, selectors.EVENT_READ, caller)
        self._serve(caller)

    def _let_time_pass(self, now: float) -> None:
        for caller in [c for c in self._callers.values() if c.due <= now]:
            self._cut(caller)
        if self._resumes is not None and self._resumes <= now:
            self._resumes = None
            self._selector.register(self._listener, selectors.EVENT_READ)

    def _serve(self, caller: _Caller) -> None:
        """Whatever can be done for it without waiting."""
        try:
            if caller.answer is None:
                self._receive(caller)
            if caller.answer:
                self._send(caller)
            elif caller.answer is not None:
                self._ignore(caller)
        except BlockingIOError:
            return
        except OSError:  # it went away
            self._cut(caller)

    def _receive(self, caller: _Caller) -> None:
        piece = caller.raw.recv(MAX_REQUEST + 1)
        caller.received += piece
        answer = reply(bytes(caller.received), self._page)
        if answer is not None:
            caller.answer = memoryview(answer)
            self._selector.modify(caller.raw, selectors.EVENT_WRITE, caller)
        elif not piece:
            self._cut(caller)

    def _send(self, caller: _Caller) -> None:
        assert caller.answer is not None  # the caller of this looked
        caller.answer = caller.answer[caller.raw.send(caller.answer) :]
        if not caller.answer:
            end_sending(caller.raw)
            caller.due = min(caller.due, time.monotonic() + LINGER)
            self._selector.modify(caller.raw, selectors.EVENT_READ, caller)

    def _ignore(self, caller: _Caller) -> None:
        piece = caller.raw.recv(MAX_IGNORED)
        caller.ignored += len(piece)
        if not piece or caller.ignored > MAX_IGNORED:
            self._cut(caller)

    def _cut(self, caller: _Caller) -> None:
        del self._callers[caller.raw.fileno()]
        self._selector.unregister(caller.raw)
        caller.raw.close()

    def _page(self, path: str) -> Page:
        return page_at(path, self.board, time.monotonic(), self._figures)

    def _figures(self) -> Page:
        """Made once for each look of the supervisor, however often it is asked for."""
        shown = self.board.shown
        assert shown is not None  # `page_at` looked, and it never becomes None again
        assert self._text is not None  # made by `start`
        if self._last is None or self._last[0] is not shown:
            self._last = shown, self._text(shown)
        return self._last[1]


def _open(endpoint: Endpoint, insecure_network: bool) -> tuple[Plain, Endpoint]:
    name = f"--http {str(endpoint).removeprefix('tcp://')}"
    try:
        if not insecure_network and beyond_this_host(endpoint):
            raise EndpointError(
                name,
                "beyond this host anyone could read the generator's name, its errors and rates, "
                "and keys do not help: take 127.0.0.1:PORT, or on a network that you trust "
                "--insecure-network (insecure_network=True)",
            )
        return listen(endpoint)
    except EndpointError as error:
        raise EndpointError(name, error.reason) from None
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "in use by another program; take another port, or 0 for any that is free"
        raise EndpointError(name, why if taken else str(error.strerror or error).lower()) from None


def _text() -> Callable[[Shown], Page]:
    """Loads the library, which nobody else needs, while the workers load theirs."""
    from importlib.metadata import PackageNotFoundError, version

    from .metrics import CONTENT_TYPE, exposition

    ours = ""
    with contextlib.suppress(PackageNotFoundError):  # it runs from a source tree
        ours = version("genserver-data")
    return lambda shown: Page(200, exposition(shown, ours), CONTENT_TYPE)
