"""Memory of a tree of processes, each page counted once: the proportional set size (Linux)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

MIB = 2**20


def pss(pid: int) -> int:
    """Bytes of one process; a page that n processes share counts as its nth part in each."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"no Pss for {pid}")


def children(pid: int) -> list[int]:
    """Processes that any thread of ``pid`` started, and that live."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(word) for word in (task / "children").read_text().split()]
    return found


def descendants(pid: int) -> Iterator[int]:
    """The whole tree below ``pid``; what ends meanwhile is left out."""
    try:
        below = children(pid)
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in below:
        yield child
        yield from descendants(child)


def trainer_and_producers() -> tuple[float, float]:
    """MiB of this process, and of all processes below it together."""
    below = 0
    for pid in descendants(os.getpid()):
        try:
            below += pss(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended between the two looks
    return pss(os.getpid()) / MIB, below / MIB
