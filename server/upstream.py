"""The server of the stage before this one: a child process of the supervisor.

Owns the process, and a thread that starts it, since that takes as long as the user's module and the
first element do. It ends when the supervisor does, whose end closes its standard input.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from genserver.protocol.child.inherited import read_whole
from genserver.protocol.child.server_process import ChildServer
from genserver.protocol.errors import ServerFailed
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.keys import NONE
from genserver.protocol.transport.platform import has_ipc

from .config import ServeConfig

__all__ = ["UpstreamServer"]

#: Seconds until it must be ready: what a trainer waits for a first element (design 8).
READY_SECONDS = 300.0


class UpstreamServer:
    """One process. The loop's thread only, but for what it is told of."""

    def __init__(
        self, config: ServeConfig, options: Mapping[str, Any], *,
        ready: Callable[[str], None], failed: Callable[[ExitCode, str], None],
    ) -> None:  # fmt: skip
        """``options`` are the stage's own. ``ready`` is told the endpoint and ``failed`` why there
        is none, on a thread of its own."""
        self._config = config
        self._options = {
            **options, "bind": "ipc://*" if has_ipc() else "tcp://127.0.0.1:0", "quiet": True,
            "keys": NONE, "stage": 1, "seed": config.seed, "recovery": config.recovery,
            "max_rerun": config.max_rerun, "max_restarts": config.max_restarts,
            "item_timeout": config.item_timeout,
        }  # fmt: skip
        self._ready, self._failed = ready, failed
        self._child: ChildServer | None = None
        self._stopping = False
        threading.Thread(target=self._start, name="genserver-upstream", daemon=True).start()

    @property
    def pid(self) -> int | None:
        """Of its supervisor, once it is ready."""
        return None if self._child is None else self._child.pid

    def exit_code(self) -> int | None:
        """Where it ended although nobody had it stop."""
        return None if self._child is None or self._stopping else self._child.exit_code()

    def interrupt(self) -> None:
        """Have it end; does not wait."""
        if self._child is not None and not self._stopping:
            self._stopping = True
            self._child.interrupt()

    def stop(self) -> None:
        """End it, and wait for that."""
        self.interrupt()
        if self._child is not None:
            self._child.stop(drain=False)

    def _start(self) -> None:
        config = self._config
        try:
            self._child = ChildServer(
                config.target, self._options, {}, seconds=READY_SECONDS, cwd=None,
                function=None if config.function is None else read_whole(config.function),
            )  # fmt: skip
        except ServerFailed as error:
            code = next((c for c in ExitCode if c == error.code), ExitCode.WORKER_DIED)
            self._failed(code, error.said or str(error))
        else:
            self._ready(self._child.endpoint)
