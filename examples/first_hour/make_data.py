"""Make a folder of pictures and masks: `python make_data.py FOLDER COUNT`.

A picture has a bright disc or square on a dark ground with noise; its mask says 0 for the ground,
1 for a disc and 2 for a square.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 64


def make_data(folder: Path, count: int, side: int = SIDE) -> None:
    """Write ``images/NNNN.png`` and ``masks/NNNN.png``, the same files every time."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image, mask = draw(np.random.default_rng(number), side)
        Image.fromarray(image).save(folder / "images" / f"{number:04}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{number:04}.png")


def draw(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """An image of (side, side, 3) and a mask of (side, side), both uint8."""
    across, down = np.abs(
        np.indices((side, side)) - rng.integers(side // 4, 3 * side // 4, (2, 1, 1))
    )
    kind, radius = rng.integers(1, 3), rng.integers(side // 8, side // 4)
    inside = across**2 + down**2 < radius**2 if kind == 1 else np.maximum(across, down) < radius
    ground, shape = rng.integers(0, 100, 3), rng.integers(150, 250, 3)
    image = np.where(inside[..., None], shape, ground) + rng.integers(-30, 30, (side, side, 3))
    return np.clip(image, 0, 255).astype(np.uint8), np.where(inside, kind, 0).astype(np.uint8)


if __name__ == "__main__":
    make_data(Path(sys.argv[1]), int(sys.argv[2]))
