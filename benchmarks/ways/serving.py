"""A genserver for a case, and what it is asked for; shared by `served` and `client`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _case import PRODUCERS, Case, Refused
from genserver.client import ClientOptions
from genserver.server import Server, Worker

FOLDER = str(Path(__file__).parent.parent)


@contextmanager
def endpoint(case: Case) -> Iterator[str]:
    """Of a server that runs until the block ends."""
    if case.workload_name == "filled" and not hasattr(Worker, "empty"):
        raise Refused("this build has no Worker.empty")
    arguments = case.workload.arguments(case.loops_per_ms)
    with Server(
        case.workload.target, workers=PRODUCERS, arguments=arguments, cwd=FOLDER, quiet=True
    ) as server:
        yield server.endpoint


def options(case: Case) -> dict[str, Any]:
    """Keyword arguments of `from_server` and `Client`; all others are at their defaults."""
    chosen: dict[str, Any] = {"transport": case.transport}
    if case.batching == "workers":
        if "batch" not in ClientOptions.__annotations__:
            raise Refused("this build has no batch=")
        chosen["batch"] = case.batch
    return chosen
