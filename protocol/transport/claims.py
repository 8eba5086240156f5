"""The files of sockets: whose they are, and that they go. Opens no socket."""

from __future__ import annotations

import os
from typing import IO

from ..endpoint import Endpoint
from ..errors import EndpointError
from .platform import has_ipc, try_lock

__all__ = ["claim", "remove"]


def claim(endpoint: Endpoint) -> IO[str]:
    """The lock of an ipc endpoint, held until it is closed; `EndpointError` where another has it.

    A second ipc bind would steal the first one's endpoint without a word.
    """
    if not has_ipc():
        raise EndpointError(
            str(endpoint), "ipc endpoints work on Linux alone; use tcp://127.0.0.1:PORT"
        )
    try:
        lock = open(endpoint.path + ".lock", "w")  # noqa: SIM115  # kept while bound
    except OSError as error:
        raise EndpointError(str(endpoint), os.strerror(error.errno or 0)) from error
    if not try_lock(lock.fileno()):
        lock.close()
        raise EndpointError(str(endpoint), "in use by another genserver")
    return lock


def remove(path: str) -> None:
    """Take a file away, if it is there."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
