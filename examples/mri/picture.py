"""The picture at the end: a slice of the held-out half, its truth and its prediction."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

INK, PAPER = "#e8e6e1", "#14161a"
TISSUES = {"background": PAPER, "grey matter": "#3f8f8b", "white matter": "#f2c14e"}


class Slices(NamedTuple):
    """One coronal slice (x, z): what the scanner saw, the truth and what the network says."""

    scan: NDArray[np.float32]
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]

    def cropped(self) -> "Slices":
        """Without the air around the head."""
        (left, right), (low, high) = (
            np.flatnonzero(self.scan.any(axis))[[0, -1]] for axis in (1, 0)
        )
        box = np.s_[max(left - 6, 0) : right + 7, max(low - 6, 0) : high + 7]
        return Slices(self.scan[box], self.truth[box], self.prediction[box])


def save_picture(path: Path, slices: Slices, score: str) -> None:
    """Draw the three side by side."""
    scan, truth, prediction = slices.cropped()
    figure = Figure(figsize=(12, 4.8), facecolor=PAPER)
    panels = figure.subplots(1, 3)
    colours = ListedColormap(list(TISSUES.values()))
    panels[0].imshow(scan.T, origin="lower", cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    for panel, labels in zip(panels[1:], (truth, prediction), strict=True):
        panel.imshow(labels.T, origin="lower", cmap=colours, vmin=0, vmax=2, interpolation="none")
    titles = ("Scan (MNI152, never trained on)", "Truth", f"Prediction ({score})")
    for panel, title in zip(panels, titles, strict=True):
        panel.set_title(title, color=INK, fontsize=13, pad=10)
        panel.set_axis_off()
    legend = [Patch(color=colour, label=name) for name, colour in list(TISSUES.items())[1:]]
    figure.legend(
        handles=legend, loc="lower center", ncol=2, frameon=False, labelcolor=INK, fontsize=11
    )
    figure.subplots_adjust(left=0.01, right=0.99, top=0.9, bottom=0.08, wspace=0.02)
    figure.savefig(path, dpi=130, facecolor=PAPER)
