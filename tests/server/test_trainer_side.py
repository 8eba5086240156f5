"""How a command becomes a module of the trainer's side: its argument and its module search path."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from genserver.server.trainer_side import argv_of


@pytest.mark.parametrize("name", ["a b", "'\"`$(x)\\", "ü漢\n\t", "\udcff", "-x", "=", ""])
def test_any_text_arrives_as_it_was(name: str) -> None:
    """One argument of ASCII, whatever a path holds; file names that are no text, too."""
    argv = argv_of("peek", {"save": name, "elements": 8})
    assert argv[-1].isascii()
    assert json.loads(argv[-1]) == {"save": name, "elements": 8}


def test_files_in_the_current_folder_are_no_modules(tmp_path: Path) -> None:
    """A user's own numpy.py or client.py beside the data breaks nothing."""
    for name in ("numpy", "client", "json", "genserver", "matplotlib"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    argv = argv_of("peek", {"endpoint": "tcp://127.0.0.1:1", "elements": 0})
    done = subprocess.run(
        argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert argv[0] == sys.executable
    assert (done.returncode, done.stderr) == (64, "genserver: --elements must be 1 to 100000\n")
