"""Processes: as /proc shows them, their bounds, and waiting for a condition. Imports no pytest."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = [
    "PATIENCE",
    "SUPPORT",
    "alive",
    "ended",
    "eventually",
    "kill_one_of",
    "processes_of",
    "program",
    "within",
]

#: Where the generators are that tests serve.
SUPPORT = Path(__file__).parent

#: A bound on what a loaded machine may need for something that takes milliseconds.
PATIENCE = 20.0


def eventually(condition: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Whether ``condition`` comes true within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)  # between two looks, not instead of one
    return True


def processes_of(pid: int) -> list[int]:
    """The children of a process."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            if int(stat.rpartition(")")[2].split()[1]) == pid:
                found.append(int(entry.name))
    return found


def kill_one_of(pid: int, chance: random.Random) -> int:
    """SIGKILL for a child of a process, chosen by chance: which."""
    while True:
        child = chance.choice(processes_of(pid))
        with suppress(ProcessLookupError):  # one that was dying is gone between the two
            os.kill(child, signal.SIGKILL)
            return child


def alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextmanager
def within(seconds: float, otherwise: Callable[[], object]) -> Iterator[None]:
    """Call ``otherwise`` if the block takes longer, which should end whatever it waits for."""
    timer = threading.Timer(seconds, otherwise)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


@contextmanager
def ended(process: subprocess.Popen[Any], seconds: float = 2 * PATIENCE) -> Iterator[None]:
    """The process is killed when the block ends, and after so many seconds in any case.

    Whoever waits for what it prints then reads its end.
    """
    try:
        with within(seconds, process.kill):
            yield
    finally:
        process.kill()
        process.wait(PATIENCE)


@contextmanager
def program(
    text: str, *arguments: object, seconds: float = 2 * PATIENCE, errors: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Python of its own that runs ``text``, in this folder, and is spoken to through its pipes;
    see `ended`. ``errors`` is where its standard error goes, as `subprocess` has it."""
    command = [sys.executable, "-c", text, *map(str, arguments)]
    with (
        subprocess.Popen(
            command, cwd=SUPPORT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=errors,
        ) as process,
        ended(process, seconds),
    ):  # fmt: skip
        yield process
