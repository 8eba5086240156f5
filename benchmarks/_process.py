"""Programs of this folder that answer lines with lines, and their end. Measures nothing."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

HERE = Path(__file__).parent
#: Seconds that a process may take to end by itself, and beyond what it was asked to measure.
END_SECONDS, SPARE_SECONDS = 15.0, 120.0
#: The same after Ctrl-C, and what its process group gets after each signal.
HURRIED_SECONDS, GROUP_SECONDS = 0.5, 3.0
#: Seconds between two looks whether a silent process is alive.
LOOK_EVERY = 0.5


class ProcessFailed(Exception):
    """It ended, or did not answer; the text is the reason."""


class Process:
    """One program, gone with all that it started when the block ends, however it ends.

    It has a process group of its own: Ctrl-C reaches this program, which ends the others.
    """

    def __init__(self, program: str, *arguments: str) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by end
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / program), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            cwd=HERE, start_new_session=True,
        )  # fmt: skip
        self._buffer = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, message: Any) -> None:
        """Send a line without waiting for the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._failure() from None

    def answer(self, seconds: float) -> Any:
        """The next line; `ProcessFailed` when there is none within ``seconds`` and some spare."""
        deadline = time.monotonic() + seconds + SPARE_SECONDS
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            readable, _, _ = select.select([descriptor], [], [], LOOK_EVERY)
            data = os.read(descriptor, 2**16) if readable else b""
            self._buffer += data
            if not data and (readable or self._process.poll() is not None):
                raise self._failure()
            if time.monotonic() > deadline:
                raise ProcessFailed(f"no answer within {seconds + SPARE_SECONDS:.0f} s")
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def errors(self) -> str:
        """What it wrote to standard error so far."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def end(self, seconds: float = END_SECONDS) -> None:
        """Ask it to end, and see to it after some seconds. Idempotent."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it is gone already
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):  # in the middle of a slice
            self._process.wait(seconds)
        # Python's tracker of shared memory ignores the first of these, and then tidies up.
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._group_lives(number):
                self._wait_for_group(GROUP_SECONDS)
        self._process.stdout.close()
        self._errors.close()

    def _group_lives(self, number: int) -> bool:
        """Signal whatever is left of the process group, with 0 only ask."""
        self._process.poll()  # a child that nobody waited for would count
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return False
        return True

    def _wait_for_group(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._group_lives(0) and time.monotonic() < deadline:
            time.sleep(0.02)

    def _failure(self) -> ProcessFailed:
        lines = [line.strip() for line in self.errors().splitlines() if line.strip()]
        return ProcessFailed(f"failed: {lines[-1] if lines else 'without a word'}")

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(END_SECONDS if kind is None else HURRIED_SECONDS)
