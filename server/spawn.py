"""The process boundary: a worker is a fresh interpreter that we exec, never a fork of ours.

Owns one child process, its process group, the two pipes of reports.py and the two that carry what
it prints. The child's `__main__` is not the parent's; it gets the parent's folder and module search
path.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

from genserver.protocol.child import WORKER_VARIABLE
from genserver.protocol.child.inherited import offered

from .reports import Command, LineReader, write_line

__all__ = ["STACKS_SIGNAL", "WorkerProcess", "describe_exit"]

#: One thread each: the workers are the parallelism (petastorm #432, tensorpack's tutorial).
_ONE_THREAD = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "BLIS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS",
)  # fmt: skip
#: The devices belong to the trainer.
_NO_DEVICES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")

#: Has a worker print the stacks of its threads.
STACKS_SIGNAL = signal.SIGUSR2
_BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from genserver.server.worker_main import main; main(*map(int, sys.argv[2:]))"
)


class WorkerProcess:
    """One worker, as the supervisor holds it. Main thread only (parent-death is per thread)."""

    def __init__(self, config: dict[str, Any], page: int) -> None:
        """``config`` is plain data; ``page`` is the descriptor of the worker's progress page. That
        of ``config["function"]``, if there is one, is inherited too."""
        environment = dict(os.environ)
        for name in _ONE_THREAD:
            environment.setdefault(name, "1")
        environment.update(dict.fromkeys(_NO_DEVICES, "-1"))
        environment["PYTHONUNBUFFERED"] = "1"
        environment[WORKER_VARIABLE] = str(config["index"])
        with contextlib.ExitStack() as undone, contextlib.ExitStack() as theirs:
            down_read, self._down = _pipe(theirs, undone)
            up_write, up = _pipe(theirs, undone, reading=False)
            #: What the worker prints, to be read without blocking.
            output_write, self.output = _pipe(theirs, undone, reading=False)
            errors_write, self.errors = _pipe(theirs, undone, reading=False)
            inherited = (theirs.enter_context(offered(config)), down_read, up_write, page)
            function = () if config["function"] is None else (config["function"],)
            # A group of its own: Ctrl-C in the terminal reaches the supervisor alone, and what the
            # generator starts can be ended with it.
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOTSTRAP, json.dumps(sys.path), *map(str, inherited)],
                stdin=subprocess.DEVNULL, stdout=output_write, stderr=errors_write,
                pass_fds=(*inherited, *function), env=environment, start_new_session=True,
            )  # fmt: skip
            undone.pop_all()
        for ours in (self.output, self.errors):
            os.set_blocking(ours, False)
        self.fd = up
        self.reader = LineReader(up)

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, command: Command) -> None:
        """Write to the worker; one that is gone is noticed by its exit."""
        with contextlib.suppress(BrokenPipeError):
            write_line(self._down, command)

    def exit_code(self) -> int | None:
        """The exit code once the process has ended (negative: the signal), else None."""
        return self._process.poll()

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the worker and whatever it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def dump_stacks(self) -> None:
        """Have it print where its threads are, even if one of them keeps the interpreter."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, STACKS_SIGNAL)

    def await_end(self, seconds: float) -> None:
        """Wait until the process has ended, for ``seconds`` at most."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def close(self) -> None:
        """Close the pipes, after the process has ended."""
        for ours in (self._down, self.fd, self.output, self.errors):
            os.close(ours)


def _pipe(
    theirs: contextlib.ExitStack, ours: contextlib.ExitStack, *, reading: bool = True
) -> tuple[int, int]:
    """The worker's end, for reading or not, and ours, and what closes them."""
    read, write = os.pipe()
    pair = (read, write) if reading else (write, read)
    theirs.callback(os.close, pair[0])
    ours.callback(os.close, pair[1])
    return pair


def describe_exit(code: int) -> str:
    """A sentence's end for an exit code, with the likely cause of a signal."""
    if code >= 0:
        return f"exit code {code}"
    number = -code
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    likely = {
        "SIGKILL": ", perhaps out of memory",
        "SIGSEGV": ", a crash in native code",
        "SIGABRT": ", an abort in native code",
        "SIGBUS": ", a crash in native code or a full file system under a mapped file",
    }.get(name, "")
    return f"{name}{likely}"
