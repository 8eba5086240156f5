"""Every block of code in the README and in the guides runs, and prints what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..support.documents import LANGUAGES, Document, blocks, matches

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs" / "guides").glob("*.md"))]
#: What starts TensorFlow again and again, each time for 5 s, runs in `make soak`, and whenever
#: somebody asks for it: pytest -m "" tests/house/test_readme.py
LONG = {"README.md", "generators.md", "stages.md", "resume.md", "keras.md", "notebook.md"}
RUNS = [pytest.param(p, marks=[pytest.mark.soak] * (p.name in LONG)) for p in DOCUMENTS]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_block_is_of_a_kind_that_is_run(path: Path) -> None:
    """Drawings are text, programs are python with a file name or cells, the rest is console."""
    found = blocks(path)
    assert len(found) == path.read_text().count("\n```") / 2
    for language, name, _ in found:
        assert language in LANGUAGES
        assert (language == "python") == bool(name)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_the_document_runs_as_written(path: Path, tmp_path: Path) -> None:
    """The blocks in order, as a reader would run them: files are written, commands run."""
    with Document(path, tmp_path) as document:
        assert document.run()


def test_the_comparison_can_fail() -> None:
    """Another number, a missing and an extra line are all seen."""
    assert matches("a ... c\nd", "a b c\nd\n")
    for wrong in ("a b c\ne", "a b c", "a b c\nd\nmore"):
        assert not matches("a ... c\nd", wrong)


@pytest.mark.parametrize(
    "text",
    ["```console\n$ echo one\ntwo\n```", "```python cell\nprint(1)\n```\n\n```output\n2\n```",
     "```python cell\nraise ValueError\n```\n\n```output\n```", "```python cell\nprint(1)\n```"],
    ids=["console", "output", "error", "nothing to compare with"],
)  # fmt: skip
def test_a_document_that_is_wrong_fails(text: str, tmp_path: Path) -> None:
    """What is printed is compared, errors count, and no cell goes unseen."""
    path = tmp_path / "wrong.md"
    path.write_text(text + "\n")
    with Document(path, tmp_path) as document, pytest.raises(AssertionError):
        document.run()
