"""What is known of all workers at a moment, and for how long it is taken for new."""

from __future__ import annotations

import os

import pytest
from genserver.protocol.messages import WorkerStatus
from genserver.server import vitals as module
from genserver.server.progress_page import ProgressPage
from genserver.server.vitals import FRESH_SECONDS, Vitals


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def test_who_looks_soon_after_another_gets_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two who look once a second cost one look a second, and neither sees one twice."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    pages, vitals = {0: ProgressPage()}, Vitals()
    worker = WorkerStatus(0, "ready", os.getpid(), "", 0)
    seen = []
    for half_second in range(8):
        clock.now = 100.0 + half_second / 2
        pages[0].gave(5, 1_000_000)
        seen.append(vitals.snapshot([worker], pages, ()))
    assert FRESH_SECONDS < 1.0
    assert [snapshot.workers[0].elements for snapshot in seen] == [5, 5, 15, 15, 25, 25, 35, 35]
    for one in (seen[::2], seen[1::2]):
        assert [snapshot.at for snapshot in one] == [0, 1_000_000, 2_000_000, 3_000_000]
