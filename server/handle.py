"""`Server`: a ``genserver serve`` process started from Python. Public.

Owns one child process and an inherited pipe, on which the server says when it is ready.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from genserver.protocol.errors import GenserverError

__all__ = ["Server", "ServerFailed"]

#: Above the supervisor's own ladder (design 8), so that SIGKILL is never needed.
STOP_SECONDS = 10.0


class ServerFailed(GenserverError):
    """The server process ended before it was ready; ``code`` is its exit code."""

    def __init__(self, target: str, code: int | None) -> None:
        super().__init__(target, code)
        self.target = target
        self.code = code

    def __str__(self) -> str:
        what = "is not ready yet" if self.code is None else f"ended with exit code {self.code}"
        return f"the server of {self.target} {what}; its sentence is on standard error"


class Server:
    """A server as a context manager: ready inside the block, gone with all its workers after it.

    Options are those of the command line (``genserver serve --help``). The default endpoint is a
    free port of the loopback interface. Any thread, but the thread that starts it must outlive it:
    the kernel ends the server when that thread ends.
    """

    def __init__(
        self,
        target: str,
        *,
        bind: str = "tcp://127.0.0.1:0",
        workers: int | None = None,
        sharding: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        seed: int | None = None,
        spec: str | None = None,
        length: int | str | None = None,
        ready_timeout: float = 300.0,
        cwd: str | None = None,
    ) -> None:
        """Start and wait until every worker is ready; `ServerFailed` otherwise."""
        self._target = target
        reader, writer = os.pipe()
        command = [sys.executable, "-m", "genserver.server", "serve", target, "--bind", bind]
        optional = {
            "--workers": workers, "--sharding": sharding, "--seed": seed, "--spec": spec,
            "--length": length,
        }  # fmt: skip
        for flag, value in optional.items():
            command += [] if value is None else [flag, str(value)]
        for key, value in (arguments or {}).items():
            command += ["--arg", f"{key}={json.dumps(value)}"]
        try:
            self._process = subprocess.Popen(
                [*command, "--ready-fd", str(writer)], pass_fds=(writer,), cwd=cwd
            )
        finally:
            os.close(writer)
        try:
            self._endpoint = self._await_ready(reader, ready_timeout)
        finally:
            os.close(reader)

    @property
    def endpoint(self) -> str:
        """What to give to ``from_server``."""
        return self._endpoint

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    def stop(self, *, drain: bool = False) -> int:
        """End the server; its exit code. ``drain`` lets the elements in work be finished."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM if drain else signal.SIGINT)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(STOP_SECONDS)

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _await_ready(self, reader: int, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            readable, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
            piece = os.read(reader, 4096) if readable else b""
            if not piece:
                code = self._process.wait(STOP_SECONDS) if readable else None
                self.stop()
                raise ServerFailed(self._target, code)
            line += piece
        return line.decode().strip()
