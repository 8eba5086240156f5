"""Patches of CT scans: one stage reads a DICOM series, the next one cuts patches from it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
from cutting import Patch, Volume, random_patches
from dicom_series import Spacing, read_series
from genserver.server import Worker, stage
from numpy.typing import NDArray

__all__ = ["PATHS", "ScaledPatch", "cubes", "load_scan", "pipeline"]

# A small one inside the pydicom wheel: 5 slices of 16 x 16. Put the folders of your series here.
WHEEL = Path(pydicom.__file__).parent
PATHS = [WHEEL / "data/test_files/dicomdirtests/98892001/CT5N"]
SIZE, COUNT = (4, 8, 8), 64  # slices, rows, columns of a patch; patches of a scan


class ScaledPatch(Patch):
    """A patch, and how large its voxels are: scanners differ."""

    spacing: NDArray[np.float32]  # float32[3] in mm


def load_scan(folder: Path) -> tuple[Volume, Spacing]:
    """The whole scan, float32[slices, rows, columns] in Hounsfield units, and its spacing in mm."""
    volume, spacing = read_series(folder)
    return volume, spacing


def cubes(worker: Worker, volume: Volume, spacing: Spacing) -> Iterator[ScaledPatch]:
    """Patches of one scan; what `load_scan` returned arrives as two arguments."""
    for patch in random_patches(worker.rng, volume, size=SIZE, count=COUNT):
        yield ScaledPatch(**patch, spacing=spacing)


pipeline = stage(load_scan, items=PATHS, workers=1).then(cubes, workers=1)
