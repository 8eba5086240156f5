"""The table of promises names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FAULTS = ROOT / "docs" / "faults.md"
#: The same in short.
README = ROOT / "README.md"
#: Against harm.
SECURITY = ROOT / "SECURITY.md"
#: A test's own name, or the file of tests that keep a promise together.
_NAMED = re.compile(r"`(test_\w+|tests/[\w/]+\.py)`")


#: What a cell without a test may say; the document explains it.
REFERRING = ("the same", "as when it dies")


def existing(folder: Path = ROOT / "tests") -> set[str]:
    """Every test function below a folder."""
    found: set[str] = set()
    for path in folder.rglob("test_*.py"):
        found.update(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE))
    return found


@pytest.mark.parametrize(("document", "least"), [(FAULTS, 20), (README, 8), (SECURITY, 20)])
def test_every_test_that_is_named_exists(document: Path, least: int) -> None:
    """By its name, in any file, or as a file."""
    names = _NAMED.findall(document.read_text())
    assert len(names) > least
    known = existing()
    missing = [n for n in names if not (n in known or (ROOT / n).is_file())]
    assert not missing


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


ROWS = [cells(line) for line in FAULTS.read_text().splitlines() if line.startswith("| ")][1:]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_promise_names_its_test(row: list[str]) -> None:
    """Each row's first cell has at least one; so has any other that does not refer to it."""
    fault, first, *others = row
    assert len(others) == 2
    assert _NAMED.search(first), fault
    assert all(_NAMED.search(cell) or cell in REFERRING for cell in others), fault


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_test_elsewhere_is_named_with_its_folder(row: list[str]) -> None:
    """Who looks for a test in tests/faults finds it there."""
    here = existing(ROOT / "tests" / "faults")
    for cell in row[1:]:
        names = {name for name in _NAMED.findall(cell) if name.startswith("test_")}
        assert names <= here or "`tests/" in cell, cell


def test_every_test_of_a_fault_is_in_the_table_or_of_the_bench() -> None:
    """A test that no promise names is a promise that nobody can read."""
    of_the_bench = ("checker", "proxy", "namespaces", "nemesis", "remains")
    bench = {f"test_{name}.py" for name in of_the_bench}
    text = FAULTS.read_text()
    unnamed = [
        name
        for path in sorted((ROOT / "tests" / "faults").glob("test_*.py"))
        if path.name not in bench
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
        if f"`{name}`" not in text
    ]
    assert not unnamed
