"""Items that are dealt to workers as they are free, with real processes."""

from __future__ import annotations

import os
import signal
from collections import Counter
from itertools import islice
from typing import Any

import pytest
from genserver.client import Client, GeneratorError, Progress, State
from genserver.server import ServerFailed

from ..support.servers import Serve


def elements_of(numbers: range) -> list[tuple[int, int]]:
    """What `several` makes of them: (item, k)."""
    return [(n, k) for n in numbers for k in range(n % 4)]


def seen(elements: Any) -> list[tuple[int, int]]:
    return [(int(item), int(k)) for item, k, *_ in elements]


def test_each_item_is_worked_on_once_and_gives_its_elements_in_order(shared: Serve) -> None:
    """In every pass, by whichever worker was free; also where items have no elements."""
    server = shared("dealt:several", items=range(60), workers=3)
    with Client(server.endpoint) as client:
        for _ in range(3):
            got = seen(client)
            assert sorted(got) == elements_of(range(60))
            by_item: dict[int, list[int]] = {}
            for item, k in got:
                by_item.setdefault(item, []).append(k)
            assert all(ks == sorted(ks) for ks in by_item.values())


def test_an_items_random_numbers_are_its_own(shared: Serve) -> None:
    """Whoever worked on it, and when: two passes with one seed and epoch are the same elements."""
    server = shared("dealt:several", items=range(60), workers=3)

    def drawn(**options: Any) -> dict[tuple[int, int], float]:
        with Client(server.endpoint, seed=3, epoch=1, **options) as client:
            return {(int(i), int(k)): float(r) for i, k, _, r in client}

    once = drawn()
    assert len(set(once.values())) == len(once)
    assert drawn() == once
    assert drawn(deterministic=True) == once


def test_in_deterministic_order_an_item_is_worker_i_mod_counts(shared: Serve) -> None:
    """Nothing is dealt then: the order is the same in every run."""
    server = shared("dealt:several", items=range(12), workers=2)
    with Client(server.endpoint, deterministic=True) as client:
        first = seen(client)
        assert seen(client) == first
    assert sorted(first) == elements_of(range(12))
    assert first[:2] == [(2, 0), (1, 0)]


def test_a_free_worker_takes_the_next_item(serve: Serve) -> None:
    """One item takes as long as all others together: the other worker does those."""
    items = [[n, 0.6 if n == 0 else 0.01] for n in range(40)]
    server = serve("dealt:slow", items=items, workers=2)
    with Client(server.endpoint) as client:
        list(client)  # both are warm
        shares = Counter(int(pid) for _, pid in client)
    assert sorted(shares.values())[0] <= 10


def test_batches_hold_the_elements_of_dealt_items(shared: Serve) -> None:
    """A batch may have elements of several items; none is lost at its edges."""
    server = shared("dealt:several", items=range(60), workers=2)
    with Client(server.endpoint, batch=4) as client:
        got = [(int(i), int(k)) for items, ks, *_ in client for i, k in zip(items, ks, strict=True)]
    assert sorted(got) == elements_of(range(60))


@pytest.mark.parametrize("batch", [None, pytest.param(3, marks=pytest.mark.soak)])
def test_items_of_a_worker_that_dies_are_worked_on_once(serve: Serve, batch: int | None) -> None:
    """Killed again and again: each element arrives once."""
    server = serve("dealt:several", items=range(200), workers=3, max_restarts=50)
    got, pids = [], set()
    with Client(server.endpoint, batch=batch) as client:
        for number, element in enumerate(client):
            rows = [element] if batch is None else list(zip(*element, strict=True))
            got += [(int(i), int(k)) for i, k, *_ in rows]
            pid = int(rows[-1][2])
            if number % 10 == 5 and pid not in pids:
                pids.add(pid)
                os.kill(pid, signal.SIGKILL)
    assert sorted(got) == elements_of(range(200))
    assert len(pids) >= 3


def test_two_trainers_and_two_iterators_have_all_items_each(shared: Serve) -> None:
    """What is dealt belongs to one pass."""
    server = shared("dealt:several", items=range(60), workers=2)
    with Client(server.endpoint) as one, Client(server.endpoint) as other:
        passes = [iter(one), iter(one), iter(other)]
        got: list[list[Any]] = [list(islice(each, 5)) for each in passes]
        for kept, each in zip(got, passes, strict=True):
            kept += list(each)
    for kept in got:
        assert sorted(seen(kept)) == elements_of(range(60))


def test_two_servers_share_the_items(serve: Serve) -> None:
    """Each is worked on once, at one of them."""
    options: dict[str, Any] = {"items": range(40), "arguments": {"seconds": 0.02}, "workers": 2}
    servers = [serve("dealt:slow", **options) for _ in range(2)]
    with Client([server.endpoint for server in servers]) as client:
        elements = list(client)
    assert sorted(int(item) for item, _ in elements) == list(range(40))
    assert len({int(pid) for _, pid in elements}) > 2


def test_a_pass_that_is_left_early_is_over(shared: Serve) -> None:
    """The next one has all items."""
    server = shared("dealt:several", items=range(60), workers=2)
    with Client(server.endpoint) as client:
        for taken in (1, 7, 40):
            list(islice(client, taken))
        assert sorted(seen(client)) == elements_of(range(60))


def test_an_item_that_fails_ends_the_pass(shared: Serve) -> None:
    """With the function's own error; the next pass tries again."""
    server = shared("dealt:failing", items=range(9), workers=2)
    with Client(server.endpoint) as client:
        for _ in range(2):
            with pytest.raises(GeneratorError, match="OSError: no such scan"):
                list(client)


@pytest.mark.parametrize("used", [0, 1, 17, 60, 89])
def test_another_run_does_what_was_not_finished(shared: Serve, used: int) -> None:
    """The finished items do not come again, those that were begun do, whole: nothing is lost."""
    server = shared("dealt:several", items=range(60), workers=2)
    progress = Progress()
    with Client(server.endpoint, resume=progress, seed=1) as client:
        first = seen(islice(client, used))
        progress.advance(used)
    state = State.from_json(progress.state().to_json())
    with Client(server.endpoint, resume=state) as client:
        second = seen(client)
        following = seen(client)
    assert {*first, *second} == set(elements_of(range(60)))
    assert len(set(second)) == len(second)
    assert len(first) + len(second) == 90 + state.repeats
    assert state.repeats <= 6  # of each worker, one item
    assert sorted(following) == elements_of(range(60))


def test_what_cannot_be_dealt_is_said(serve: Serve) -> None:
    """Each with what to do."""
    with pytest.raises(ServerFailed, match="is not called for items, so there is nothing to deal"):
        serve("whole", sharding="dynamic")
    with pytest.raises(ServerFailed, match="was given no items"):
        serve("dealt:several", items=[])
    with pytest.raises(ServerFailed, match="is no async def"):
        serve("dealt:several", items=[1], concurrency=2)
    with pytest.raises(ServerFailed, match="--concurrency is 1 or more, and for --items"):
        serve("dealt:awaited", concurrency=2)


def test_async_calls_are_dealt_too(shared: Serve) -> None:
    """Several under way, each item once."""
    server = shared("dealt:awaited", items=range(50), concurrency=4, workers=2)
    with Client(server.endpoint) as client:
        assert sorted(int(n) for n in client) == list(range(50))
