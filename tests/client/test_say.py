"""What a dataset or client tells its user."""

from __future__ import annotations

import socket
import sys
import time

import pytest
from genserver.client.options import PullOptions
from genserver.client.source import Reach, Source
from genserver.client.waiting import _workers, say
from genserver.protocol.messages import Status, WorkerStatus


def test_a_program_without_standard_error_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``2>&-`` there is no ``sys.stderr``, and training goes on."""
    monkeypatch.setattr("genserver.client.waiting.logger.hasHandlers", lambda: False)
    monkeypatch.setattr(sys, "stderr", None)
    say("anything")


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that a dataset says."""
    lines: list[str] = []
    monkeypatch.setattr("genserver.client.waiting.say", lines.append)
    return lines


@pytest.fixture
def free() -> str:
    """An endpoint where nobody listens."""
    with socket.socket() as test:
        test.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{test.getsockname()[1]}"


@pytest.mark.parametrize(("wait", "limit"), [(False, "up to 30 s"), (True, "until it answers")])
def test_a_server_that_is_not_started_is_said_once_with_advice(
    said: list[str], free: str, wait: bool, limit: str
) -> None:
    """After 1 s the reason and the command, every 5 s after that one short line, none between."""
    reach = Reach(Source(free, PullOptions(wait=wait)))
    try:
        for seconds in (0.0, 1.0, 3.0, 2.0, 4.0, 1.0):
            reach._waiting.began -= seconds
            reach._waiting._reported -= seconds
            reach._waiting.report(reach.connections[0], reach.connections)
    finally:
        reach.release()
    assert said == [
        f"{free}: connection refused; is it started? genserver serve MODULE:GENERATOR "
        f"--bind {free} (waiting {limit})",
        f"waiting 6 s for {free}: connection refused",
        f"waiting 11 s for {free}: connection refused",
    ]


def test_the_state_of_several_servers_is_said(said: list[str], free: str) -> None:
    """Beside the one that is waited for, each of the others."""
    reach = Reach(Source([free, "tcp://127.0.0.1:1"], PullOptions()))
    try:
        for seconds in (1.0, 5.0):
            reach._waiting.began -= seconds
            reach._waiting._reported -= seconds
            reach._waiting.report(reach.connections[0], reach.connections)
    finally:
        reach.release()
    assert said[1].endswith(f"({free} does not answer; tcp://127.0.0.1:1 does not answer)")


def test_a_worker_between_two_lives_is_said_with_its_cause() -> None:
    """While elements are waited for; at the very first start there is no cause."""
    killed = "killed by SIGKILL, perhaps out of memory"
    workers = (
        WorkerStatus(0, "ready", 1, "", 0, "killed by SIGKILL", 2),
        WorkerStatus(1, "backoff", 2, "", 0, killed, 3), WorkerStatus(2, "starting", 3, "", 0),
    )  # fmt: skip
    status = Status("ready", "m:g", "static", 0, -2, "", None, workers)
    assert _workers(status) == (
        f"worker 0 ready, worker 1 is being started again ({killed}), worker 2 starting"
    )


def test_a_server_that_is_away_is_said_in_place_of_its_workers() -> None:
    """With the reason, and when it will be given up."""
    reach = Reach(Source("tcp://127.0.0.1:1", PullOptions(give_up_after=60.0)))
    try:
        core = reach.connections[0]._core
        core._watch.told(Status("ready", "m:g", "static", 0, -2, "", None), 0.0)
        core._watch.left("stopped by SIGTERM", True, time.monotonic())
        core.absence = core._watch.absence(time.monotonic())
        away = "tcp://127.0.0.1:1: away for 0 s (stopped by SIGTERM), given up after 60 s"
        assert reach.describe() == away
    finally:
        reach.release()
