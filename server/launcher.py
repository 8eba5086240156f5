"""Starts the worker processes of one server: the first ones before the server itself has loaded.

Interpreters and their libraries take most of the time to the first element, so both sides load at
once; importing this module costs little. A worker runs no code of the user's before it is told that
the server has its endpoint. Owns the private folder of the workers' sockets, and each process until
a supervisor takes it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from types import TracebackType

from genserver.protocol.transport.platform import has_ipc

from .config import ServeConfig
from .private_folder import PrivateFolder
from .spawn import WorkerProcess

__all__ = ["Launcher", "SIGNALS"]

#: What the supervisor handles; kept waiting from the first worker on until it can.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
#: Seconds that a killed process may take to end; only an uninterruptible system call takes longer.
KILL_SECONDS = 0.5


class Launcher:
    """A context manager: after its block no process that was left with it runs, and the folder is
    gone. Main thread only."""

    def __init__(self, config: ServeConfig) -> None:
        self._config = config
        self._folder: PrivateFolder | None = None
        self._waiting: dict[int, WorkerProcess] = {}

    def start_first(self) -> None:
        """Start the workers that are needed in any case; signals wait for the supervisor."""
        for index in range(self._config.workers or 1):
            self._waiting[index] = self._start(index)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def take(self, index: int) -> WorkerProcess:
        """A worker's process, which is the caller's from now on; started if it was not yet."""
        return self._waiting.pop(index, None) or self._start(index)

    def restart(self, index: int, port: int) -> WorkerProcess:
        """The next process of a worker that ended, with the same endpoints; the caller's."""
        self._remove_files(index)
        return self._start(index, port)

    def __enter__(self) -> Launcher:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._waiting.values():
            process.signal_group(signal.SIGKILL)
        for process in self._waiting.values():
            process.await_end(KILL_SECONDS)  # it might bind in the folder yet
            process.close()
        if self._folder is not None:
            self._folder.remove()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _remove_files(self, index: int) -> None:
        """What a dead worker bound: the lock may be held by a child of it that is still ending."""
        if self._folder is not None:
            for left in Path(self._folder.path).glob(f"{index}.*"):
                left.unlink(missing_ok=True)

    def _start(self, index: int, port: int = 0) -> WorkerProcess:
        if self._folder is None and has_ipc():
            self._folder = PrivateFolder()
        folder = self._folder
        tcp = self._config.worker_endpoint(self._config.endpoint, index)
        if tcp is not None and port:
            tcp = tcp.with_port(port)
        return WorkerProcess(
            {
                "parent": os.getpid(),
                "index": index,
                "target": self._config.target,
                "arguments": self._config.arguments,
                "sharding": self._config.sharding,
                "ipc": "" if folder is None else os.path.join(folder.path, f"{index}.sock"),
                "tcp": "" if tcp is None else str(tcp),
            }
        )
