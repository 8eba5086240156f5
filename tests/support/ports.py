"""Free ports of the loopback interface that lie where a program will look for them."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable

__all__ = ["free_from"]

#: Below those that the kernel gives to whoever does not care (32768 on, unless it is configured).
PORTS = 12_000, 32_000
#: Ports that are tried before the machine is said to have none.
TRIES = 1000


def free_from(steps: Iterable[int]) -> int:
    """A port from which on those at all these ``steps`` are free. None that the system may give
    to somebody else who asks for any: those begin higher."""
    wanted = list(steps)
    for _ in range(TRIES):
        port = random.randrange(*PORTS)
        if all(_free(port + step) for step in wanted):
            return port
    raise AssertionError("no free ports that lie as wanted")


def _free(port: int) -> bool:
    with socket.socket() as other:
        try:
            other.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True
