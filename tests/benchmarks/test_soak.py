"""What soak_faults.py makes of its looks."""

from __future__ import annotations

import pytest
from soak_faults import COLUMNS, slopes


def test_a_straight_line_has_its_slope() -> None:
    """One unit a second is 3600 an hour; what stays has none."""
    looks = [(float(t), *(t if n == 0 else 7.0 for n in range(len(COLUMNS)))) for t in range(100)]
    rising, *flat = slopes(looks)
    assert rising[0] == "trainer MiB"
    assert rising[3] == pytest.approx(3600)
    assert rising[1] < rising[2]
    assert all(slope == pytest.approx(0, abs=1e-6) for *_, slope in flat)


def test_the_beginning_does_not_count() -> None:
    """Caches fill in the first fifth."""
    looks = [(float(t), *(max(0, 20 - t) for _ in COLUMNS)) for t in range(101)]
    assert all(slope == pytest.approx(0, abs=1e-6) for *_, slope in slopes(looks))
