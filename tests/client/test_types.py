"""`from_server` is typed for mypy and pyright, and TensorFlow is not imported for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
from genserver.client import Client, from_server

dataset = from_server("tcp://127.0.0.1:5555", seed=1)
reveal_type(dataset)
reveal_type(dataset.batch(2))
reveal_type(Client("tcp://127.0.0.1:5555").cardinality)
from_server("tcp://127.0.0.1:5555", sead=1)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A user's program, and genserver where a type checker finds it."""
    (tmp_path / "site" / "genserver").mkdir(parents=True)
    for part in ("protocol", "server", "client"):
        (tmp_path / "site" / "genserver" / part).symlink_to(ROOT / part)
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def check(folder: Path, *command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=folder, timeout=120,
        env={**os.environ, "MYPYPATH": "site"}, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr  # because of sead=1
    return done.stdout


def test_mypy_knows_the_dataset_and_the_options(program: Path) -> None:
    """A tf.data.Dataset (with types-tensorflow), and a misspelt option is an error."""
    said = check(program.parent, "mypy", "--strict", "--follow-imports=silent", program.name)
    assert said.count('Revealed type is "tensorflow.data.Dataset[Any]"') == 2
    assert 'Revealed type is "int | None"' in said
    assert 'Unexpected keyword argument "sead"' in said
    assert "Found 1 error" in said


def test_pyright_knows_the_dataset_and_the_options(program: Path) -> None:
    """As mypy does."""
    folder = program.parent
    (folder / "pyrightconfig.json").write_text('{"extraPaths": ["site"]}')
    said = check(folder, "pyright", "--pythonpath", sys.executable, program.name)
    assert 'Type of "dataset" is "Dataset[Any]"' in said
    assert 'Type of "dataset.batch(2)" is "Dataset[Any]"' in said
    assert 'is "int | None"' in said
    assert 'No parameter named "sead"' in said
    assert "1 error" in said


def test_importing_the_client_imports_no_tensorflow() -> None:
    """Types alone mention it."""
    program = "import sys, genserver.client; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60, check=False).returncode == 0
