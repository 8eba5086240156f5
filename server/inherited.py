"""Plain data of any size for a process that is started: JSON in a file without a name.

A command line holds 128 KiB in one argument, and a pipe 64 KiB before its writer must wait; a list
of paths may be longer. The child inherits the descriptor.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["offered", "taken"]


@contextmanager
def offered(value: dict[str, Any]) -> Iterator[int]:
    """The descriptor to pass to a child that is started inside the block."""
    import tempfile  # which the child does without

    data = json.dumps(value).encode()
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        yield file.fileno()


def taken(descriptor: int) -> dict[str, Any]:
    """In the child: what was offered; closes the descriptor."""
    with open(descriptor, "rb") as file:
        value: dict[str, Any] = json.load(file)
    return value
