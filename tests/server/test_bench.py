"""`genserver bench` without its processes: what it refuses before it starts one, and what the one
that has the generator alone says."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import pytest
from genserver.protocol.exit_codes import ExitCode
from genserver.server import bench_alone
from genserver.server.bench import Asked
from genserver.server.config import ConfigError

from ..support.servers import SUPPORT


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"seconds": 0.0}, "--seconds must be 1 to 3600"),
        ({"seconds": math.nan}, "--seconds must be 1 to 3600"),
        ({"step": 0.0}, "--step must be 1e-06 to 86400 seconds"),
        ({"step": math.nan}, "--step"),
        ({"step": math.inf}, "--step"),
        ({"step": 1e300}, "--step"),
        ({"step": 1e-310}, "--step"),
        ({"batch": 0}, "--batch must be 1 to 1000000"),
        ({"batch": 10**400}, "--batch"),
        ({"workers": 0}, "--workers must be 1 to 512"),
        ({"workers": 513}, "--workers must be 1 to 512"),
    ],
)
def test_what_cannot_be_measured_is_said_at_once(options: dict[str, Any], says: str) -> None:
    """With the exit code of a command line that is wrong."""
    with pytest.raises(ConfigError, match=f"^{says}") as refused:
        Asked(target="scans:cubes", **options)
    assert refused.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"spec": "bad["}, "dtype 'bad' cannot travel"),
        ({"spec": ""}, "spec ''"),
        ({"target": "scans"}, "'scans' should read MODULE:GENERATOR"),
        ({"sharding": "sideways"}, "--sharding must be one of"),
    ],
)
def test_what_serve_refuses_is_refused_in_its_words(options: dict[str, Any], says: str) -> None:
    """Before anything is measured."""
    with pytest.raises(ConfigError, match=f"^{says}") as refused:
        Asked(**{"target": "scans:cubes"} | options)
    assert refused.value.code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("name", "more", "divisible"),
    [
        ("numbered", {}, True),
        ("whole", {}, False),
        ("resting", {"arguments": {"seconds": 0.0}, "items": ["left"]}, True),
    ],
)
def test_workers_can_share_what_takes_one_or_has_items(
    name: str, more: dict[str, Any], divisible: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one worker is all that is measured."""
    monkeypatch.setattr(bench_alone, "die_with_parent", lambda _: True)  # the tests go on
    monkeypatch.syspath_prepend(SUPPORT)
    reader, writer = os.pipe()
    plan = {"warm_up": 0.0, "seconds": 0.0, "slices": 1}
    options = {
        "target": f"generators:{name}", "arguments": {}, "items": None, "spec": None,
        "seed": 1, "plan": plan, "parent": 0, "report": writer,
    }  # fmt: skip
    bench_alone.alone(json.dumps(options | more))
    with open(reader) as report:
        assert json.load(report)["divisible"] is divisible
