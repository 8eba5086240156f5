"""Starts the worker processes of one server: the first ones before the server itself has loaded.

Interpreters and their libraries take most of the time to the first element, so both sides load at
once; importing this module costs little. A worker runs no code of the user's before it is told that
the server has its endpoint. Owns the private folder of the workers' sockets, their progress pages,
and each process until a supervisor takes it.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from genserver.protocol.endpoint import ANY_PATH, Endpoint
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.transport.platform import has_ipc

from .actions import Spawn
from .config import ConfigError, ServeConfig
from .private_folder import PrivateFolder
from .progress_page import ProgressPage
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
        #: By worker; the same for all its lives.
        self.pages: dict[int, ProgressPage] = {}

    def start_first(self) -> None:
        """Start the workers that are needed in any case; signals wait for the supervisor."""
        for index in range(self._config.workers or 1):
            try:
                self._waiting[index] = self._start(Spawn(index))
            except OSError as error:
                text = f"worker {index} cannot be started: {error}"
                raise ConfigError(text, ExitCode.WORKER_DIED) from None
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def placed(self, config: ServeConfig) -> ServeConfig:
        """The same, with a file in the private folder where any will do."""
        if config.endpoint.path != ANY_PATH:
            return config
        if self._folder is None:
            raise ConfigError(f"ipc://{ANY_PATH} needs ipc, which this system has not")
        return replace(config, endpoint=Endpoint("ipc", path=f"{self._folder.path}/server.sock"))

    def take(self, spawn: Spawn) -> WorkerProcess:
        """A worker's process, which is the caller's from now on; started if it was not yet."""
        if spawn.life:
            self._remove_files(spawn.index)
        return self._waiting.pop(spawn.index, None) or self._start(spawn)

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
        for page in self.pages.values():
            page.close()
        if self._folder is not None:
            self._folder.remove()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _remove_files(self, index: int) -> None:
        """What a dead worker bound: the lock may be held by a child of it that is still ending."""
        if self._folder is not None:
            for left in Path(self._folder.path).glob(f"{index}.*"):
                left.unlink(missing_ok=True)

    def _start(self, spawn: Spawn) -> WorkerProcess:
        if self._folder is None and has_ipc():
            self._folder = PrivateFolder()
        index, folder, config = spawn.index, self._folder, self._config
        page = self.pages.get(index)
        if page is None:
            page = self.pages[index] = ProgressPage.shared()
        tcp = config.worker_endpoint(config.endpoint, index)
        if tcp is not None and spawn.port:
            tcp = tcp.with_port(spawn.port)
        return WorkerProcess(
            {
                "parent": os.getpid(),
                "index": index,
                "life": spawn.life,
                "target": config.target,
                "arguments": config.arguments,
                "items": config.items,
                "concurrency": config.concurrency,
                "sharding": config.sharding,
                "recovery": config.recovery,
                "max_rerun": config.max_rerun,
                "max_items": config.max_items,
                "workers": config.workers,
                "length": config.length,
                "replay": config.replay,
                "item_timeout": config.item_timeout,
                "ipc": "" if folder is None else os.path.join(folder.path, f"{index}.sock"),
                "tcp": "" if tcp is None else str(tcp),
                "keys": None if config.keys is None else config.keys.to_wire(),
                "function": config.function,
                "stage": config.stage,
            },
            page.descriptor,
        )
