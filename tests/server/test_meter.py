"""What is measured of a worker on its page."""

from __future__ import annotations

import pytest
from genserver.server.meter import BUCKETS, FIRST, LAST, bucket, middle, percentile
from genserver.server.progress_page import MAX_STREAMS, SIZE, STREAMS, ProgressPage
from hypothesis import given
from hypothesis import strategies as st


def test_the_meter_has_its_own_part_of_the_page() -> None:
    """Behind the streams, and inside the page."""
    assert STREAMS + 3 * MAX_STREAMS <= FIRST < LAST <= SIZE // 8
    page = ProgressPage()
    page.meter.took(1, 2**62)
    page.meter.failed("x" * 1000)
    assert not any(page.words[LAST:])
    assert not any(page.words[:FIRST])


@given(st.integers(2**10, 2**47))
def test_a_time_is_known_within_seven_percent(nanoseconds: int) -> None:
    """From a microsecond to a day."""
    assert middle(bucket(nanoseconds)) == pytest.approx(nanoseconds, rel=0.07)


@given(st.integers(0, 2**63), st.integers(0, 2**63))
def test_a_longer_time_is_never_counted_below_a_shorter_one(one: int, other: int) -> None:
    """And every time is counted."""
    low, high = sorted((one, other))
    assert 0 <= bucket(low) <= bucket(high) < BUCKETS


def test_percentiles_are_those_of_what_was_counted() -> None:
    """Of nothing there are none."""
    page = ProgressPage()
    assert percentile(page.meter.read().times, 0.5) is None
    page.meter.took(98, 98 * 1_000_000)
    page.meter.took(2, 2 * 50_000_000)
    times = page.meter.read().times
    assert percentile(times, 0.5) == pytest.approx(1e6, rel=0.07)
    assert percentile(times, 0.98) == pytest.approx(1e6, rel=0.07)
    assert percentile(times, 0.99) == pytest.approx(50e6, rel=0.07)


def test_an_error_is_kept_with_whole_characters() -> None:
    """The last one, cut to its place."""
    page = ProgressPage()
    page.meter.failed("ü" * 100)
    assert page.meter.read().error == "ü" * 60
    page.meter.failed("ValueError: no")
    assert page.meter.read().error == "ValueError: no"
