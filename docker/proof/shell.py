"""Runs commands with a bound on their time, and waits for conditions with one."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

__all__ = ["Failed", "call", "output", "wait_for"]

T = TypeVar("T")

#: Seconds between two looks at a condition.
LOOK_EVERY = 0.2


class Failed(Exception):
    """A step did not do what it must; says which, in one sentence."""


def call(
    command: Sequence[str],
    *,
    seconds: float = 60,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run to its end, whatever its exit code; standard error is mixed into the output."""
    try:
        return subprocess.run(
            command, env=None if env is None else {**os.environ, **env}, cwd=cwd, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=seconds, check=False, errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{' '.join(command)} took longer than {seconds:.0f} s") from error


def output(
    command: Sequence[str],
    *,
    seconds: float = 60,
    env: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> str:
    """What it printed; `Failed`, with its last lines, unless its exit code is 0."""
    done = call(command, seconds=seconds, env=env, cwd=cwd)
    if done.returncode:
        last = "\n".join(done.stdout.splitlines()[-15:])
        raise Failed(f"{' '.join(command)} ended with {done.returncode}:\n{last}")
    return done.stdout.strip()


def wait_for(what: str, seconds: float, look: Callable[[], T | None]) -> T:
    """The first answer that is true; `Failed` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds:.0f} s in vain until {what}")
        time.sleep(LOOK_EVERY)
    return found
