"""The clock of training steps, and what the Keras callback tells it; no server, no Keras."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from genserver.client.keras_telemetry import _Meter
from genserver.client.usage import STEPS_SECONDS, StepClock
from genserver.protocol.transport.usage import Usage


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [100.0]
    for module in ("usage", "keras_telemetry"):
        monkeypatch.setattr(f"genserver.client.{module}.time.monotonic", lambda: now[0])
    return now


def test_a_loop_that_asks_and_gets_has_its_times_counted(time: list[float]) -> None:
    """From the first step on, and none for a break."""
    clock, usage = StepClock(), Usage()
    clock.tell([usage])
    clock.asks()
    for waits, uses in ((1.0, 2.0), (3.0, 4.0), (0.0, STEPS_SECONDS + 1)):
        time[0] += waits
        assert clock.gets() == waits
        time[0] += uses
        clock.asks()
    assert (usage.waiting, usage.using, usage.steps) == (4.0, 6.0, True)


@dataclass
class Probed:
    """A probe that says what it is told."""

    seconds: float = 0.0


def test_keras_steps_are_told_without_compiling_validation_and_breaks(
    time: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step of a fit counts for nothing; what is waited between two steps does."""
    clock, usage = StepClock(), Usage()
    clock.tell([usage])
    monkeypatch.setattr("genserver.client.keras_telemetry.clock", clock)
    meter = _Meter()
    meter.probe = probe = Probed()

    def step(waits: float, uses: float) -> None:
        meter.begin_step()
        time[0] += waits + uses
        probe.seconds += waits
        meter.end_step()

    meter.begin()
    for _ in range(2):  # epochs
        meter.begin_epoch()
        step(5.0, 20.0)
        step(0.25, 0.5)
        step(0.01, 0.02)  # too short to be told at once
        meter.rest()
        time[0] += 7.0  # validation
        probe.seconds += 7.0
    meter.rest()
    # The second epoch's first step counts.
    assert usage.waiting == pytest.approx(2 * 0.26 + 5.0)
    assert usage.using == pytest.approx(2 * 0.52 + 20.0)
    assert meter.of_epoch()["data_wait"] == pytest.approx(5.26 / 25.78)
    assert usage.steps


def test_who_reads_may_come_while_the_loop_counts(time: list[float]) -> None:
    """tf.data's threads begin a pass in the middle of a step; who is gone is forgotten."""
    clock, first, second = StepClock(), Usage(), Usage()
    clock.tell([first])
    counted = clock._counted()
    assert next(counted) is first
    clock.tell([second])
    assert list(counted) == []
    assert list(clock._counted()) == [first, second]
    del first, counted
    clock.tell([Usage()])
    assert list(clock._counted()) == [second]
