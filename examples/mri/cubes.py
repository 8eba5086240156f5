"""Random 3D cubes of the MNI152 brain with their grey- and white-matter truth."""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from genserver.server import Worker
from nilearn.datasets import (
    load_mni152_gm_template,
    load_mni152_template,
    load_mni152_wm_template,
)
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, spline_filter
from scipy.spatial.transform import Rotation

HALVES = {"back": slice(0, 116), "front": slice(116, None)}  # along y, in 1 mm voxels
Volume: TypeAlias = NDArray[np.float32]
Label: TypeAlias = NDArray[np.uint8]


def load_half(half: str) -> tuple[Volume, Volume, Volume]:
    """The T1 scan, the grey- and the white-matter map of one half of the head, at 1 mm."""
    images = (
        load_mni152_template(resolution=1),
        load_mni152_gm_template(resolution=1),
        load_mni152_wm_template(resolution=1),
    )
    scan, grey, white = (image.get_fdata(dtype=np.float32)[:, HALVES[half]] for image in images)
    return scan, grey, white


def tissue(grey: Volume, white: Volume) -> Label:
    """The label of each voxel: 0 background, 1 grey matter, 2 white matter."""
    label: Label = np.stack([1 - grey - white, grey, white]).argmax(axis=0).astype(np.uint8)
    return label


def cubes(worker: Worker, size: int = 32, half: str = "back") -> Iterator[tuple[Volume, Label]]:
    """Cut cubes for ever: rotated, bent, with another contrast, a bias field and noise."""
    rng, shape = worker.rng, (size, size, size)
    scan, grey, white = load_half(half)
    brain = np.argwhere(tissue(grey, white) > 0)
    inside = (brain >= size // 2) & (brain < np.array(scan.shape) - size // 2)
    centres = brain[inside.all(axis=1)]
    splines = [spline_filter(v, order=3, output=np.float32) for v in (scan, grey, white)]
    grid = np.indices(shape, dtype=np.float32) - (size - 1) / 2
    while True:
        turn = Rotation.from_euler("xyz", rng.uniform(-30, 30, size=3), degrees=True).as_matrix()
        bend = gaussian_filter(rng.standard_normal((3, *shape)), sigma=(0, 4, 4, 4))
        bend *= rng.uniform(0, 3) / bend.std()  # in voxels
        where = np.tensordot(turn, grid, axes=1) + bend + rng.choice(centres)[:, None, None, None]
        image, grey, white = (
            map_coordinates(spline, where, order=3, mode="nearest", prefilter=False)
            for spline in splines
        )
        bias = gaussian_filter(rng.standard_normal(shape), sigma=size / 4)
        image = np.clip(image, 0, 1) ** rng.uniform(0.7, 1.5) * (1 + 0.1 * bias / bias.std())
        image += rng.normal(scale=0.03, size=shape)
        yield image[..., None].astype(np.float32), tissue(grey, white)
