"""The server that `from_generator` starts for itself: child processes that go with the dataset.

Owns the server process, from its start until nobody has the dataset any more or this process ends,
and one thread that ends what nobody has any more.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import weakref
from collections.abc import Mapping
from typing import Any

from genserver.protocol.child import WORKER_VARIABLE
from genserver.protocol.child.running import Running
from genserver.protocol.child.server_process import ChildServer
from genserver.protocol.errors import GenserverError
from genserver.protocol.keys import NONE
from genserver.protocol.transport.platform import after_fork_in_child, has_ipc

__all__ = ["PrivateServer", "refuse_in_worker"]

logger = logging.getLogger("genserver")

#: Between two looks of the thread, in seconds, at whether it is still needed.
TURN_SECONDS = 1.0

#: Private servers of this process that run, and those of them that nobody has any more, which are
#: no more than those: a finalizer may run anywhere, so it takes no lock and starts no thread.
_running: Running[PrivateServer] = Running()
_abandoned: queue.SimpleQueue[PrivateServer] = queue.SimpleQueue()
_lock = threading.Lock()
_janitor: threading.Thread | None = None


def refuse_in_worker() -> None:
    """`GenserverError` in a worker process: its servers would have workers that start others."""
    if WORKER_VARIABLE in os.environ:
        raise GenserverError(
            "from_generator was called in a worker process, which would start servers without "
            "end: a module that the generator uses calls it when it is imported; call it in a "
            "function, or have the generator in a file of its own"
        )


class PrivateServer:
    """A server for this process alone: it listens at files that only its user can open, or at a
    loopback port where the system has no such files. Any thread."""

    def __init__(
        self, target: str, function: bytes, options: Mapping[str, Any], *, seconds: float
    ) -> None:
        """Ready when constructed. ``options`` are those of the command line. Raises `ServerFailed`
        with the server's sentence."""
        bind = "ipc://*" if has_ipc() else "tcp://127.0.0.1:0"
        self._child = ChildServer(
            target, {"bind": bind, "quiet": True, "keys": NONE, **options}, {},
            seconds=seconds, cwd=None, function=function,
        )  # fmt: skip
        with _lock:
            _running.add(self)
            _start_janitor()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return self._child.endpoint

    def end_with(self, owner: object) -> None:
        """Have it stop when ``owner`` is no more."""
        weakref.finalize(owner, _abandoned.put, self).atexit = False  # see Running

    def stop(self) -> None:
        """End it; waits for that. Idempotent."""
        _running.discard(self)
        self._child.stop(drain=False)


def _start_janitor() -> None:
    """Under the lock: the thread runs as long as there are servers."""
    global _janitor
    if _janitor is None:
        _janitor = threading.Thread(target=_tidy, name="genserver-janitor", daemon=True)
        _janitor.start()


def _tidy() -> None:
    global _janitor
    while True:
        with _lock:
            if not _running:
                _janitor = None
                return
        try:
            _abandoned.get(timeout=TURN_SECONDS).stop()
        except queue.Empty:
            pass
        except Exception:  # the others must be ended whatever becomes of one
            logger.exception("a private server could not be ended")


def _forget_thread() -> None:
    """A forked child has no such thread, and its parent may have held the lock."""
    global _lock, _janitor
    _lock, _janitor = threading.Lock(), None


after_fork_in_child(_forget_thread)
