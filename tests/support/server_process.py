"""``genserver serve`` as a user runs it, at ports of its own: it can be killed and restarted.

Owns the process, which a `Server` would not let go of, and the folder of its socket files. Imports
no pytest: benchmarks use it, too.
"""

from __future__ import annotations

import functools
import json
import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from genserver.protocol.endpoint import parse_endpoint

from .processes import PATIENCE, SUPPORT, alive, eventually, processes_of

__all__ = ["ServerProcess", "free_ports", "supports"]

#: Where free ports are looked for: below those that the kernel hands out by itself.
_FIRST, _LAST = 20_000, 30_000
#: What a worker is told in its environment (server/spawn.py).
_WORKER_VARIABLE = "GENSERVER_WORKER"
_COMMAND = (sys.executable, "-m", "genserver.server", "serve")


class ServerProcess:
    """A server at a fixed endpoint. Use as a context manager; ready when entered."""

    def __init__(
        self, target: str, *, workers: int, arguments: Mapping[str, Any] | None = None,
        options: Sequence[str] = (), bind: str = "",
    ) -> None:  # fmt: skip
        """``options`` are further words of the command line; without ``bind`` it listens at free
        ports of the loopback interface."""
        self.workers = workers
        self.endpoint = bind or f"tcp://127.0.0.1:{free_ports(workers + 1)[0]}"
        first = parse_endpoint(self.endpoint).port
        self.ports = list(range(first, first + workers + 1))
        self._target = target
        self._command = ["--bind", self.endpoint, "--workers", str(workers)]
        for name, value in (arguments or {}).items():
            self._command += ["--arg", f"{name}={json.dumps(value)}"]
        self._command += options
        #: Where its socket files are; empty when it has ended properly.
        self.folder = Path(tempfile.mkdtemp(prefix="gs"))  # short, for sun_path
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by close
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        reader, writer = os.pipe()
        path = [str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
        try:
            self._process = subprocess.Popen(
                [*_COMMAND, self._target, *self._command, "--ready-fd", str(writer)],
                pass_fds=(writer,), cwd=SUPPORT,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._errors,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(path),
                     "XDG_RUNTIME_DIR": str(self.folder)},
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(writer)
        ready = select.select([reader], [], [], PATIENCE)[0] and os.read(reader, 4096)
        os.close(reader)
        if not ready:
            self.kill()
            raise RuntimeError(f"the server is not ready: {self.said()}")

    def become(self, target: str) -> None:
        """Serve another generator from the next `start` on."""
        self._target = target

    def worker_pids(self) -> dict[int, int]:
        """The pids of the workers that live, by index."""
        found = {}
        for pid in filter(alive, processes_of(self.pid)):
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    name, _, value = line.partition(b"=")
                    if name.decode() == _WORKER_VARIABLE:
                        found[int(value)] = pid
        return found

    def kill(self) -> None:
        """SIGKILL to the supervisor; its workers must follow by themselves."""
        assert self._process is not None
        workers = list(self.worker_pids().values())
        self._process.kill()
        self._process.wait(PATIENCE)
        if not eventually(lambda: not any(map(alive, workers))):
            raise RuntimeError(f"workers outlived their supervisor: {workers}")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> int:
        """Have it end by a signal; the exit code."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(PATIENCE)

    def said(self) -> str:
        """What it wrote to standard error so far, over all its starts."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def close(self) -> None:
        """End it, whatever state it is in, and remove its folder."""
        if self._process is not None and self._process.poll() is None:
            with suppress(subprocess.TimeoutExpired):
                self.stop()
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._errors.close()
        shutil.rmtree(self.folder)

    def __enter__(self) -> ServerProcess:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def free_ports(count: int) -> list[int]:
    """Consecutive tcp ports of the loopback interface that nobody has."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        first = random.randrange(_FIRST, _LAST - count)
        ports = list(range(first, first + count))
        with ExitStack() as stack, suppress(OSError):
            for port in ports:
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return ports
    raise RuntimeError(f"no {count} free ports in a row")


@functools.cache
def supports(option: str) -> bool:
    """Whether ``genserver serve`` has an option, such as "--max-restarts"."""
    done = subprocess.run(
        [*_COMMAND, "--help"], capture_output=True, text=True, timeout=PATIENCE, check=True
    )
    return option in done.stdout
