"""The interval that `against.py` prints."""

from __future__ import annotations

import pytest
from against import interval


@pytest.mark.parametrize(("n", "rank"), [(3, 1), (5, 1), (6, 1), (10, 2), (20, 6), (40, 14)])
def test_the_interval_of_a_median_is_that_of_the_tables(n: int, rank: int) -> None:
    """The ranks of the sign test at 95 %, in any order of the values."""
    values = [float(value) for value in range(1, n + 1)]
    assert interval(values[::-1]) == (rank, n + 1 - rank)
