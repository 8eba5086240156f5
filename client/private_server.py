"""The server that `from_generator` starts for itself: child processes that go with the dataset.

Owns the server process, from its start until nobody has the dataset any more or this process ends.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections.abc import Mapping
from typing import Any

from genserver.protocol.child import WORKER_VARIABLE
from genserver.protocol.child.server_process import ChildServer
from genserver.protocol.errors import GenserverError
from genserver.protocol.transport.platform import after_fork_in_child, has_ipc

__all__ = ["PrivateServer", "refuse_in_worker"]

#: Seconds that the ends of all servers may take together when this process ends.
EXIT_SECONDS = 10.0

#: Private servers of this process, and the threads that end others.
_running: set[PrivateServer] = set()
_ending: set[threading.Thread] = set()


def refuse_in_worker() -> None:
    """`GenserverError` in a worker process: its servers would have workers that start others."""
    if WORKER_VARIABLE in os.environ:
        raise GenserverError(
            "from_generator was called in a worker process, which would start servers without "
            "end: a module that the generator uses calls it when it is imported; call it in a "
            "function, or have the generator in a file of its own"
        )


class PrivateServer:
    """A server for this process alone: it listens at files that only its user can open. Any
    thread."""

    def __init__(
        self, target: str, function: bytes, options: Mapping[str, Any], *, seconds: float
    ) -> None:
        """Ready when constructed. ``options`` are those of the command line. Raises `ServerFailed`
        with the server's sentence."""
        bind = "ipc://*" if has_ipc() else "tcp://127.0.0.1:0"
        self._child = ChildServer(
            target, {"bind": bind, "quiet": True, **options}, {}, seconds=seconds, cwd=None,
            function=function,
        )  # fmt: skip
        _running.add(self)

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return self._child.endpoint

    def end_with(self, owner: object) -> None:
        """Have it stop when ``owner`` is no more."""
        weakref.finalize(owner, self._leave).atexit = False  # see _stop_all

    def stop(self) -> None:
        """End it; waits for that. Idempotent."""
        _running.discard(self)
        self._child.stop(drain=False)

    def _leave(self) -> None:
        """End it without keeping whoever dropped the dataset."""
        if self in _running:
            _running.discard(self)
            thread = threading.Thread(target=self._end, name="genserver-end", daemon=True)
            _ending.add(thread)
            thread.start()

    def _end(self) -> None:
        try:
            self._child.stop(drain=False)
        finally:
            _ending.discard(threading.current_thread())


def _stop_all() -> None:
    for server in list(_running):
        server.stop()
    for thread in list(_ending):
        thread.join(EXIT_SECONDS)


def _forget_all() -> None:
    """A forked child has no servers: they are its parent's."""
    _running.clear()
    _ending.clear()


atexit.register(_stop_all)
after_fork_in_child(_forget_all)
