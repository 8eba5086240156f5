"""What is known of all workers at a moment, and for how long it is taken for new."""

from __future__ import annotations

import os

import pytest
from genserver.protocol.messages import NO_MORE, Status, WorkerStatus
from genserver.protocol.telemetry import ANY
from genserver.server import vitals as module
from genserver.server.progress_page import ProgressPage
from genserver.server.vitals import FRESH_SECONDS, Vitals


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


def status(sharding: str = "static", items: int = NO_MORE) -> Status:
    worker = WorkerStatus(0, "ready", os.getpid(), "", 0)
    return Status("ready", "", sharding, 1, -2, "", None, (worker,), items=items)


def test_who_looks_soon_after_another_gets_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two who look once a second cost one look a second, and neither sees one twice."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    pages, vitals = {0: ProgressPage()}, Vitals()
    seen = []
    for half_second in range(8):
        clock.now = 100.0 + half_second / 2
        pages[0].gave(5, 1_000_000)
        seen.append(vitals.snapshot(status(), pages, ()))
    assert FRESH_SECONDS < 1.0
    assert [snapshot.workers[0].elements for snapshot in seen] == [5, 5, 15, 15, 25, 25, 35, 35]
    for one in (seen[::2], seen[1::2]):
        assert [snapshot.at for snapshot in one] == [0, 1_000_000, 2_000_000, 3_000_000]


def test_an_element_that_is_not_finished_has_taken_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A generator that is at one element for 14 s is at work, and none of it is counted twice or
    taken back."""
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    page, vitals = ProgressPage(), Vitals()
    page.begin(-1, 0, 0, 0, 0)
    making = []
    for second in range(20):
        clock.now = 100.0 + second
        if second == 14:
            page.rest(-1, 1, 14_200_000_000, 1)
        making.append(vitals.snapshot(status(), {0: page}, ()).workers[0].making)
    assert making[:14] == [second * 1_000_000 for second in range(14)]
    assert making[14:] == [14_200_000] * 6


@pytest.mark.parametrize(
    ("sharding", "items", "most"),
    [("single", NO_MORE, 1), ("dynamic", 3, 3), ("dynamic", NO_MORE, ANY), ("static", 8, ANY),
     ("off", NO_MORE, ANY)],
)  # fmt: skip
def test_it_says_over_how_many_workers_the_generator_can_be_divided(
    sharding: str, items: int, most: int
) -> None:
    """No more than `serve` would take, nor than there are items."""
    assert Vitals().snapshot(status(sharding, items), {}, ()).most == most
