"""A line so thin that one element takes longer than a trainer is patient."""

from __future__ import annotations

import pytest
from genserver.client import Client
from genserver.protocol import trainer_end

from ..support.checker import Checker, consume, limited
from ..support.hashed import LARGE, share
from ..support.proxy import DOWN, Toxics
from .conftest import Serving

#: The proxy needs a second loopback address.
pytestmark = pytest.mark.linux


def test_an_element_that_takes_longer_than_the_patience_arrives(
    through_proxy: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1.6 s of patience for elements of 2.1 s: a link is given up, the next one is given longer,
    and every element comes once."""
    n = 2
    arguments = {"n": n, "nbytes": LARGE}
    endpoint, proxy = through_proxy("hashed:seeking", workers=1, arguments=arguments)
    checker = Checker([share(0, 1, n)], nbytes=LARGE)
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", 1.6)
    proxy.spoil(DOWN, Toxics(bandwidth=500_000))
    with Client(endpoint, transport="tcp") as client, limited(client, 60.0):
        end = consume(client, checker)
    checker.check(end)
    assert end is None
    assert proxy.accepted > 2  # the server's and the worker's, and another
