"""Data of any size for a process that is started: a file without a name.

A command line holds 128 KiB in one argument, and a pipe 64 KiB before its writer must wait; a list
of paths may be longer, and so may what a function closes over. The child inherits the descriptor.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["offered", "offered_bytes", "read_whole", "taken"]

#: What one read takes, in bytes.
PIECE = 2**24


@contextmanager
def offered_bytes(data: bytes) -> Iterator[int]:
    """The descriptor to pass to a child that is started inside the block."""
    import tempfile  # which the child does without

    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()


@contextmanager
def offered(value: dict[str, Any]) -> Iterator[int]:
    """The same for plain data, as JSON."""
    with offered_bytes(json.dumps(value).encode()) as descriptor:
        yield descriptor


def taken(descriptor: int) -> dict[str, Any]:
    """In the child: what was offered; closes the descriptor."""
    with open(descriptor, "rb") as file:
        value: dict[str, Any] = json.load(file)
    return value


def read_whole(descriptor: int) -> bytes:
    """In the child: the bytes that were offered, also to others, who share the descriptor's place
    in the file; it stays open."""
    pieces: list[bytes] = []
    at = 0
    while piece := os.pread(descriptor, PIECE, at):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
