"""Runs inputs under all limits: nothing may run, each has one second, and memory stays."""

from __future__ import annotations

import time
from pathlib import Path

from .target import run, warm
from .watch import watched

__all__ = ["Limits", "Slow", "Swollen", "Wordy"]

#: Most processor seconds of one input.
MAX_SECONDS = 1.0
#: Most MiB that all inputs together may add.
MAX_GROWTH = 64


class Slow(AssertionError):
    """One input took too long."""


class Wordy(AssertionError):
    """What is said of a breach quotes the peer at length."""


class Swollen(AssertionError):
    """The process has grown."""


class Limits:
    """Judges inputs; the process at the first of them is the baseline."""

    def __init__(self) -> None:
        warm()
        self._baseline = _peak()
        self.inputs = 0

    def judge(self, data: bytes) -> str:
        """What became of the input; raises on a finding."""
        self.inputs += 1
        began = time.thread_time()
        with watched():
            outcome = run(data)
        took = time.thread_time() - began
        if outcome == "refused at length":
            raise Wordy("a breach that is told in more than 500 characters")
        if took > MAX_SECONDS:
            raise Slow(f"{took:.1f} s for one input")
        if self.growth > MAX_GROWTH:
            raise Swollen(f"{self.growth} MiB more than at the beginning")
        return outcome

    @property
    def growth(self) -> int:
        """MiB that the process has grown by, at most, since the beginning."""
        return _peak() - self._baseline


def _peak() -> int:
    """MiB; of this program alone, where getrusage also counts what the one before it had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 2**10
    raise AssertionError("the system does not tell")
