"""Random pictures without end, each with its label."""

import numpy as np

SIDE = 32


def pictures():
    """A picture, float32 (1, SIDE, SIDE), and its label: 0 for stripes across, 1 for down."""
    while True:
        label = np.random.randint(2)
        ramp = np.arange(SIDE) * np.random.uniform(0.5, 1.5) + np.random.uniform(0, 6)
        waves = np.broadcast_to(np.sin(ramp), (SIDE, SIDE))
        picture = (waves if label else waves.T) + np.random.normal(size=(SIDE, SIDE))
        yield picture[None].astype(np.float32), np.int64(label)
