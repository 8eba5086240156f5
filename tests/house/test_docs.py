"""The documents agree with the code that they describe."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import pytest
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.fields import FIELDS
from genserver.protocol.messages import Kind
from genserver.protocol.tables import LINK, SENDER, STREAM, Move
from genserver.server.metrics import FAMILIES

ROOT = Path(__file__).parent.parent.parent
PROTOCOL = ROOT / "docs" / "protocol.md"


def table(title: str, rows: dict[Enum, dict[Enum, Move]]) -> list[str]:
    """A state table in Markdown."""
    lines = [f"### {title}", "", "| state | event | next state |", "|---|---|---|"]
    for state, moves in rows.items():
        for event, move in moves.items():
            late = " (late)" if move.late else ""
            lines.append(f"| {state.value} | {event.name} | {move.to.value}{late} |")
    return [*lines, ""]


def rendered() -> str:
    lines = [*table("A link", LINK), *table("A stream", STREAM)]  # type: ignore[arg-type]  # enums
    return "\n".join(lines)


def test_the_protocol_document_has_the_tables_of_the_code() -> None:
    """What follows the marker is what tables.py says; the message shows it for pasting."""
    _, marker, written = PROTOCOL.read_text().partition("<!-- tables -->\n")
    assert marker
    assert written.strip() == rendered().strip(), rendered()


@pytest.mark.parametrize("kind", Kind)
def test_the_protocol_document_lists_every_message(kind: Kind) -> None:
    """With its number, its sender and every required key."""
    (row,) = (
        line for line in PROTOCOL.read_text().splitlines() if line.startswith(f"| {kind.name} |")
    )
    cells = [cell.strip() for cell in row.split("|")[1:-1]]
    assert cells[1] == str(int(kind))
    sender = SENDER[kind]
    assert cells[2] in {None: ("either",), "trainer": ("trainer",)}.get(
        sender.value if sender else None, ("server", "worker", "supervisor")
    )
    keys = set(re.findall(r"`(\w+)`", cells[3]))
    assert {field.key for field in FIELDS[kind]} <= keys


def test_operations_lists_every_exit_code() -> None:
    """Each code has a row."""
    text = (ROOT / "docs" / "operations.md").read_text()
    for code in ExitCode:
        assert re.search(rf"^\| {int(code)} \|", text, re.MULTILINE), code


def test_the_guide_lists_every_metric() -> None:
    """What follows the marker is the table of the code; the message shows it for pasting."""
    rows = ["| metric | labels | what it says |", "|---|---|---|"]
    for family in FAMILIES:
        labels = ", ".join(f"`{label}`" for label in family.labels)
        kind = f" ({family.kind})" if family.kind == "summary" else ""
        rows.append(f"| `{family.name}`{kind} | {labels} | {family.help} |")
    guide = ROOT / "docs" / "guides" / "metrics.md"
    _, marker, written = guide.read_text().partition("<!-- metrics -->\n")
    assert marker
    assert written.strip() == "\n".join(rows), "\n".join(rows)


@pytest.mark.parametrize(
    "folder",
    ["server", "client", "protocol", "protocol/transport", "benchmarks", "benchmarks/ways", "docs",
     "docker/proof", "examples/mri", "examples/patches", "examples/first_hour",
     "examples/first_hour/before", "examples/first_hour/after", "tests/first_hour", "tests",
     "tests/benchmarks", "tests/faults", "tests/integration", "tests/house",
     "tests/protocol", "tests/server", "tests/client", "tests/support", "tests/fuzz",
     "tests/security", "tests/soak"],
)  # fmt: skip
def test_every_folder_names_its_files(folder: str) -> None:
    """A newcomer finds each module in the annotated tree of its folder, or of the one above."""
    here = ROOT / folder
    readme = here / "README.md" if (here / "README.md").exists() else here.parent / "README.md"
    text = readme.read_text()
    missing = [p.name for p in here.glob("*.py") if p.name != "__init__.py" and p.name not in text]
    assert not missing, f"{readme.relative_to(ROOT)} does not name {missing}"
