"""Patches of NIfTI files, three ways: in turn, from a shuffle buffer, and in two stages."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import nibabel
import numpy as np
from cutting import Patch, Volume, random_patches
from genserver.server import Worker, stage
from shuffled import shuffled

__all__ = ["PATHS", "cubes", "in_turn", "load_scan", "mixed", "pipeline"]

# The MNI152 brain and its grey and white matter, 197 x 233 x 189 voxels of 1 mm, inside the nilearn
# wheel. Put your files here.
WHEEL = Path(str(files("nilearn")))
PATHS = sorted(WHEEL.glob("datasets/data/mni_icbm152_*.nii.gz"))
SIZE, COUNT = (32, 32, 32), 256  # voxels of a patch; patches of a scan
BUFFER = 64 << 20  # bytes


def load_scan(path: Path) -> Volume:
    """The whole scan, float32[x, y, z] in the file's unit.

    Every scan is turned so that x, y and z grow to the right, to the front and upwards: files keep
    them in different orders, and a flip would mean something else in each.
    """
    stored = nibabel.load(path)
    image = nibabel.as_closest_canonical(stored)  # type: ignore[no-untyped-call]  # it has no types
    if len(image.shape) != 3:
        raise ValueError(f"{path} has the shape {image.shape}, and is no single volume")
    return np.ascontiguousarray(image.get_fdata(dtype=np.float32))


def cubes(worker: Worker, volume: Volume) -> Iterator[Patch]:
    """Patches of one scan."""
    yield from random_patches(worker.rng, volume, size=SIZE, count=COUNT)


def in_turn(worker: Worker) -> Iterator[Patch]:
    """The usual generator: while it loads a scan, nobody gets a patch."""
    for path in PATHS[worker.index :: worker.count]:
        yield from cubes(worker, load_scan(path))


def mixed(worker: Worker) -> Iterator[Patch]:
    """The same patches in random order: a thread loads and cuts, and scans are mixed."""
    yield from shuffled(in_turn(worker), nbytes=BUFFER, rng=worker.rng)


pipeline = stage(load_scan, items=PATHS, workers=1).then(cubes, workers=1)
