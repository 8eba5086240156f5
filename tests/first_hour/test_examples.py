"""examples/first_hour: five changed lines at most, and both forms do the same."""

from __future__ import annotations

import difflib
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genserver.client import Client

from ..support.servers import Serve

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "first_hour"
BEFORE, AFTER = EXAMPLES / "before", EXAMPLES / "after"
FILES = {
    "segmentation": ["loader.py", "segmentation.py"],
    "series": ["series.py"],
    "torch": ["pictures.py", "torch_loop.py"],
}


def changed_lines(old: list[str], new: list[str]) -> int:
    """Lines to touch: in each place the removed ones or the added ones, whichever are more."""
    opcodes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in opcodes if tag != "equal")


def run(program: Path, *arguments: str) -> str:
    """What a program prints on standard output, run in its own folder."""
    done = subprocess.run(
        [sys.executable, program.name, *arguments],
        cwd=program.parent, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_the_program(printed: str) -> list[str]:
    """The lines that are not the server's start-up lines."""
    return [
        line for line in printed.splitlines()
        if not line.startswith(("genserver: ", "  dataset = genserver.client"))
    ]  # fmt: skip


def as_bytes(elements: Iterator[Any]) -> list[list[Any]]:
    """Elements in a form that can be sorted and compared."""
    return sorted(
        [[str(p.dtype), p.shape, p.tobytes()] for p in map(np.asarray, element)]
        for element in elements
    )


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """Six pictures with their masks, made by the example's own helper."""
    runpy.run_path(str(EXAMPLES / "make_data.py"))["make_data"](tmp_path, 6)
    return str(tmp_path)


@pytest.mark.parametrize("example", FILES)
def test_five_lines_change_at_most(example: str) -> None:
    """Counted over all files of the example; those of both folders have the same names."""
    count = 0
    for name in FILES[example]:
        old, new = ((home / name).read_text().splitlines() for home in (BEFORE, AFTER))
        count += changed_lines(old, new)
    assert 1 <= count <= 5


def test_every_file_belongs_to_an_example() -> None:
    """So that none escapes the count."""
    for home in (BEFORE, AFTER):
        names = sorted(path.name for path in home.glob("*.py"))
        assert names == sorted(name for files in FILES.values() for name in files)


def test_the_count_can_fail() -> None:
    """Added, removed and replaced lines count, equal ones do not."""
    assert changed_lines(["a", "b"], ["a", "b"]) == 0
    assert changed_lines(["a", "b"], ["a", "x", "b"]) == 1
    assert changed_lines(["a", "b", "c"], ["c"]) == 2
    assert changed_lines(["a", "b", "c"], ["a", "x", "y", "c"]) == 2


@pytest.mark.soak
def test_both_segmentations_train_on_the_same_shapes(folder: str) -> None:
    """Both print the same element spec, and the loss falls in both."""
    before, after = (
        of_the_program(run(home / "segmentation.py", folder)) for home in (BEFORE, AFTER)
    )
    assert before[0] == after[0] == "images float32(None, 64, 64, 3) uint8(None, 64, 64, 1)"
    assert before[-1] == after[-1] == "the loss fell"


def test_the_segmentation_loaders_give_the_same_elements(folder: str, serve: Serve) -> None:
    """Two workers serve what the plain generator yields, each pair once."""
    plain = runpy.run_path(str(BEFORE / "loader.py"))["pairs"](folder)
    server = serve("loader:pairs", workers=2, arguments={"folder": folder}, cwd=str(AFTER))
    with Client(server.endpoint) as client:
        served = as_bytes(iter(client))
    assert len(served) == 6
    assert served == as_bytes(plain)


@pytest.mark.soak
def test_both_series_print_the_same() -> None:
    """In turn two workers give the order of the plain generator, so every line is the same."""
    before, after = (of_the_program(run(home / "series.py")) for home in (BEFORE, AFTER))
    assert before == after
    assert [bool(re.match(r"batch of \((10|5), \d+\)", line)) for line in before[-3:]] == [True] * 3


def test_both_torch_loops_train() -> None:
    """With torch installed, both print a step's shapes and dtypes."""
    pytest.importorskip("torch")
    for home in (BEFORE, AFTER):
        (step,) = of_the_program(run(home / "torch_loop.py", "1"))
        assert step.startswith("0 (8, 1, 32, 32) torch.float32 torch.int64 loss ")


def test_torchs_pictures_can_be_written_to_once_copied(serve: Serve) -> None:
    """Endless, a stream of its own from each worker, read-only views until they are copied."""
    server = serve("pictures:pictures", workers=2, sharding="off", cwd=str(AFTER))
    with Client(server.endpoint, deterministic=True) as client:
        elements = list(islice(client, 4))
    for picture, label in elements:
        assert picture.shape == (1, 32, 32)
        assert (picture.dtype, label.dtype) == (np.float32, np.int64)
        assert not picture.flags.writeable
        assert picture.copy().flags.writeable
    assert len({picture.tobytes() for picture, _ in elements}) == 4
