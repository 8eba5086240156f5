"""A DICOM series, read from a folder with one file a slice, as one volume."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

__all__ = ["Series", "SeriesError", "read_series"]

Volume: TypeAlias = NDArray[np.float32]
Spacing: TypeAlias = NDArray[np.float32]

SAME_DIRECTION = 0.01  # headers are rounded: how much a direction cosine may differ
SAME_DISTANCE = 0.25  # of the median; a slice that is missing doubles a distance


class SeriesError(ValueError):
    """The files of a folder do not make one volume."""


class Series(NamedTuple):
    """A volume and the size of its voxels."""

    volume: Volume  # float32[slices, rows, columns]; Hounsfield units where it is a CT
    spacing: Spacing  # float32[3] in mm, in the order of the volume's axes


def read_series(folder: Path | str) -> Series:
    """The slices of a folder in the order in which they lie in the patient.

    Files that are not DICOM, or have no picture, are left out. Raises `SeriesError`.
    """
    folder = Path(folder)
    slices = _pictures(folder)
    _check_alike(folder, slices)
    slices, distance = _sorted(folder, slices)
    volume = np.empty((len(slices), slices[0].Rows, slices[0].Columns), np.float32)
    for place, piece in zip(volume, slices, strict=True):
        place[:] = _rescaled(piece)
    between_rows, between_columns = map(float, slices[0].PixelSpacing)
    return Series(volume, np.array([distance, between_rows, between_columns], np.float32))


def _pictures(folder: Path) -> list[pydicom.Dataset]:
    read = (_read(path) for path in sorted(folder.iterdir()) if path.is_file())
    slices = [piece for piece in read if piece is not None and "PixelData" in piece]
    if not slices:
        raise SeriesError(f"{folder} has no DICOM file with a picture")
    return slices


def _read(path: Path) -> pydicom.Dataset | None:
    try:
        return pydicom.dcmread(path)
    except InvalidDicomError:  # a README, a picture of the scanner's screen
        return None


def _check_alike(folder: Path, slices: Sequence[pydicom.Dataset]) -> None:
    """One series, one shape, one spacing, a grey value for each pixel."""
    alike: dict[str, Callable[[pydicom.Dataset], object]] = {
        "series": lambda piece: piece.get("SeriesInstanceUID"),
        "shapes": lambda piece: f"{piece.Rows} x {piece.Columns}",
        "pixel spacings": lambda piece: piece.get("PixelSpacing"),
        "numbers of frames": lambda piece: int(_number(piece, "NumberOfFrames", 1)),
        "numbers of colours": lambda piece: int(_number(piece, "SamplesPerPixel", 1)),
    }
    for what, value in alike.items():
        if len(found := sorted({str(value(piece)) for piece in slices})) > 1:
            raise SeriesError(
                f"{folder} has slices of {len(found)} {what}: {', '.join(found)}; "
                "give each series a folder of its own"
            )
    first = slices[0]
    if first.get("PixelSpacing") is None:
        raise SeriesError(f"{folder} has slices without PixelSpacing")
    if (frames := alike["numbers of frames"](first)) != 1:
        raise SeriesError(f"{folder} has {frames} slices in a file; one is understood here")
    if (colours := alike["numbers of colours"](first)) != 1:
        raise SeriesError(f"{folder} has pixels of {colours} colours; grey values are needed")


def _sorted(folder: Path, slices: Sequence[pydicom.Dataset]) -> tuple[list[pydicom.Dataset], float]:
    """The slices in order, and the distance in mm between one and the next."""
    if all(_has_place(piece) for piece in slices):
        where = _along_the_normal(folder, slices)
        order = np.argsort(where, kind="stable")
        distance = _distance(folder, where[order]) if len(slices) > 1 else _thickness(slices[0])
    else:
        numbers = [piece.get("InstanceNumber") for piece in slices]
        if None in numbers or len(set(numbers)) < len(numbers):
            raise SeriesError(
                f"{folder} cannot be put in order: its slices have neither a position "
                "(ImagePositionPatient, ImageOrientationPatient) nor a number each (InstanceNumber)"
            )
        order, distance = np.argsort([int(n) for n in numbers]), _thickness(slices[0])
    if not distance > 0:
        raise SeriesError(f"{folder} does not say how far its slices are apart")
    return [slices[at] for at in order], distance


def _has_place(piece: pydicom.Dataset) -> bool:
    names = ("ImagePositionPatient", "ImageOrientationPatient")
    return all(piece.get(name) is not None for name in names)


def _along_the_normal(folder: Path, slices: Sequence[pydicom.Dataset]) -> NDArray[np.float64]:
    """How far each slice lies along the direction that is upright on all of them, in mm."""
    directions = np.array([piece.ImageOrientationPatient for piece in slices], np.float64)
    if np.abs(directions - directions[0]).max() > SAME_DIRECTION:
        raise SeriesError(f"{folder} has slices that are not parallel; they make no volume")
    normal = np.cross(directions[0, :3], directions[0, 3:])
    positions = np.array([piece.ImagePositionPatient for piece in slices], np.float64)
    along: NDArray[np.float64] = positions @ normal
    return along


def _distance(folder: Path, where: NDArray[np.float64]) -> float:
    """From one slice to the next, in mm; `where` is sorted."""
    steps = np.diff(where)
    middle = float(np.median(steps))
    if np.abs(steps - middle).max() > SAME_DISTANCE * middle or middle == 0:
        raise SeriesError(
            f"{folder} has slices that are {steps.min():g} to {steps.max():g} mm apart: some are "
            "missing, or there twice"
        )
    return float(steps.mean())


def _thickness(piece: pydicom.Dataset) -> float:
    """Where positions do not say it: what the header says of the distance, or 0."""
    return _number(piece, "SpacingBetweenSlices", _number(piece, "SliceThickness", 0))


def _rescaled(piece: pydicom.Dataset) -> NDArray[np.float32]:
    """Each slice by its own slope: in PET they differ."""
    slope, intercept = _number(piece, "RescaleSlope", 1), _number(piece, "RescaleIntercept", 0)
    stored: NDArray[Any] = piece.pixel_array
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _number(piece: pydicom.Dataset, name: str, otherwise: float) -> float:
    """A header may have the name without a value."""
    value = piece.get(name)
    return float(otherwise if value is None else value)
