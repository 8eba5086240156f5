"""What the benchmarks make of what they measured."""

from __future__ import annotations

import numpy as np
import pytest
from _figures import Slice, percentile, ratios, spread
from _lines import GROUPS, Line, judge
from _measure import CHECK_EVERY, _Check
from _report import HEADINGS, columns, make_row, number, table
from _rounds import Outcome


def outcome(*rates: float, reason: str = "") -> Outcome:
    return Outcome([Slice(rate) for rate in rates], reason)


def test_a_percentile_is_a_value_that_was_measured() -> None:
    """The smallest that the share of all values does not exceed, in any order of values."""
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == percentile([7.0], 0.0) == 7


def test_a_slow_round_does_not_change_a_ratio() -> None:
    """Rates are compared within their round, never across rounds."""
    assert ratios([100, 10, 100], [50, 5, 50]) == [2, 2, 2]
    with pytest.raises(ValueError, match="longer"):
        ratios([1.0], [1.0, 2.0])


def test_a_spread_is_the_median_and_the_range() -> None:
    """Of unsorted values."""
    result = spread([3.0, 1.0, 2.0])
    assert (result.median, result.low, result.high) == (2, 1, 3)


@pytest.mark.parametrize(
    ("value", "text"), [(12345.6, "12,346"), (123.44, "123.4"), (1.234, "1.23"), (0.0123, "0.0123")]
)
def test_a_number_has_three_digits_that_count(value: float, text: str) -> None:
    """And at most one behind the point from 100 on."""
    assert number(value) == text


def test_a_way_without_figures_is_a_row_that_says_why() -> None:
    """The table stays a table: every row has a cell for each heading."""
    slices = [Slice(100.0), Slice(200.0)]
    rows = [
        make_row("small", "plain", "TensorFlow", 1000, slices, slices, ""),
        make_row("small", "torch", "torch", 1000, [], slices, "not installed: torch"),
    ]
    lines = table("title", rows).splitlines()
    assert {line.count("|") for line in lines[2:6]} == {len(HEADINGS) + 1}
    assert lines[5].startswith("| torch")
    assert lines[-1] == "* torch: not installed: torch"
    assert rows[0].of_plain == [1, 1]


def test_what_failed_in_a_later_round_has_no_figures() -> None:
    """The slices before a failure are not shown as if nothing had happened."""
    slices = [Slice(1.0), Slice(1.0)]
    row = make_row("small", "grain", "numpy", 1, slices[:1], slices, "failed: killed")
    assert not row.slices
    assert not row.of_plain


def test_a_column_is_as_wide_as_its_widest_cell() -> None:
    """The table can be read without a browser."""
    assert len({len(line) for line in columns(["a", "b"], [["long cell", "1"]]).splitlines()}) == 1


def test_a_line_holds_against_the_strongest_of_the_others() -> None:
    """ "Times the best other" is the least ratio, and the note names who it is."""
    outcomes = {"ours": outcome(60, 60), "torch": outcome(10, 10), "grain": outcome(20, 20)}
    verdict = judge(Line("times the best other", 4, "ours", ("torch", "grain")), outcomes)
    assert (verdict.figure, verdict.met) == (3, False)
    assert "grain" in verdict.note


def test_a_line_without_its_feature_is_not_met_and_says_so() -> None:
    """Whether the feature, or everything to compare with, is what is missing."""
    outcomes = {"ours": outcome(reason="this build has no batch="), "plain": outcome(1)}
    for ours, over in (("ours", "plain"), ("plain", "ours")):
        verdict = judge(Line("times plain", 1, ours, (over,)), outcomes)
        assert not verdict.met
        assert "this build has no batch=" in verdict.note


def test_a_time_is_met_from_below_and_a_ratio_from_above() -> None:
    """Microseconds per element where there is nothing to compare with."""
    outcomes = {"ours": outcome(1e6), "plain": outcome(1e6)}
    assert judge(Line("us", 1.1, "ours"), outcomes).met
    assert not judge(Line("us", 0.9, "ours"), outcomes).met
    assert judge(Line("times", 1.0, "ours", ("plain",)), outcomes).met
    assert not judge(Line("times", 1.1, "ours", ("plain",)), outcomes).met


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_every_line_names_contestants_that_run(group) -> None:  # type: ignore[no-untyped-def]
    """And nobody runs for no line."""
    running = {entry(1000.0).name for entry in group.entries}
    assert running == {name for line in group.lines for name in (line.ours, *line.over)}


def test_bytes_of_another_element_are_seen() -> None:
    """A page that was not rewritten fails the run of the lines on writing in place."""
    check, element = _Check(), np.full((4, 4096), 7, np.uint8)
    for _ in range(2 * CHECK_EVERY - 1):
        check(element)
    element[2] = 6
    with pytest.raises(AssertionError, match="mixes"):
        check(element)
