"""Every error that genserver raises, in one tree.

    GenserverError
    ├── ProtocolError
    │   ├── LocalProtocolError     our own code broke the protocol: a bug in genserver
    │   └── RemoteProtocolError    the peer broke it: another version, another program, damage
    ├── SpecError                  a declared element spec cannot be read
    ├── ElementError               an element cannot travel
    │   └── ElementMismatch        an element does not fit the element spec
    ├── EndpointError              an endpoint is malformed, unusable or refused
    ├── KeyFileError               keys that cannot be used: a folder, a file or a variable
    ├── NotGuarded                 a server with keys would let strangers in
    ├── Unreachable                nobody answered in time
    ├── Rejected                   the server answered, and refused
    │   └── KeyRejected            the keys of the two ends do not go together
    ├── GeneratorError             the user's generator raised
    ├── WorkerDied                 a worker process ended while it was needed
    ├── ServerStopped              the server said goodbye while it was needed
    ├── ServerChanged              another server took its place, and serves something else
    ├── ServerFailed               a server that this program started ended before it was ready
    ├── PeerLost                   a peer fell silent and stayed so
    ├── Stalled                    no first element came in time
    ├── Closed                     the client was closed, and its iterators with it
    ├── Interrupted                Ctrl-C while waiting for an element
    └── InternalError              a bug in genserver

What an error is made with are its fields, by the same names; the sentence is made in ``__str__``,
so that nobody parses it. In a TensorFlow pipeline it arrives in a ``tf.errors.UnknownError``.
Pure: imports nothing of genserver.
"""

from __future__ import annotations

import shlex

__all__ = [
    "Closed",
    "ElementError",
    "ElementMismatch",
    "EndpointError",
    "GeneratorError",
    "GenserverError",
    "InternalError",
    "Interrupted",
    "KeyFileError",
    "KeyRejected",
    "LocalProtocolError",
    "NotGuarded",
    "PeerLost",
    "ProtocolError",
    "Rejected",
    "RemoteProtocolError",
    "ServerChanged",
    "ServerFailed",
    "ServerStopped",
    "SpecError",
    "Stalled",
    "Unreachable",
    "WorkerDied",
]


#: Most characters of what is said of a breach. It may quote the peer, and is logged and sent back
#: in a header, where what quotes 64 KiB does not fit.
MAX_REASON = 500


class GenserverError(Exception):
    """Root of all errors that genserver raises on purpose: catch this one for all."""


class ProtocolError(GenserverError):
    """A message that the protocol does not allow. Abstract: one of the two below is raised."""

    def __init__(self, reason: str, *, state: str = "", event: str = "") -> None:
        if type(self) is ProtocolError:
            raise TypeError("raise LocalProtocolError or RemoteProtocolError")
        reason = _cut(reason)
        super().__init__(reason)
        self.reason = reason
        self.state = state
        self.event = event

    def __str__(self) -> str:
        where = f" (state {self.state}, event {self.event})" if self.state else ""
        return f"{self.reason}{where}"


def _cut(reason: str) -> str:
    return reason if len(reason) <= MAX_REASON else f"{reason[: MAX_REASON - 3]}..."


class LocalProtocolError(ProtocolError):
    """Our side tried what the protocol forbids: a bug in genserver."""


class RemoteProtocolError(ProtocolError):
    """The peer sent what the protocol forbids."""


class SpecError(GenserverError):
    """A declared element spec cannot be read, or names what cannot travel."""


class ElementError(GenserverError):
    """An element cannot travel: ``path`` says where in it, ``reason`` says why and what to do."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class ElementMismatch(ElementError):
    """An element does not fit the element spec; ``relaxed`` is a spec that would fit, or ""."""

    def __init__(self, path: str, reason: str, *, relaxed: str = "") -> None:
        super().__init__(path, reason)
        self.relaxed = relaxed

    def __str__(self) -> str:
        # Quoted for the shell that it is pasted into: keys of dicts may hold anything.
        hint = f"; a spec that fits both: --spec {shlex.quote(self.relaxed)}"
        hint = hint if self.relaxed else ""
        return f"{self.path}: {self.reason}{hint}"


class EndpointError(GenserverError):
    """An endpoint is malformed, cannot be bound, or is refused for safety."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(endpoint, reason)
        self.endpoint = endpoint
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.endpoint}: {self.reason}"


class KeyFileError(GenserverError):
    """Keys cannot be used or made: ``source`` is the file, the folder or the variable."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, reason)
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class NotGuarded(GenserverError):
    """A server with keys tried its own door at ``endpoint`` as a stranger, and was not refused."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(endpoint, reason)
        self.endpoint = endpoint
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.endpoint}: a stranger is not refused as he must be: {self.reason}"


class Unreachable(GenserverError):
    """Nobody answered at ``endpoint`` within ``seconds``; ``reason`` is what was found there.

    ``taken``: another program listens there.
    """

    def __init__(self, endpoint: str, seconds: float, reason: str, *, taken: bool = False) -> None:
        super().__init__(endpoint, seconds, reason)
        self.endpoint = endpoint
        self.seconds = seconds
        self.reason = reason
        self.taken = taken

    def __str__(self) -> str:
        within = f" within {self.seconds:.0f} s" if self.seconds else ""
        start = f". Start one with: genserver serve MODULE:GENERATOR --bind {self.endpoint}"
        # Where another program listens that could not be bound.
        hint = "" if self.taken else start
        return f"no genserver answered at {self.endpoint}{within}: {self.reason}{hint}"


class Rejected(GenserverError):
    """The server refused: ``code`` is one of the protocol's error codes."""

    def __init__(self, endpoint: str, code: str, text: str) -> None:
        super().__init__(endpoint, code, text)
        self.endpoint = endpoint
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"{self.endpoint} refused ({self.code}): {self.text}"


class KeyRejected(Rejected):
    """The keys of the two ends do not go together, or one end has none.

    ``code`` is "unknown_key", "wrong_server_key", "keys_needed" or "keys_unused".
    """


class GeneratorError(GenserverError):
    """The user's generator raised in a worker.

    ``kind`` is the exception's type, ``text`` its text and ``traceback`` its traceback's;
    ``element`` counts the worker's elements of this epoch from 0. An element that cannot travel
    has "ElementError" or "ElementMismatch" as its kind, and no traceback.
    """

    def __init__(
        self, *, worker: int, epoch: int, element: int, kind: str, text: str, traceback: str
    ) -> None:
        super().__init__(worker, epoch, element, kind, text)
        self.worker = worker
        self.epoch = epoch
        self.element = element
        self.kind = kind
        self.text = text
        self.traceback = traceback

    def __str__(self) -> str:
        refused = self.kind in ("ElementError", "ElementMismatch") and not self.traceback
        raised = f"the generator raised {self.kind}"
        head = (
            f"{'an element of the generator cannot be sent' if refused else raised}: {self.text} "
            f"[worker {self.worker}, epoch {self.epoch}, element {self.element}]"
        )
        return f"{head}\n{self.traceback}" if self.traceback else head


class WorkerDied(GenserverError):
    """A worker process ended while it was needed; ``cause`` names the signal or the code."""

    def __init__(self, *, endpoint: str, worker: int, cause: str) -> None:
        super().__init__(endpoint, worker, cause)
        self.endpoint = endpoint
        self.worker = worker
        self.cause = cause

    def __str__(self) -> str:
        return f"worker {self.worker} of {self.endpoint} died: {self.cause}"


class ServerStopped(GenserverError):
    """The server said goodbye while elements were still wanted from it."""

    def __init__(self, *, endpoint: str, reason: str) -> None:
        super().__init__(endpoint, reason)
        self.endpoint = endpoint
        self.reason = reason

    def __str__(self) -> str:
        return f"the server at {self.endpoint} stopped: {self.reason}"


class ServerChanged(GenserverError):
    """Another server answers at ``endpoint``: its ``what`` is ``now``, and was ``before``.

    Elements of two different passes are never mixed.
    """

    def __init__(self, endpoint: str, what: str, before: str, now: str) -> None:
        super().__init__(endpoint, what, before, now)
        self.endpoint = endpoint
        self.what = what
        self.before = before
        self.now = now

    def __str__(self) -> str:
        return (
            f"another server answers at {self.endpoint}, and does not serve the same: {self.what} "
            f"is {self.now}, before it was {self.before}"
        )


class PeerLost(GenserverError):
    """A peer has been silent for ``seconds`` and new connections did not help.

    ``states`` has a line for each worker of the server: its state, how often it was started again,
    when it was heard and why it died.
    """

    def __init__(self, *, endpoint: str, peer: str, seconds: float, states: str = "") -> None:
        super().__init__(endpoint, peer, seconds, states)
        self.endpoint = endpoint
        self.peer = peer
        self.seconds = seconds
        self.states = states

    def __str__(self) -> str:
        silent = f"has been silent for {self.seconds:.0f} s; given up"
        table = f"\n{self.states}" if self.states else ""
        return f"{self.peer} of {self.endpoint} {silent}{table}"


class Stalled(GenserverError):
    """No first element came within ``seconds``; ``workers`` says how each worker fares."""

    def __init__(self, *, seconds: float, workers: str) -> None:
        super().__init__(seconds, workers)
        self.seconds = seconds
        self.workers = workers

    def __str__(self) -> str:
        return f"no first element within {self.seconds:.0f} s; {self.workers}"


class Closed(GenserverError):
    """The client was closed while one of its iterators was read."""

    def __str__(self) -> str:
        return "the client was closed, and this iterator with it"


class Interrupted(GenserverError):
    """Ctrl-C arrived while waiting for an element."""

    def __str__(self) -> str:
        return "interrupted while waiting for an element"


class InternalError(GenserverError):
    """genserver's own code failed; the log has the traceback."""

    def __str__(self) -> str:
        return f"a bug in genserver, please report it with the log: {self.args[0]}"


class ServerFailed(GenserverError):
    """The server ended before it was ready: its exit code ``code``, its sentence ``said``."""

    def __init__(self, target: str, code: int | None, said: str = "") -> None:
        super().__init__(target, code, said)
        self.target = target
        self.code = code
        self.said = said

    def __str__(self) -> str:
        what = "is not ready yet" if self.code is None else f"ended with exit code {self.code}"
        return f"the server of {self.target} {what}{': ' if self.said else ''}{self.said}"
