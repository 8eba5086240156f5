"""Grey values and colours of cuts: what is given to whoever draws them. Pure.

All cuts of a group have the same map from values to greys, and each class of a mask its own colour,
so that elements can be compared with each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from .samples import Array

__all__ = ["PALETTE", "classes_of", "overlay", "range_of", "shaded"]

#: Of the classes of masks, one after the other; told apart also by those who see few colours.
PALETTE = (
    "#f2c14e", "#3fb8af", "#e4572e", "#7a9cf5", "#d36fb9", "#9bc53d", "#f58f29", "#5bc0eb",
    "#c3423f", "#b8b8ff",
)  # fmt: skip
#: In the place of NaN and infinity.
BROKEN = (1.0, 0.0, 1.0)
#: A range that is so many times that of all but the outermost values is cut to those.
WIDE = 4.0


def range_of(images: Iterable[Array | None]) -> tuple[float, float]:
    """The values that are drawn black and white; of colours that are there already, 0 and 1, or 0
    and 255."""
    parts = []
    for image in images:
        if image is None:
            continue
        if image.ndim == 3 and image.dtype == np.uint8:
            return 0.0, 255.0
        values = _real(image).reshape(-1)
        parts.append(values[np.isfinite(values)])
    all_ = np.concatenate(parts) if parts else np.zeros(0)
    if not all_.size:
        return 0.0, 1.0
    low, high = float(all_.min()), float(all_.max())
    coloured = any(image is not None and image.ndim == 3 for image in images)
    if coloured and low >= 0 and high <= 1:
        return 0.0, 1.0
    inner_low, inner_high = (float(v) for v in np.percentile(all_, (0.5, 99.5)))
    if inner_high > inner_low and high / WIDE - low / WIDE > inner_high - inner_low:
        return inner_low, inner_high
    return low, high


def shaded(image: Array, low: float, high: float) -> Array:
    """(height, width, 3) from 0 to 1; what is no number is glaring."""
    values = _real(image)
    finite = np.isfinite(values)
    span = high / 2 - low / 2  # of the largest floats, too
    grey = np.full(values.shape, 0.5)
    if span > 0:
        np.divide(np.where(finite, values, 0) / 2 - low / 2, span, out=grey)
    if grey.ndim == 2:
        grey, finite = np.repeat(grey[..., None], 3, axis=-1), finite[..., None]
    drawn: Array = np.clip(grey, 0.0, 1.0)
    drawn[~finite.all(axis=-1)] = BROKEN
    return drawn


def classes_of(masks: Iterable[Array | None]) -> list[float]:
    """The values that are marked in any of these, in order."""
    found: Array = np.zeros(0)
    for mask in masks:
        if mask is not None:
            values = np.unique(_real(mask))
            found = np.union1d(found, values[np.isfinite(values) & (values != 0)])
    return [float(value) for value in found]


def overlay(mask: Array, colours: Sequence[tuple[float, str]], alpha: float) -> Array:
    """(height, width, 4): the colour of each value, and nothing where it is 0."""
    values = _real(mask)
    drawn = np.zeros((*values.shape, 4))
    for value, colour in colours:
        rgb = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        drawn[values == value] = (*rgb, alpha)
    return drawn


def _real(array: Array) -> Array:
    with np.errstate(all="ignore"):  # NaN of bfloat16
        real: Array = np.abs(array) if array.dtype.kind == "c" else array
        numbers: Array = real.astype(np.float64)
    return numbers
