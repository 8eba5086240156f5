"""Small random patches of a volume."""

from collections.abc import Iterator
from typing import TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray

__all__ = ["Patch", "random_patches"]

Volume: TypeAlias = NDArray[np.float32]


class Patch(TypedDict):
    """A patch and where it comes from; every one has the same shapes and dtypes."""

    patch: Volume  # float32 of the asked size
    position: NDArray[np.int32]  # int32[3]: its first voxel in the volume, before the flips
    flipped: NDArray[np.bool_]  # bool[3]: the axes along which it was turned round


def random_patches(
    rng: np.random.Generator, volume: Volume, *, size: tuple[int, int, int], count: int
) -> Iterator[Patch]:
    """Cut so many patches from a float32[x, y, z], anywhere inside, each axis flipped or not."""
    room = [have - need for have, need in zip(volume.shape, size, strict=False)]
    if volume.ndim != len(size) or min(room) < 0:
        raise ValueError(f"a patch of {size} does not fit into a volume of {volume.shape}")
    for _ in range(count):
        position = rng.integers(0, room, size=3, endpoint=True)
        flipped = rng.random(3) < 0.5
        box = tuple(slice(at, at + side) for at, side in zip(position, size, strict=True))
        turned = np.flip(volume[box], tuple(np.flatnonzero(flipped).tolist()))
        # A copy, even where nothing is flipped: a view would keep the whole volume in memory.
        yield Patch(patch=turned.copy(), position=position.astype(np.int32), flipped=flipped)
