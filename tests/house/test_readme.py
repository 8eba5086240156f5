"""Every block of code in the README runs, and prints what the README says."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
BLOCK = re.compile(r"^```(\w+)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str, str]]:
    """(language, file name, text) of every block."""
    return [match.groups() for match in BLOCK.finditer((ROOT / "README.md").read_text())]  # type: ignore[misc]  # three groups


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, expected output) of a console block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def matches(expected: str, printed: str) -> bool:
    """Whether the output is as expected; ``...`` stands for anything on a line."""
    pattern = ".*".join(map(re.escape, expected.strip().split("...")))
    return re.fullmatch(pattern, printed.strip()) is not None


def free_ports() -> int:
    """A port with two free ones above it, for the workers."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                for above in (1, 2):
                    with socket.socket() as other:
                        other.bind(("127.0.0.1", port + above))
            except OSError:
                continue
            return port


def test_every_block_is_of_a_kind_that_is_run() -> None:
    """Drawings are text, programs are python with a file name, the rest is console."""
    for language, name, _ in blocks():
        assert language in ("text", "console") or (language == "python" and name)


def test_the_readme_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks in order, as a reader would run them: files are written, commands run."""
    port = str(free_ports())
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    servers: list[subprocess.Popen[str]] = []
    try:
        for language, name, written in blocks():
            text = written.replace("5555", port)
            if language == "python":
                (tmp_path / name).write_text(text)
            elif language == "console":
                for command, expected in commands(text):
                    run(command, expected, tmp_path, port, servers)
    finally:
        for server in servers:
            server.terminate()
            server.communicate(timeout=20)
    assert servers


def run(
    command: str, expected: str, folder: Path, port: str, servers: list[subprocess.Popen[str]]
) -> None:
    if command.endswith("&"):
        server = subprocess.Popen(
            [*shlex.split(command[:-1]), "--bind", f"tcp://127.0.0.1:{port}"],
            stdout=subprocess.PIPE, text=True, cwd=folder,
        )  # fmt: skip
        servers.append(server)
        assert server.stdout is not None
        printed = "".join(server.stdout.readline() for _ in expected.strip().splitlines())
    else:
        words = shlex.split(command)
        words += [f"tcp://127.0.0.1:{port}"] if words == ["genserver", "probe"] else []
        if words[:2] == ["genserver", "serve"] and "--bind" not in words:
            words += ["--bind", "tcp://127.0.0.1:0"]
        done = subprocess.run(
            words, capture_output=True, text=True, cwd=folder, timeout=120, check=False
        )
        printed = done.stdout or done.stderr
    assert matches(expected, printed), f"{command}\nexpected:\n{expected}\nprinted:\n{printed}"


def test_the_comparison_can_fail() -> None:
    """Another number, a missing and an extra line are all seen."""
    assert matches("a ... c\nd", "a b c\nd\n")
    for wrong in ("a b c\ne", "a b c", "a b c\nd\nmore"):
        assert not matches("a ... c\nd", wrong)
