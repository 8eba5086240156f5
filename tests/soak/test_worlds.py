"""The small worlds of tests/protocol/test_worlds.py with more bad luck, and more of the random ones
there and of test_model.py: minutes of exploring."""

from __future__ import annotations

import pytest
from hypothesis import settings

from ..protocol.test_model import PairMachine
from ..protocol.test_worlds import Fates
from ..support.world import Faults, World, explore

pytestmark = pytest.mark.soak


class TestMorePairs(PairMachine.TestCase):
    """More of the random worlds of test_model.py."""

    settings = settings(max_examples=2000, stateful_step_count=50)


class TestMoreFates(Fates.TestCase):
    """More of the random fates of tests/protocol/test_worlds.py."""

    settings = settings(max_examples=200, stateful_step_count=30)


@pytest.mark.parametrize(
    ("lengths", "faults", "worlds"),
    [
        ((3,), Faults(cuts=2, crashes=1), 100_000),
        ((3,), Faults(cuts=1, crashes=1, repeats=1), 20_000),
        ((3,), Faults(crashes=1, restarts=1), 5_000),
        ((2, 1), Faults(crashes=1), 10_000),
        ((2, 1), Faults(cuts=1), 10_000),
    ],
)
def test_every_order_of_more_faults(lengths: tuple[int, ...], faults: Faults, worlds: int) -> None:
    """Every element comes once, in order, and every stream ends with its count."""
    reached, _ = explore(World(lengths, faults).greet())
    assert reached > worlds
