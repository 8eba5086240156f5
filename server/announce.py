"""What a server says when it is ready. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genserver.protocol.endpoint import Endpoint

if TYPE_CHECKING:
    from genserver.protocol.messages import Status

__all__ = ["start_up_lines"]


def start_up_lines(
    endpoint: Endpoint, status: Status, watched: tuple[str, ...] | None = None, url: str = ""
) -> str:
    """What is served where, and the trainer's line to paste; which folders are ``watched``; at
    which ``url`` the figures are."""
    workers = len(status.workers)
    return (
        f"genserver: {status.generator} at {endpoint} with {workers} "
        f"worker{'s' if workers > 1 else ''}, element {status.spec}\n"
        f'  dataset = genserver.client.from_server("{endpoint}")'
        + ("" if watched is None else f"\n  reloads what changes in {' and '.join(watched)}")
        + (f"\n  metrics at {url}/metrics" if url else "")
        + ("" if not status.replay else f"\n  {_replays(status)}")
    )


def _replays(status: Status) -> str:
    each = " of each worker" if status.sharding == "off" else ""
    long = " without end" if status.cardinality < 0 else f" in passes of {status.cardinality}"
    return (
        f"REPLAYS {status.replay} kept elements{each}{long}: for measuring a trainer, not for "
        "training one"
    )
