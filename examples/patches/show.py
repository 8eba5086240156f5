"""Pull the patches of dicom.py or nifti.py, say what they are, and how long the waits were."""

import argparse
import os
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from importlib import import_module
from typing import Any

import numpy as np
from genserver.client import from_generator

WAYS = ("in_turn", "mixed", "pipeline")
# What may be in the trainer, or some 16 patches that wait. By default all patches of these small
# scans may, which hides what the generators do.
BUDGET = 4 << 20  # bytes


def use(patch: Any) -> None:
    """What stands for a training step here: about a millisecond of real work, nothing sleeps."""
    np.fft.fftn(np.fft.ifftn(patch))


def pull(way: str, generator: Any) -> None:
    """One pass, and a line about it. The first element is not counted: its server has to start."""
    patches = iter(from_generator(generator, memory_budget=BUDGET))
    first = next(patches)
    low, high, waits = float("inf"), float("-inf"), []
    asked = time.perf_counter()
    for element in patches:
        waits.append(time.perf_counter() - asked)
        patch = element["patch"].numpy()
        low, high = min(low, patch.min()), max(high, patch.max())
        use(patch)
        asked = time.perf_counter()
    shapes = {name: f"{part.dtype.name}{list(part.shape)}" for name, part in first.items()}
    print(way, *(f"{name} {shape}" for name, shape in shapes.items()))
    print(
        f"  {len(waits) + 1} patches, values {low:g} to {high:g}, waits in ms: "
        f"median {1000 * np.median(waits):.1f}, longest {1000 * max(waits):.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scans", choices=["dicom", "nifti"])
    scans = import_module(parser.parse_args().scans)
    for way in WAYS:
        if hasattr(scans, way):
            pull(way, getattr(scans, way))


if __name__ == "__main__":
    main()
