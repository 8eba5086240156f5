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
    """The server process ended before it was ready, with exit code ``code``.

    ``code`` is None when it was not ready in time; it was stopped then.
    """

    def __init__(self, target: str, code: int | None) -> None:
        super().__init__(target, code)
        self.target = target
        self.code = code

    def __str__(self) -> str:
        what = "is not ready yet" if self.code is None else f"ended with exit code {self.code}"
        return f"the server of {self.target} {what}; its sentence is on standard error"


class Server:
    """A server as a context manager: ready inside the block, gone with all its workers after it.

    The thread that starts it must outlive it: the kernel ends the server when that thread ends.
    Everything else may be called from any thread.
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
        """Making one starts the server and waits until every worker is ready, else `ServerFailed`.

        All but the last two are the options of ``genserver serve``.

        * ``target``: "MODULE:GENERATOR"; the module is looked for in ``cwd``, then where Python
          looks.
        * ``bind``: the endpoint to listen at; the default is a free port of the loopback interface.
        * ``workers``: processes; default the usable cores less one where the generator takes a
          ``worker``, else 1.
        * ``sharding``: "static", each worker makes its share, or "off", each makes everything.
        * ``arguments``: keyword arguments of the generator: numbers, texts, lists, dicts, as JSON
          has them.
        * ``seed``: what a trainer that names none takes for all random states; default random.
        * ``spec``: the element spec as text, e.g. "(float32[None,64], int64[])"; default that of
          the first element.
        * ``length``: elements of one pass over all workers (of each with sharding off), or
          "infinite"; default unknown.
        * ``ready_timeout``: seconds until the server must be ready.
        * ``cwd``: the folder that the server runs in; default this process's.
        """
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
        """What to give to ``from_server``, e.g. ``tcp://127.0.0.1:41219``."""
        return self._endpoint

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        return self._process.pid

    def stop(self, *, drain: bool = False) -> int:
        """End the server and return its exit code; again, it returns the same.

        ``drain`` lets the workers finish the elements that they are making, up to 6 s; else they
        are left after 0.3 s.
        """
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
