"""``genserver probe``: asks a server how it fares, as a trainer would, and puts that into words."""

from __future__ import annotations

import json
from typing import Any

from genserver.protocol.endpoint import Endpoint
from genserver.protocol.errors import EndpointError
from genserver.protocol.messages import NO_MORE, Status, WorkerStatus
from genserver.protocol.text import clean
from genserver.protocol.transport.distance import choose_route

from .asking import asked

__all__ = ["probe"]


def probe(
    text: str, *, seconds: float, keys: str | None, insecure_network: bool, as_json: bool
) -> tuple[str, bool]:
    """What the server at ``text`` says, and whether it serves or soon will.

    Raises `Unreachable`, `KeyRejected`, and `ConfigError` for what is no endpoint or no keys.
    """
    with asked(
        text, seconds=seconds, keys=keys, insecure_network=insecure_network
    ) as (endpoint, _, status):  # fmt: skip
        report = _report(endpoint, status)
    answer = json.dumps(report) if as_json else _format(report)
    return answer, status.state in ("ready", "starting")


def _report(endpoint: Endpoint, status: Status) -> dict[str, Any]:
    cardinality: int | str = {-1: "infinite", -2: "unknown"}.get(
        status.cardinality, status.cardinality
    )
    return {
        "endpoint": str(endpoint),
        "state": status.state,
        "cause": status.cause,
        "generator": status.generator,
        "element_spec": None if status.spec is None else str(status.spec),
        "cardinality": cardinality,
        "sharding": status.sharding,
        "items": status.items if status.items != NO_MORE else None,
        "first_stage_workers": status.upstream,
        "seed": status.seed,
        "recovery": status.recovery,
        "replay": status.replay or None,
        "workers": [
            {
                "index": worker.index,
                "state": worker.state,
                "pid": worker.pid,
                "life": worker.life,
                "cause": worker.cause,
                "lost": worker.lost,
                "transport": _transport(endpoint, status, worker),
            }
            for worker in status.workers
        ],
    }


def _transport(endpoint: Endpoint, status: Status, worker: WorkerStatus) -> str:
    if not worker.ipc and not worker.port:
        return ""
    try:
        route = choose_route(endpoint, status, worker, "auto")
    except EndpointError as error:
        return f"unreachable from here: {error.reason}"
    through = "shared memory and " if route.memory else ""
    return f"{through}{route.endpoint}" + (f" ({route.why})" if route.why else "")


def _dealt(report: dict[str, Any]) -> str:
    """What is dealt to the workers, where something is."""
    if report["first_stage_workers"]:
        return f", the elements of a first stage of {report['first_stage_workers']} workers"
    return "" if report["items"] is None else f", of {report['items']} items"


def _format(report: dict[str, Any]) -> str:
    lines = [
        f"{report['endpoint']}: {report['state']}"
        + (f" ({report['cause']})" if report["cause"] else ""),
        f"  generator    {report['generator']}",
        f"  element      {report['element_spec'] or 'not known yet'}",
        f"  cardinality  {report['cardinality']}",
        f"  sharding     {report['sharding']}{_dealt(report)}",
        f"  seed         {report['seed']}",
        f"  recovery     {report['recovery']}",
    ]
    if report["replay"]:
        lines.append(f"  REPLAYS      {report['replay']} kept elements: not for training")
    for worker in report["workers"]:
        life = f", life {worker['life']}" if worker["life"] else ""
        cause = f", last died: {worker['cause']}" if worker["cause"] else ""
        lost = f", {worker['lost']} elements lost" if worker["lost"] else ""
        lines.append(
            f"  worker {worker['index']}     {worker['state']}, pid {worker['pid']}{life}, "
            f"{worker['transport']}{cause}{lost}"
        )
    return "\n".join(map(clean, lines))  # of a server that may be anybody's
