"""examples/patches as served: two stages through `from_generator`, and what nifti.py loads."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from genserver.client import from_generator
from genserver.server import Worker

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytest.importorskip("tensorflow")

pytestmark = pytest.mark.usefixtures("runtime_folder")

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "patches"


@pytest.fixture
def dicom(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLES)  # the workers inherit it
    return import_module("dicom")


@pytest.fixture
def nifti(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLES)
    return import_module("nifti")


def lies_in(volume: Any, element: Any) -> bool:
    """The patch is in the volume where it says that it is."""
    x, y, z = element["position"]
    a, b, c = element["patch"].shape
    found = volume[x : x + a, y : y + b, z : z + c]
    return np.array_equal(np.flip(element["patch"], np.flatnonzero(element["flipped"])), found)


def test_both_stages_of_a_dicom_series_reach_the_trainer(dicom: Any) -> None:
    """Every patch of the scan, with fixed shapes and dtypes, equal to the volume where it lies."""
    dataset = from_generator(dicom.pipeline)
    assert {name: (part.dtype.name, part.shape) for name, part in dataset.element_spec.items()} == {
        "patch": ("float32", dicom.SIZE), "position": ("int32", (3,)),
        "flipped": ("bool", (3,)), "spacing": ("float32", (3,)),
    }  # fmt: skip
    elements = list(dataset.as_numpy_iterator())
    volume, spacing = dicom.load_scan(dicom.PATHS[0])
    assert len(elements) == dicom.COUNT
    for element in elements:
        assert lies_in(volume, element)
        assert np.array_equal(element["spacing"], spacing)
    assert len({tuple(element["position"]) for element in elements}) > 1


def test_every_scan_of_the_nifti_pipeline_gives_its_patches(nifti: Any) -> None:
    """The same number from each of the three, scan after scan."""
    elements = from_generator(nifti.pipeline, deterministic=True).as_numpy_iterator()
    for path in nifti.PATHS:
        volume = nifti.load_scan(path)
        assert [lies_in(volume, next(elements)) for _ in range(nifti.COUNT)] == [True] * nifti.COUNT
    assert list(elements) == []


def test_the_shuffle_buffer_changes_the_order_alone(
    nifti: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mixed` has the patches of `in_turn`, each once, and the same order in every run."""
    monkeypatch.setattr(nifti, "COUNT", 8)
    monkeypatch.setattr(nifti, "BUFFER", 2 << 20)  # 16 patches

    def keys(way: Any) -> list[bytes]:
        return [element["patch"].tobytes() for element in way(Worker(seed=3))]

    in_turn, mixed = keys(nifti.in_turn), keys(nifti.mixed)
    assert len(in_turn) == 24
    assert sorted(mixed) == sorted(in_turn)
    assert mixed != in_turn
    assert keys(nifti.mixed) == mixed


def test_nifti_scans_are_turned_the_same_way(nifti: Any, tmp_path: Path) -> None:
    """To the right, to the front and upwards, rescaled as the header says, contiguous float32."""
    stored = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    image = nibabel.Nifti1Image(stored, np.diag([-1.0, 1.0, 2.0, 1.0]))  # x grows to the left
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, tmp_path / "scan.nii.gz")
    volume = nifti.load_scan(tmp_path / "scan.nii.gz")
    assert np.array_equal(volume, np.asarray(nibabel.load(tmp_path / "scan.nii.gz").dataobj)[::-1])
    assert (volume.dtype, volume.flags.c_contiguous) == (np.float32, True)


def test_a_nifti_file_of_several_volumes_is_refused(nifti: Any, tmp_path: Path) -> None:
    """With its name and its shape."""
    nibabel.save(
        nibabel.Nifti1Image(np.zeros((2, 2, 2, 5), np.float32), np.eye(4)), tmp_path / "many.nii"
    )
    with pytest.raises(ValueError, match=r"many\.nii has the shape \(2, 2, 2, 5\)"):
        nifti.load_scan(tmp_path / "many.nii")
