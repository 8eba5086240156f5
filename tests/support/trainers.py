"""Trainers in processes of their own, which tests stop and kill. Imports no pytest."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from genserver.client import Client

from .checker import Checker, consume, limited
from .processes import PATIENCE, eventually

__all__ = ["ended", "is_free", "kill_in_a_pass"]

#: Holds several streams to each worker, every one of which has brought an element of hashed.py.
#: The budget keeps them open: what fits would come, and end, without anybody's asking.
_HOLDER = """
import sys
from genserver.client import Client

endpoint, streams, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = Client(endpoint, memory_budget=10_000)
passes = [iter(client) for _ in range(streams)]
for elements in passes:
    seen = set()
    while len(seen) < workers:
        seen.add(int(next(elements)[0][0]))
print("all", flush=True)
sys.stdin.readline()
"""


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


def kill_in_a_pass(endpoint: str, streams: int, workers: int) -> None:
    """SIGKILL a trainer that has so many streams open to each worker."""
    with (
        subprocess.Popen(
            [sys.executable, "-c", _HOLDER, endpoint, str(streams), str(workers)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        ) as trainer,
        ended(trainer),
    ):  # fmt: skip
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == "all\n"


def is_free(endpoint: str, each: Sequence[int | None]) -> bool:
    """Whether a trainer gets its whole pass, soon: a dead one is not noticed in an instant."""

    def whole() -> bool:
        checker = Checker(each)
        with Client(endpoint) as client, limited(client, PATIENCE):
            end = consume(client, checker)
        checker.check(end)
        return end is None

    return eventually(whole)
