"""What a test left behind in its own process: child processes, descriptors, mapped memory, threads.

Linux only: reads /proc. Owns nothing.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

from .processes import alive, processes_of

__all__ = ["Remains", "shared_memory"]

#: What genserver's descriptors are, by the beginning of what /proc says of them.
_KINDS = ("socket:", "pipe:", "anon_inode:[eventfd]", "anon_inode:[eventpoll]", "/memfd:")


class Remains:
    """What there is now; `since` says what of it has come since."""

    def __init__(self) -> None:
        self._children = set(filter(alive, processes_of(os.getpid())))
        self._descriptors = _descriptors()
        self._memory = shared_memory()
        self._threads = _threads()

    def since(self) -> dict[str, object]:
        """What is there and was not; empty when nothing is."""
        threads = [thread.name for thread in _threads() - self._threads]
        found = {
            "processes": sorted(set(filter(alive, processes_of(os.getpid()))) - self._children),
            "descriptors": dict(_descriptors() - self._descriptors),
            "bytes of shared memory": max(0, shared_memory() - self._memory),
            "threads": sorted(threads),
        }
        return {name: what for name, what in found.items() if what}


def _threads() -> set[threading.Thread]:
    """Python's threads; one of TensorFlow's that came by is a dummy, which nobody ever removes."""
    return {thread for thread in threading.enumerate() if not thread.name.startswith("Dummy-")}


def _descriptors() -> Counter[str]:
    """How many open descriptors there are of each kind that genserver opens."""
    kinds: Counter[str] = Counter()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(entry)
        except OSError:
            continue  # the one that lists them
        kinds.update(kind for kind in _KINDS if target.startswith(kind))
    return kinds


def shared_memory(pid: int | None = None) -> int:
    """Bytes of memfds that a process has mapped; by default this one."""
    total = 0
    for line in Path(f"/proc/{pid or os.getpid()}/maps").read_text().splitlines():
        if "/memfd:" in line:
            first, _, last = line.partition(" ")[0].partition("-")
            total += int(last, 16) - int(first, 16)
    return total
