"""The fuzzer as a program."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .decoder import MISSING

DECODER = Path(__file__).parent / "decoder.py"


def fuzzed(*arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """The fuzzer, until it ends."""
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )


@pytest.mark.soak
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason=MISSING)
def test_a_minute_of_fuzzing_finds_nothing(tmp_path: Path) -> None:
    """From the kept corpus, guided by coverage: no error but the documented ones, nothing that
    runs, nothing slow, no growth."""
    done = fuzzed(str(DECODER), "--seconds", "60", "--found", str(tmp_path), seconds=300)
    assert done.returncode == 0, done.stderr[-5000:]
    inputs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    assert inputs is not None
    assert int(inputs[1]) > 1000


def test_without_atheris_the_fuzzer_says_what_to_install() -> None:
    """In one sentence, without a traceback."""
    without = f"import sys, runpy; sys.modules['atheris'] = None; sys.argv = [{str(DECODER)!r}]; "
    run = f"runpy.run_path({str(DECODER)!r}, run_name='__main__')"
    done = fuzzed("-c", without + run, seconds=60)
    assert (done.returncode, done.stdout, done.stderr) == (69, "", f"{MISSING}\n")
