"""What `genserver bench` measures, for how long, with how many workers."""

from __future__ import annotations

from typing import Any

import pytest
from genserver.server.bench_plan import Alone, timing, worker_counts
from hypothesis import given
from hypothesis import strategies as st

GB = 10**9


def alone(*, cpu: float = 1.0, divisible: bool = True, rss: int = GB // 10, **more: Any) -> Alone:
    """A generator that takes 20 ms for an element of 1 MB."""
    fields: dict[str, Any] = {
        "rates": (49.0, 50.0, 51.0), "passes": 1, "length": 0, "spec": "float32[512,512]",
        "nbytes": 1 << 20, "p50": 0.02, "p99": 0.03, "late": 0.0,
    }  # fmt: skip
    return Alone(**fields | more, cpu=cpu, divisible=divisible, rss=rss)


@pytest.mark.parametrize(
    ("made", "options", "counts"),
    [
        (alone(), {"cores": 8}, (1, 2, 4, 8)),
        (alone(), {"cores": 2}, (1, 2)),
        (alone(), {"cores": 1}, (1,)),
        (alone(cpu=0.02), {"cores": 2}, (1, 2, 4, 8)),
        (alone(cpu=0.02), {"cores": 32}, (1, 4, 16, 64)),
        (alone(cpu=0.02), {"cores": 384, "memory": 10_000 * GB}, (1, 8, 64, 512)),
        (alone(cpu=0.5), {"cores": 2}, (1, 2, 3, 4)),
        (alone(cpu=4.0), {"cores": 4}, (1, 2, 3, 4)),
        (alone(rss=GB), {"cores": 8, "memory": 4 * GB}, (1, 2)),
        (alone(rss=GB), {"cores": 8, "memory": GB}, (1,)),
        (alone(), {"cores": 2, "asked": 8}, (1, 2, 4, 8)),
        (alone(), {"cores": 8, "asked": 1}, (1,)),
        (alone(divisible=False), {"cores": 8}, (1,)),
        (alone(divisible=False), {"cores": 8, "asked": 4}, (1,)),
        (alone(divisible=False), {"cores": 8, "whole": True}, (1, 2, 4, 8)),
    ],
)
def test_workers_are_tried_up_to_what_can_be_of_use(
    made: Alone, options: dict[str, Any], counts: tuple[int, ...]
) -> None:
    """Cores for one that computes, more for one that waits, memory for both, or what is asked."""
    given_: dict[str, Any] = {"asked": None, "whole": False, "memory": 100 * GB}
    assert worker_counts(made, **given_ | options) == counts


@given(st.floats(1, 3600), st.integers(1, 10))
def test_the_stages_together_take_what_they_are_given(seconds: float, stages: int) -> None:
    """Or 0.3 s each, where that is more; and none goes on without end."""
    times = timing(seconds, stages)
    each = times.warm_up + times.slices * times.seconds
    assert each == pytest.approx(max(0.3, seconds / stages))
    assert times.plan(3)["limit"] == pytest.approx(2 * each)
