"""``Server(..., workers=0)``: the generator on a thread of this process.

Owns that thread. It is a daemon: a generator that never comes back must not keep the process.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from genserver.protocol.endpoint import Endpoint
from genserver.protocol.errors import GenserverError, ServerFailed
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.messages import Status

from .announce import start_up_lines
from .config import ConfigError, make_config
from .in_process import InProcess

__all__ = ["GuestServer"]

#: Seconds that the generator gets to come to its next ``yield``.
STOP_SECONDS = 10.0
#: Between two looks at the thread, Ctrl-C is heard.
TURN_SECONDS = 0.2


class GuestServer:
    """Ready when constructed. Any thread."""

    def __init__(
        self, target: str, options: Mapping[str, Any], arguments: dict[str, Any], *, quiet: bool,
        items: Sequence[Any] | None = None,
    ) -> None:  # fmt: skip
        """``options`` are those of `make_config`; arguments go through JSON, as to a process.

        Raises `ServerFailed`.
        """
        self.target = target
        self._quiet = quiet
        self._ready = threading.Event()
        self._error: GenserverError | None = None
        self._code = ExitCode.OK
        self.endpoint = ""
        self.pid = os.getpid()
        try:
            given = json.loads(json.dumps(arguments))
            listed = None if items is None else json.loads(json.dumps(list(items)))
            config = make_config(target, workers=0, arguments=given, items=listed, **options)
        except ConfigError as error:
            raise ServerFailed(target, int(error.code), str(error)) from error
        self._server = InProcess(config, announce=self._announce)
        self._thread = threading.Thread(target=self._run, name="genserver-generator", daemon=True)
        try:
            self._thread.start()
            # As long as the generator's first element takes: its user may be in a debugger.
            while self._thread.is_alive() and not self._ready.wait(TURN_SECONDS):
                pass
        except BaseException:  # Ctrl-C: nobody else could end the thread
            self._server.stop()
            raise
        if self._error is not None:
            raise ServerFailed(target, int(self._code), str(self._error)) from self._error
        if not self._ready.is_set():
            raise ServerFailed(target, int(ExitCode.WORKER_DIED), "its thread ended; see above why")

    def stop(self, *, drain: bool) -> int:  # noqa: ARG002  # nothing can be cut short here
        """End the server after the element in work; the exit code, 143 if it does not come."""
        self._server.stop()
        deadline = time.monotonic() + STOP_SECONDS
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(TURN_SECONDS)
        return int(ExitCode.TERMINATED if self._thread.is_alive() else self._code)

    def _run(self) -> None:
        try:
            self._code = self._server.run()
        except ConfigError as error:
            self._error, self._code = error, error.code
        except GenserverError as error:
            self._error, self._code = error, ExitCode.UNAVAILABLE

    def _announce(self, endpoint: Endpoint, status: Status) -> None:
        self.endpoint = str(endpoint)
        if not self._quiet:
            print(start_up_lines(endpoint, status), flush=True)  # noqa: T201  # as a child's echo
        self._ready.set()
