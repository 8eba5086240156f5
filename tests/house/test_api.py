"""The API pages are what the docstrings say, and have every public name."""

from __future__ import annotations

import importlib
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
API = ROOT / "docs" / "api"
MODULES = ["genserver.client", "genserver.server", "genserver.protocol.errors"]


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    """The pages as `make docs` would write them."""
    pages: dict[str, str] = runpy.run_path(str(ROOT / "docs" / "generate.py"))["pages"]()
    return pages


def test_the_pages_are_what_the_docstrings_say(generated: dict[str, str]) -> None:
    """Otherwise: make docs."""
    written = {path.stem: path.read_text() for path in API.glob("*.md")}
    assert written == generated, "run `make docs` and commit docs/api"


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_has_a_section_with_text(module: str) -> None:
    """Names of other modules are on the page of theirs."""
    text = "\n".join(path.read_text() for path in API.glob("*.md"))
    for name in importlib.import_module(module).__all__:
        _, heading, section = text.partition(f"\n## `{name}`\n")
        assert heading, name
        section = section.partition("\n## ")[0]
        prose = [line for line in section.split("```")[-1].splitlines() if line.strip()]
        assert [line for line in prose if not line.startswith(("Bases:", "#"))], name
