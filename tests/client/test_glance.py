"""Whom a look at elements disturbs, and what becomes of the picture's file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from genserver.client.glance import lanes_for
from genserver.client.options import PullOptions
from genserver.client.picture_file import PictureFile
from genserver.client.plan import Plan, make_plan
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.spec import parse_spec

MIB = 2**20


def plan_of(workers: int, spec: str, upstream: int = 0) -> Plan:
    status = Status(
        "ready", "scans:cubes", "static", 1, -1, "", parse_spec(spec),
        tuple(WorkerStatus(i, "ready", 100 + i, "", 5556 + i) for i in range(workers)),
        upstream=upstream,
    )  # fmt: skip
    return make_plan(["tcp://127.0.0.1:5555"], [status], PullOptions(), memory=64 * 1024 * MIB)


@pytest.mark.parametrize(
    ("workers", "spec", "elements", "disturbed"),
    [
        (1, "int64[]", 8, 1), (4, "int64[]", 8, 4), (64, "int64[]", 8, 8), (9, "int64[]", 8, 5),
        (64, "int64[]", 1, 1), (8, f"uint8[{100 * MIB}]", 8, 2), (8, f"uint8[{900 * MIB}]", 8, 1),
        (8, "float32[None,None]", 8, 8),
    ],
)  # fmt: skip
def test_no_more_workers_are_disturbed_than_there_are_elements_to_see(
    workers: int, spec: str, elements: int, disturbed: int
) -> None:
    """And of large elements only as many as the memory is good for."""
    plan = plan_of(workers, spec)
    assert len(plan.members[:: lanes_for(plan, elements)]) == disturbed


def test_a_second_stage_is_read_whole() -> None:
    """Its workers wait for each other's elements of the first stage."""
    assert lanes_for(plan_of(64, "int64[]", upstream=2), 8) == 1


def test_a_picture_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing beside it; one that can be takes its place."""
    path = tmp_path / "samples.PNG"
    path.write_bytes(b"old")
    file = PictureFile(str(path))
    file.check()
    assert (file.kind, list(tmp_path.iterdir())) == ("png", [path])

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            file.write(b"new")
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"old", [path])
    file.write(b"new")
    assert (path.read_bytes(), list(tmp_path.iterdir())) == (b"new", [path])


def test_a_folder_is_no_picture(tmp_path: Path) -> None:
    """Said before anything is read."""
    folder = tmp_path / "samples.png"
    folder.mkdir()
    with pytest.raises(IsADirectoryError, match="directory"):
        PictureFile(str(folder)).check()
    with pytest.raises(FileNotFoundError):
        PictureFile(os.path.join(tmp_path, "no", "x.svg")).check()
