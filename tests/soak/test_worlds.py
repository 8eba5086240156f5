"""The small worlds of tests/protocol/test_worlds.py with more bad luck, and more of the random ones
there, of test_model.py and of test_dealing.py: minutes of exploring."""

from __future__ import annotations

import pytest
from genserver.protocol.stream import Window
from hypothesis import settings

from ..protocol.test_dealing import Hands
from ..protocol.test_model import PairMachine
from ..protocol.test_worlds import Fates
from ..support.deals import FAULTS, Content, Dealing
from ..support.world import Faults, World, explore

pytestmark = pytest.mark.soak


class TestMorePairs(PairMachine.TestCase):
    """More of the random worlds of test_model.py."""

    settings = settings(max_examples=2000, stateful_step_count=50)


class TestMoreHands(Hands.TestCase):
    """More of the random worlds of test_dealing.py."""

    settings = settings(max_examples=2000, stateful_step_count=50)


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("fault", FAULTS)
def test_every_moment_of_a_fault_while_items_are_dealt(fault: str, batch: int) -> None:
    """One worker, three items of which one is empty, one element or batch ahead."""
    reached, _ = explore(
        Dealing(
            Content([[2, 0, 1]]), 1, known=False, window=Window(1, 99), batch=batch, fault=fault
        )
    )
    assert reached > 1000


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
