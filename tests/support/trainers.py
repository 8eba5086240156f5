"""Trainers in processes of their own, which tests stop and kill. Imports no pytest."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .processes import PATIENCE

__all__ = ["ended"]


@contextmanager
def ended(process: subprocess.Popen[Any], seconds: float = 2 * PATIENCE) -> Iterator[None]:
    """The process is killed when the block ends, and after so many seconds in any case.

    Whoever waits for what it prints then reads its end.
    """
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        process.kill()
        process.wait(PATIENCE)
