"""Ctrl-C while TensorFlow waits in C++, where Python's handlers do not run."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..support.processes import program
from ..support.servers import Serve

pytest.importorskip("tensorflow")

TRAINER = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from genserver.client import from_server
dataset = from_server(sys.argv[1])
print("made", flush=True)
exec(input())
try:
    for element in dataset:
        print(int(element), flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
    print(int(next(iter(dataset))), flush=True)
"""


@contextmanager
def trainer(endpoint: str) -> Iterator[subprocess.Popen[str]]:
    """A process that reads an endpoint's elements; killed if it is still there."""
    # TensorFlow's import is the longest part.
    with program(TRAINER, endpoint, seconds=60.0, errors=subprocess.PIPE) as training:
        yield training


def go(training: subprocess.Popen[str], statement: str = "") -> None:
    """Let it begin, after a statement."""
    assert training.stdin is not None
    training.stdin.write(f"{statement}\n")
    training.stdin.flush()


def said(training: subprocess.Popen[str]) -> str:
    """The next line that it printed."""
    assert training.stdout is not None
    assert training.stderr is not None
    line = training.stdout.readline().strip()
    assert line, training.stderr.read()
    return line


def test_ctrl_c_is_heard_while_tensorflow_waits(serve: Serve, tmp_path: Path) -> None:
    """SIGINT ends a trainer's wait inside next(), and the trainer can go on with a new iterator."""
    server = serve("told", workers=1, arguments={"folder": str(tmp_path)}, spec="int64[]")
    with trainer(server.endpoint) as training:
        assert said(training) == "made"
        go(training)
        assert said(training) == "0"
        training.send_signal(signal.SIGINT)
        assert said(training) == "interrupted"  # element 1 was not made
        # Whether or not the first pass's generator knows by now that nobody reads it.
        (tmp_path / "over").touch()
        assert said(training) == "0"
        assert training.wait(30) == 0


@pytest.mark.soak
def test_ctrl_c_is_heard_while_nobody_answers(serve: Serve) -> None:
    """The server went between making the dataset and its first pass."""
    server = serve("numbered")
    with trainer(server.endpoint) as training:
        assert said(training) == "made"
        server.stop()
        go(training)
        assert training.stderr is not None
        while "is it started?" not in (line := training.stderr.readline()):
            assert line, "it ended"
        training.send_signal(signal.SIGINT)
        assert said(training) == "interrupted"


@pytest.mark.soak
def test_ctrl_c_is_heard_where_tensorflow_swallows_it(serve: Serve, tmp_path: Path) -> None:
    """C++ calls a shape's length in each next() and drops the KeyboardInterrupt raised there."""
    server = serve("told", workers=1, arguments={"folder": str(tmp_path)}, spec="int64[]")
    with trainer(server.endpoint) as training:
        assert said(training) == "made"
        go(training, "from swallowing import arm; arm()")
        assert said(training) == "0"
        assert said(training) == "interrupted"
    (tmp_path / "over").touch()
