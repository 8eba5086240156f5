"""A ``genserver serve`` process, as the program that started it holds it.

Owns the process; a pipe on which it says when it is ready; its standard input, whose end tells it
that this process is gone; and a thread that shows what it prints (echo.py).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ServerFailed
from .echo import Echo
from .inherited import offered, offered_bytes

__all__ = ["ChildServer"]

#: Above the supervisor's own ladder (design 8), so that SIGKILL is never needed.
STOP_SECONDS = 10.0
#: The longest single wait, in seconds.
TURN_SECONDS = 0.5


class ChildServer:
    """Ready when constructed. Any thread."""

    def __init__(
        self,
        target: str,
        options: Mapping[str, Any],
        arguments: dict[str, Any],
        *,
        seconds: float,
        cwd: str | None,
        function: bytes | None = None,
        items: Sequence[Any] | None = None,
    ) -> None:
        """``options`` are the command line's, True for one that takes no value. ``function`` is
        what its workers run instead of importing ``target``, which then is no more than its name.

        Waits ``seconds``, or raises `ServerFailed`.
        """
        self.target = target
        command = [sys.executable, "-m", "genserver.server", "serve", target, "--stop-at-eof"]
        for name, value in options.items():
            if value is not None and value is not False:
                flag = "--" + name.replace("_", "-")
                command += [flag] if value is True else [flag, str(value)]
        with contextlib.ExitStack() as theirs:
            inherited = {"--arguments-fd": theirs.enter_context(offered(arguments))}
            if function is not None:
                inherited["--function-fd"] = theirs.enter_context(offered_bytes(function))
            if items is not None:
                inherited["--items-fd"] = theirs.enter_context(offered({"items": list(items)}))
            reader, inherited["--ready-fd"] = os.pipe()
            theirs.callback(os.close, inherited["--ready-fd"])
            for flag, descriptor in inherited.items():
                command += [flag, str(descriptor)]
            try:
                # A session of its own: Ctrl-C in a terminal and a notebook's interrupt go to the
                # whole group, and mean this process.
                self._process = subprocess.Popen(
                    command, pass_fds=tuple(inherited.values()), cwd=cwd,
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    env={**os.environ, "PYTHONPATH": _search_path()}, start_new_session=True,
                )  # fmt: skip
            except BaseException:
                os.close(reader)
                raise
        self._echo = Echo(self._process)
        try:
            self.endpoint = self._await_ready(reader, seconds)
        except BaseException:  # Ctrl-C as well: nobody else has this process to stop it
            self.stop(drain=False)
            raise
        finally:
            os.close(reader)

    @property
    def pid(self) -> int:
        """The supervisor's."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """The exit code once the process has ended, else None."""
        return self._process.poll()

    def interrupt(self) -> None:
        """Have it end; does not wait."""
        self._process.send_signal(signal.SIGINT)

    def stop(self, *, drain: bool) -> int:
        """End the process; its exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM if drain else signal.SIGINT)
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait(STOP_SECONDS)
        self._echo.close()
        return code

    def _await_ready(self, reader: int, seconds: float) -> str:
        deadline = time.monotonic() + seconds
        line = b""
        with selectors.DefaultSelector() as selector:
            selector.register(reader, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                left = max(0.0, deadline - time.monotonic())
                # A Ctrl-C just before a wait begins does not end it.
                readable = selector.select(min(TURN_SECONDS, left))
                piece = os.read(reader, 4096) if readable else b""
                if not piece and (readable or not left):
                    code = self._process.wait(STOP_SECONDS) if readable else None
                    self.stop(drain=False)
                    raise ServerFailed(self.target, code, self._echo.last_error)
                line += piece
        return line.decode().strip()


def _search_path() -> str:
    """What the environment says and ``sys.path``: a worker finds what this process finds.

    Like the import system, it leaves out what is no text; "" is this process's folder.
    """
    given = os.environ.get("PYTHONPATH", "")
    ours = [os.path.abspath(folder) for folder in sys.path if isinstance(folder, str)]
    return os.pathsep.join([*([given] if given else []), *ours])
