"""Pairs of a picture and its mask, from the files of a folder."""

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64


def path_pairs(folder):
    """Image and mask files that belong together: they have the same name."""
    images = sorted(Path(folder, "images").glob("*.png"))
    return [(image, Path(folder, "masks", image.name)) for image in images]


def pairs(folder, worker):
    """An image, float32 (SIDE, SIDE, 3) from 0 to 1, and its labels, uint8 (SIDE, SIDE, 1)."""
    for image_path, mask_path in path_pairs(folder)[worker.index :: worker.count]:
        image = Image.open(image_path).convert("RGB").resize((SIDE, SIDE))
        mask = Image.open(mask_path).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        yield np.asarray(image, np.float32) / 255, np.asarray(mask, np.uint8)[..., None]
