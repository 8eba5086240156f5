"""Running again up to the element where a stream goes on: what is said, and when it is too much."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from genserver.server import run as running
from genserver.server.rerun import LINE_EVERY, Refusal, Rerun

from ..support.bench import Bench


def rerun(
    target: int = 1000, mean: float | None = None, limit: float | None = None
) -> Rerun:  # fmt: skip
    return Rerun(target, mean=mean, limit=limit)


def test_it_says_how_many_and_how_long_before_it_begins() -> None:
    """The estimate from the time that the elements took before, where that is known."""
    assert rerun(mean=0.02).announcement == (
        "runs 1000 elements again to go on at element 1000, about 20.0 s; a generator that begins "
        "at worker.start saves that"
    )
    assert "element 1; a generator" in rerun(1).announcement


def test_a_line_every_five_seconds_says_how_far_it_is() -> None:
    """No line before, and none between two; the time that is left by the pace so far."""
    again = rerun()
    assert again.passed(400, LINE_EVERY - 0.1) == ""
    said = again.passed(500, LINE_EVERY)
    assert said == "has run 500 of 1000 elements again, about 5 s left"
    assert again.passed(501, 0.1 + LINE_EVERY) == ""
    assert again.passed(900, 2 * LINE_EVERY) != ""
    assert again.finished(11.0) == "ran 1000 elements again in 11.0 s"


def test_an_estimate_beyond_the_limit_is_refused_before_anything_is_run() -> None:
    """A typed error that names the option and the way out."""
    with pytest.raises(Refusal, match=r"would take about 20\.0 s, and --max-rerun is 10: have the"):
        rerun(mean=0.02, limit=10.0)
    rerun(mean=0.02, limit=21.0)


def test_an_unknown_pace_is_refused_when_it_is_known() -> None:
    """After the first line's time."""
    again = rerun(limit=60.0)
    assert again.passed(10, 4.0) == ""
    with pytest.raises(Refusal, match=r"would take about 500\.0 s") as caught:
        again.passed(10, 5.0)
    assert caught.value.kind == "RerunTooLong"


def test_it_never_takes_longer_than_the_limit() -> None:
    """Also when the estimate was good, and within the first seconds."""
    again = rerun(mean=0.001, limit=2.0)
    assert again.passed(10, 2.0) == ""
    with pytest.raises(Refusal, match=r"had taken, with 11 of them done, 2\.1 s"):
        again.passed(11, 2.1)


def test_none_may_be_run_again() -> None:
    """--max-rerun 0, where the pace is known or not."""
    with pytest.raises(Refusal):
        rerun(mean=0.001, limit=0.0)
    with pytest.raises(Refusal):
        rerun(limit=0.0).passed(1, 0.001)


def test_fewer_elements_than_before_are_an_error() -> None:
    """The generator is not what it was promised to be."""
    refusal = rerun().ended(7)
    assert refusal.kind == "NotRepeatable"
    assert str(refusal).startswith("the generator ended after 7 elements when it was run again")


class Clock:
    """What the runner takes for the time: it passes when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(running.time, "monotonic_ns", lambda: int(self.now * 1e9))


def slow(clock: Clock, seconds: list[float]) -> Iterator[int]:
    """Elements that take so long each."""
    for number, each in enumerate(seconds):
        clock.now += each
        yield number


def test_what_other_streams_take_between_two_elements_does_not_count(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither against the limit nor in the last line; a stream beside it may be slow."""
    clock = Clock(monkeypatch)
    seconds = iter([0.5, 100.0])
    bench = Bench(lambda worker: slow(clock, [next(seconds)] * 8), max_rerun=4.0)
    again, beside = bench.open(1, start=6, elements=8), bench.open(2, elements=8)
    bench.turns(20)
    assert bench.taken(again)[0] == [6, 7]
    assert bench.taken(beside)[0] == list(range(8))
    assert caplog.messages[-1] == "ran 6 elements again in 3.0 s"


def test_the_first_element_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It alone may take more than the limit: what is opened or read before the first yield."""
    clock = Clock(monkeypatch)
    bench = Bench(lambda worker: slow(clock, [60.0, 0.0]), max_rerun=10.0)
    key = bench.open(1, start=1)
    bench.turns(2)
    failure = bench.taken(key)[1].failure
    assert failure.kind == "RerunTooLong"
    assert "had taken, with 1 of them done, 60.0 s" in failure.text
