"""The cubes of cubes.py, each with the name of the host that cut it, which is a container's id."""

import platform
from collections.abc import Iterator

from cubes import Label, Volume
from cubes import cubes as cut
from genserver.server import Worker


def cubes(
    worker: Worker, size: int = 32, half: str = "back"
) -> Iterator[tuple[Volume, Label, str]]:
    """For ever, as a trainer that counts its producers wants them."""
    for volume, label in cut(worker, size, half):
        yield volume, label, platform.node()
