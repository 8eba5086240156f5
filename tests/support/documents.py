"""Runs a document as a reader would: files are written, commands run, cells executed.

    ```python NAME.py     a file
    ```python cell        a notebook's cell; `%%writefile NAME` on its first line writes a file
    ```console            commands after `$ `, and what they print; one that ends with ` &` stays
    ```output             what cells print; all cells of a document share one kernel
    ```text               a drawing, or what one machine cannot show

``...`` in an output stands for anything on its line. Ports 5555, 5565 and 9400 become free ones.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .ports import free_from

__all__ = ["Document", "LANGUAGES", "blocks", "commands", "matches"]

BLOCK = re.compile(r"^```(\w+)[ ]?(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LANGUAGES = ("python", "console", "output", "text")

#: The ports that documents use, and those that a server there needs, from the first free one.
PORTS = {"5555": 0, "5565": 10, "9400": 20}
WORKERS = 3

#: What a notebook does with its cells, from standard input as one JSON list.
NOTEBOOK = """
import json, pathlib, sys
sys.path.insert(0, "")
space = {"__name__": "__main__"}
for cell in json.load(sys.stdin):
    head, _, body = cell.partition("\\n")
    if head.startswith("%%writefile "):
        pathlib.Path(head.split()[1]).write_text(body)
    else:
        exec(compile(cell, "cell", "exec"), space)
"""


def blocks(path: Path) -> list[tuple[str, str, str]]:
    """(language, name, text) of every block."""
    return [match.groups() for match in BLOCK.finditer(path.read_text())]  # type: ignore[misc]  # three groups


def commands(text: str) -> Iterator[tuple[str, str]]:
    """(command, expected output) of a console block."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def matches(expected: str, printed: str) -> bool:
    """Whether the output is as expected; ``...`` stands for anything on a line."""
    pattern = ".*".join(map(re.escape, expected.strip().split("...")))
    return re.fullmatch(pattern, printed.strip()) is not None


class Document:
    """One document, run in a folder. Use as a context manager: its servers end with it."""

    def __init__(self, path: Path, folder: Path) -> None:
        self._path = path
        self._folder = folder
        self._first = free_from(b + i for b in PORTS.values() for i in range(WORKERS))
        self._servers: list[subprocess.Popen[str]] = []
        scripts = str(Path(sys.executable).parent)
        self._environment = {
            **os.environ,
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

    def __enter__(self) -> Document:
        return self

    def __exit__(self, *exception: object) -> None:
        for server in self._servers:
            server.terminate()
            server.communicate(timeout=20)

    def run(self) -> int:
        """Run every block in order; how many. AssertionError where one prints otherwise."""
        count = 0
        cells: list[str] = []
        outputs: list[str] = []
        for language, name, written in blocks(self._path):
            text = self._with_free_ports(written)
            if language == "python" and name == "cell":
                cells.append(text)
            elif language == "python":
                (self._folder / name).write_text(text)
            elif language == "output":
                outputs.append(text)
            elif language == "console":
                for command, expected in commands(text):
                    self._command(command, expected)
            count += language != "text"
        if cells:
            self._notebook(cells, "".join(outputs))
        return count

    def _with_free_ports(self, text: str) -> str:
        for port, offset in PORTS.items():
            text = text.replace(port, str(self._first + offset))
        return text

    def _notebook(self, cells: list[str], expected: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", NOTEBOOK], input=json.dumps(cells), cwd=self._folder,
            env=self._environment, capture_output=True, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        _compare("the cells", expected, done.stdout)

    def _command(self, command: str, expected: str) -> None:
        words = shlex.split(command.removesuffix("&"))
        if words[:2] == ["genserver", "probe"] and len(words) == 2:
            words.append(f"tcp://127.0.0.1:{self._first}")
        if words[:2] == ["genserver", "serve"] and "--bind" not in words:
            # A server that stays is the one that the document talks of; any other fails.
            words += ["--bind", f"tcp://127.0.0.1:{self._first if command.endswith('&') else 0}"]
        if command.endswith("&"):
            server = subprocess.Popen(
                words, stdout=subprocess.PIPE, text=True, cwd=self._folder, env=self._environment
            )
            self._servers.append(server)
            assert server.stdout is not None
            printed = "".join(server.stdout.readline() for _ in expected.strip().splitlines())
        else:
            done = subprocess.run(
                words, capture_output=True, text=True, cwd=self._folder, env=self._environment,
                timeout=120, check=False,
            )  # fmt: skip
            printed = done.stdout or done.stderr
        _compare(command, expected, printed)


def _compare(what: str, expected: str, printed: str) -> None:
    assert matches(expected, printed), f"{what}\nexpected:\n{expected}\nprinted:\n{printed}"
