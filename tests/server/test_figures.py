"""Figures for a terminal: pure."""

from __future__ import annotations

import pytest
from genserver.protocol.telemetry import UNKNOWN
from genserver.protocol.text import clean, fit, pad, width_of
from genserver.server.figures import (
    ASCII,
    BLOCKS,
    duration,
    memory,
    number,
    share,
    sparkline,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-1, "0"), (0.123, "0.12"), (3.456, "3.46"), (9.996, "10.0"), (57.12, "57.1"),
     (99.96, "100"), (345.6, "346"), (999.6, "1000"), (8123, "8123"), (9999.6, "10.0k"),
     (12_345, "12.3k"), (999_600, "1.00M"), (1.2e9, "1.20G")],
)  # fmt: skip
def test_a_number_has_three_digits_that_count(value: float, text: str) -> None:
    """Also where rounding makes it longer."""
    assert number(value) == text


@given(st.floats(0, 9e14))
def test_a_number_is_short(value: float) -> None:
    """Whatever its size: columns do not jump."""
    assert len(number(value)) <= 5


@pytest.mark.parametrize(
    ("microseconds", "text"),
    [(UNKNOWN, "-"), (0, "0us"), (950, "950us"), (1_000, "1.00ms"), (45_210, "45.2ms"),
     (999_700, "1.00s"), (12_345_678, "12.3s"), (750_000_000, "12.5m")],
)  # fmt: skip
def test_a_time_has_its_unit(microseconds: int, text: str) -> None:
    """From microseconds to minutes; a dash where nobody has measured any."""
    assert duration(microseconds) == text


def test_memory_and_shares_are_short() -> None:
    """What the system does not say is a dash."""
    assert (memory(0), memory(77_800_000), memory(1_230_000_000)) == ("-", "77.8MB", "1.23GB")
    assert (share(0.0), share(0.834), share(1.16)) == ("0%", "83%", "116%")


def test_a_sparkline_is_the_last_seconds() -> None:
    """One bar a second from nothing to the top; blank where nothing is known."""
    rates = {3: 0.0, 4: 5.0, 5: 10.0, 7: 10.0}
    line = sparkline(rates, now=7, seconds=6, width=6, top=10.0)
    assert line == " ▁▅█ █"
    assert sparkline(rates, now=7, seconds=6, width=6, top=10.0, blocks=ASCII) == " _=# #"
    assert sparkline({7: 0.0}, now=7, seconds=6, width=6, top=0.0) == "     ▁"


@given(st.integers(0, 300), st.sampled_from([12, 20, 30, 60]))
def test_a_bar_keeps_its_height_while_it_moves(now: int, width: int) -> None:
    """A second later the same bars are there, at most one place further left; none flickers."""
    rates = {second: float(second * 7919 % 11) for second in range(1000)}

    def bars(last: int) -> str:
        known = {second: rates[second] for second in range(max(0, last - 300), last + 1)}
        return sparkline(known, now=last, seconds=60, width=width, top=10.0)

    before, after = bars(now), bars(now + 1)
    assert len(before) == len(after) == width
    assert before[1:-1] in (after[:-2], after[1:-1])
    assert set(before) <= {*BLOCKS, " "}


@given(st.text(), st.integers(0, 30))
def test_text_fits_whatever_it_holds(text: str, width: int) -> None:
    """Wide characters count twice; what a terminal would obey is gone."""
    tidy = clean(text)
    assert tidy.isprintable()
    assert width_of(fit(tidy, width)) <= width
    assert width_of(pad(tidy, width, right=True)) == width
