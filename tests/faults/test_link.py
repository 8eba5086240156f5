"""What happens to a connection must not happen to the data: cuts, partitions, slow and odd links."""

from __future__ import annotations

import random
import time
from itertools import islice

import pytest
from genserver.client import Client
from genserver.protocol import trainer_end

from ..support.checker import Checker, consume
from ..support.hashed import LARGE, TINY, share
from ..support.proxy import DOWN, UP, Toxics
from .conftest import Serving

WORKERS = 2


def each(n: int) -> list[int]:
    return [share(worker, WORKERS, n) for worker in range(WORKERS)]


@pytest.mark.parametrize("target", ["seeking", "counting"])
@pytest.mark.parametrize(("n", "nbytes"), [(6000, TINY), (300, LARGE)], ids=["tiny", "1MB"])
def test_links_that_are_cut_lose_and_repeat_nothing(
    through_proxy: Serving, chance: random.Random, target: str, n: int, nbytes: int
) -> None:
    """Every connection is reset at 20 random elements: each comes once, in order."""
    arguments = {"n": n, "nbytes": nbytes, "pause": 0.0001}
    endpoint, proxy = through_proxy(f"hashed:{target}", workers=WORKERS, arguments=arguments)
    checker = Checker(each(n), nbytes=nbytes)
    with Client(endpoint, transport="tcp") as client:
        elements = iter(client)
        for moment in sorted(chance.sample(range(n), 20)):
            assert consume(elements, checker, limit=moment) is None
            proxy.cut()
        end = consume(elements, checker)
    checker.check(end)
    assert end is None
