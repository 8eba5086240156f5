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


@pytest.mark.parametrize("ctrl_c", [False, True])
def test_where_a_process_cannot_be_taken_over_its_exit_code_is_handed_on(ctrl_c: bool) -> None:
    """It prints to the same terminal, and after Ctrl-C it is still the one that says the code."""
    module = (
        "import os, signal, sys; "
        "signal.signal(signal.SIGINT, lambda *_: (print('ctrl-c'), sys.exit(66))); "
        f"{ctrl_c} and os.killpg(0, signal.SIGINT); sys.exit(65)"
    )
    command = (
        "import signal, sys; "
        "from genserver.server import trainer_side as t; "
        "t.TAKES_OVER, t.TURN_SECONDS = False, 0.01; "
        f"t.argv_of = lambda *_: [sys.executable, '-c', {module!r}]; "
        "t.become('peek', {})"
    )
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, timeout=60, check=False,
        start_new_session=True,
    )  # fmt: skip
    expected = (66, "ctrl-c\n") if ctrl_c else (65, "")
    assert (done.returncode, done.stdout, done.stderr) == (*expected, "")


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
