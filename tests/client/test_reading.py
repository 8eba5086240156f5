"""`genserver bench` as a trainer: what such a process does before it reads."""

from __future__ import annotations

import pytest
from genserver.client import reading


def test_plain_ends_with_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks for that before any of the user's code is loaded; nothing is if bench is gone."""
    asked: list[int] = []

    def gone(parent: int) -> bool:
        asked.append(parent)
        return False

    monkeypatch.setattr(reading, "die_with_parent", gone)
    reading.plain({"parent": 17, "report": -1}, lambda _: pytest.fail("loaded"))
    assert asked == [17]
