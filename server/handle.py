"""`Server`: a ``genserver serve`` process started from Python. Public.

Owns one child process; a pipe on which it says when it is ready; its standard input, whose end
tells it that this process is gone; and a thread that shows what it prints (echo.py).
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from genserver.protocol.errors import GenserverError

from .echo import Echo

__all__ = ["Server", "ServerFailed"]

#: Above the supervisor's own ladder (design 8), so that SIGKILL is never needed.
STOP_SECONDS = 10.0


class ServerFailed(GenserverError):
    """The server process ended before it was ready; ``code`` is its exit code."""

    def __init__(self, target: str, code: int | None, said: str = "") -> None:
        super().__init__(target, code, said)
        self.target = target
        self.code = code
        self.said = said

    def __str__(self) -> str:
        what = "is not ready yet" if self.code is None else f"ended with exit code {self.code}"
        return f"the server of {self.target} {what}{': ' if self.said else ''}{self.said}"


#: Servers of this process that run, to be ended with it.
_running: set[Server] = set()


class Server:
    """A server as a context manager: ready inside the block, gone with all its workers after it.

    Options are those of the command line (``genserver serve --help``). The default endpoint is a
    free port of the loopback interface. What the workers print comes out at ``sys.stdout`` and
    ``sys.stderr`` with their number, in a notebook in the cell that runs; ``quiet`` leaves out the
    server's own lines. The server ends with this process, whatever ends that. Any thread.
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
        quiet: bool = False,
        ready_timeout: float = 300.0,
        cwd: str | None = None,
    ) -> None:
        """Start and wait until every worker is ready; `ServerFailed` otherwise."""
        self._target = target
        reader, writer = os.pipe()
        command = [sys.executable, "-m", "genserver.server", "serve", target, "--bind", bind]
        command += ["--stop-at-eof", *(["--quiet"] if quiet else [])]
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
                [*command, "--ready-fd", str(writer)], pass_fds=(writer,), cwd=cwd,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": _search_path()},
            )  # fmt: skip
        finally:
            os.close(writer)
        self._echo = Echo(self._process)
        _running.add(self)
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
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait(STOP_SECONDS)
        self._echo.close()
        _running.discard(self)
        return code

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
        with selectors.DefaultSelector() as selector:
            selector.register(reader, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                readable = selector.select(max(0.0, deadline - time.monotonic()))
                piece = os.read(reader, 4096) if readable else b""
                if not piece:
                    code = self._process.wait(STOP_SECONDS) if readable else None
                    self.stop()
                    raise ServerFailed(self._target, code, self._echo.last_error)
                line += piece
        return line.decode().strip()


def _search_path() -> str:
    """What the environment says and ``sys.path``: a worker finds what this process finds."""
    given = os.environ.get("PYTHONPATH", "")
    return os.pathsep.join(folder for folder in [given, *sys.path] if folder)


def _stop_all() -> None:
    for server in list(_running):
        server.stop()


def _forget_all() -> None:
    """A forked child has no servers: they are its parent's."""
    _running.clear()


atexit.register(_stop_all)
os.register_at_fork(after_in_child=_forget_all)
