"""What a training loop is shown of what is measured, without any server."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from genserver.client import progress_line
from genserver.client.loop_line import line_of
from genserver.client.measured import ServerTelemetry
from genserver.protocol.telemetry import Snapshot, Span, TrainerTotals, WorkerTotals
from genserver.protocol.verdict import Bottleneck, judge

MODULE = "genserver.client.loop_line"


def server(endpoint: str, *, waiting: float, workers: int = 2) -> ServerTelemetry:
    """One that was watched for 10 s, whose workers made 100 elements each."""
    snapshots = [
        Snapshot(
            at=at * 1_000_000, cores=2, memory=2**34,
            workers=tuple(
                WorkerTotals(index=i, elements=10 * at, making=at * 1_000_000, rss=2**20)
                for i in range(workers)
            ),
            trainers=(
                TrainerTotals(
                    session=1, elements=10 * at * workers, waiting=int(at * 1e6 * waiting),
                    using=int(at * 1e6 * (1 - waiting)), steps=True,
                ),
            ),
        )
        for at in (0, 10)
    ]  # fmt: skip
    span = Span.between(*snapshots)
    return ServerTelemetry(endpoint=endpoint, span=span, verdict=judge(span))


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [100.0]
    monkeypatch.setattr(f"{MODULE}.time.monotonic", lambda: now[0])
    return now


def batches(time: list[float], seconds: float, count: int) -> Iterator[int]:
    """Each comes after so many seconds."""
    for number in range(count):
        time[0] += seconds
        yield number


def test_a_loop_gets_the_same_batches_and_a_line_every_ten_seconds(time: list[float]) -> None:
    """Its steps use a second, and it waits for three."""
    file, got = io.StringIO(), []
    for batch in progress_line(batches(time, 3.0, 8), file=file):
        got.append(batch)
        time[0] += 1.0
    assert got == list(range(8))
    assert file.getvalue() == 2 * "genserver: 0.2 steps/s, data wait 75%\n"


def test_on_a_terminal_one_line_is_rewritten(time: list[float]) -> None:
    """And what follows begins below it, also where the loop is left."""
    file = Terminal()
    loop = progress_line(batches(time, 1.0, 100), file=file)
    for batch in loop:
        if batch == 3:
            break
    loop.close()  # type: ignore[attr-defined]  # a generator
    lines = file.getvalue().split("\r\033[K")
    assert lines == ["", *2 * ["1.0 steps/s, data wait 100%"], "1.0 steps/s, data wait 100%\n"]


def test_a_line_has_each_workers_rate_and_the_verdict() -> None:
    """Without a name where there is one server."""
    line = line_of(2.0, 0.5, [server("tcp://a:1", waiting=0.5)])
    assert line == (
        "2.0 steps/s, data wait 50%, workers 10.0 10.0 elements/s, producer-bound: the trainer "
        "waits for 50% of its time: 4 workers in the place of 2 would match it"
    )


def test_of_several_servers_the_one_that_is_waited_for_is_named() -> None:
    """And rates beyond the eighth are left out."""
    servers = [
        server("tcp://a:1", waiting=0.01, workers=8), server("tcp://b:1", waiting=0.5, workers=8),
    ]  # fmt: skip
    line = line_of(2.0, 0.5, servers)
    assert servers[0].verdict.bottleneck is Bottleneck.TRAINER
    assert f"workers {'10.0 ' * 8}... elements/s, tcp://b:1 producer-bound" in line
