"""Running again up to the element where a stream goes on: what is said, and when it is too much."""

from __future__ import annotations

import pytest
from genserver.server.rerun import LINE_EVERY, Refusal, Rerun


def rerun(
    target: int = 1000, mean: float | None = None, limit: float | None = None
) -> Rerun:  # fmt: skip
    return Rerun(target, mean=mean, limit=limit, now=100.0)


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
    assert again.passed(400, 100.0 + LINE_EVERY - 0.1) == ""
    said = again.passed(500, 100.0 + LINE_EVERY)
    assert said == "has run 500 of 1000 elements again, about 5 s left"
    assert again.passed(501, 100.1 + LINE_EVERY) == ""
    assert again.passed(900, 100.0 + 2 * LINE_EVERY) != ""
    assert again.finished(111.0) == "ran 1000 elements again in 11.0 s"


def test_an_estimate_beyond_the_limit_is_refused_before_anything_is_run() -> None:
    """A typed error that names the option and the way out."""
    with pytest.raises(Refusal, match=r"would take about 20\.0 s, and --max-rerun is 10: have the"):
        rerun(mean=0.02, limit=10.0)
    rerun(mean=0.02, limit=21.0)


def test_an_unknown_pace_is_refused_when_it_is_known() -> None:
    """After the first line's time."""
    again = rerun(limit=60.0)
    assert again.passed(10, 104.0) == ""
    with pytest.raises(Refusal, match=r"would take about 500\.0 s") as caught:
        again.passed(10, 105.0)
    assert caught.value.kind == "RerunTooLong"


def test_it_never_takes_longer_than_the_limit() -> None:
    """Also when the estimate was good, and within the first seconds."""
    again = rerun(mean=0.001, limit=2.0)
    assert again.passed(10, 102.0) == ""
    with pytest.raises(Refusal, match=r"had taken, with 11 of them done, 2\.1 s"):
        again.passed(11, 102.1)


def test_none_may_be_run_again() -> None:
    """--max-rerun 0, where the pace is known or not."""
    with pytest.raises(Refusal):
        rerun(mean=0.001, limit=0.0)
    with pytest.raises(Refusal):
        rerun(limit=0.0).passed(1, 100.001)


def test_fewer_elements_than_before_are_an_error() -> None:
    """The generator is not what it was promised to be."""
    refusal = rerun().ended(7)
    assert refusal.kind == "NotRepeatable"
    assert str(refusal).startswith("the generator ended after 7 elements when it was run again")
