"""A look whose picture cannot be drawn: what is left of it, without a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genserver.client import album, peek, picture
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.spec import parse_spec


class Played:
    """The elements of a server that a test plays."""

    generator, ended = "scenes:scenes", False
    spec = parse_spec("{image: float32[16,16], label: int64[]}")

    def __init__(self, *given: Any, **options: Any) -> None:
        """Where they come from is all the same."""

    def __enter__(self) -> Played:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is open."""

    def elements(self) -> Iterator[list[Any]]:
        """Eight."""
        for number in range(8):
            yield [np.eye(16, dtype=np.float32) * number, np.int64(number)]


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an older picture is; elements come from `Played`."""
    path = tmp_path / "samples.png"
    path.write_text("old")
    monkeypatch.setattr(peek, "Glance", Played)
    return path


def refuse(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, error: Exception) -> None:
    def raising(*given: Any) -> None:
        raise error

    monkeypatch.setattr(where, name, raising)


@pytest.mark.parametrize(
    ("error", "code"),
    [(IndexError("out\n of bounds"), 70), (ValueError("shapes"), 70), (OverflowError(), 70),
     (TypeError("None"), 70), (MemoryError(), 70), (AttributeError("Text.set()"), 70),
     (ImportError("half of it"), 78), (OSError(28, "No space left on device"), 78)],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_was_seen_is_told_without_its_picture(
    error: Exception, code: int, saved: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The table, then one sentence; the older picture stays."""
    refuse(monkeypatch, picture, "drawn", error)
    with pytest.raises(peek.PeekError, match="--save") as raised:
        peek.peek(peek.Asked(endpoint="tcp://127.0.0.1:1", save=str(saved)))
    assert raised.value.code == ExitCode(code)
    assert len(str(raised.value).splitlines()) == 1
    printed = capsys.readouterr().out
    assert "8 elements of epoch 0" in printed
    assert "saved" not in printed
    assert (saved.read_text(), list(saved.parent.iterdir())) == ("old", [saved])


def test_an_element_that_cannot_be_cut_ends_the_drawing_and_not_the_counting(
    saved: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All elements are in the table; the sentence names the error."""
    refuse(monkeypatch, album, "cuts_of", IndexError("index 0 is out of bounds"))
    with pytest.raises(peek.PeekError, match="IndexError: index 0 is out of bounds"):
        peek.peek(peek.Asked(endpoint="tcp://127.0.0.1:1", save=str(saved)))
    assert "8 elements of epoch 0" in capsys.readouterr().out
    assert saved.read_text() == "old"
