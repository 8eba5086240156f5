"""What the servers that this process reads from measure, themselves and this trainer.

Owns nothing: connections keep what they were told in the last seconds. Asks nobody, and waits for
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from genserver.protocol.telemetry import Span
from genserver.protocol.transport.connection import connections
from genserver.protocol.verdict import Bottleneck, Verdict, judge
from genserver.protocol.window import recent

__all__ = ["ServerTelemetry", "bottleneck", "telemetry"]

#: Where several servers say different things: the one to look at first comes first.
_WORST = (Bottleneck.PRODUCER, Bottleneck.WIRE, Bottleneck.TRAINER, Bottleneck.UNKNOWN)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTelemetry:
    """One server that this process reads from, in the last 10 seconds, or as long as 20 elements
    took, 10 minutes at most.

    * ``endpoint``: as it is written, ``tcp://HOST:PORT`` or ``ipc://PATH``.
    * ``span``: rates and shares of its workers and trainers, those of other processes included;
      None until two reports of the server have come, after 2 s.
    * ``verdict``: who sets the pace. ``verdict.sentence`` is for people, ``verdict.bottleneck`` and
      ``verdict.workers`` are for programs.
    """

    endpoint: str
    span: Span | None
    verdict: Verdict


def telemetry() -> tuple[ServerTelemetry, ...]:
    """What is known at this moment of each server that this process reads from.

    Any thread; returns at once. Servers report once a second. The verdict is
    `Bottleneck.UNKNOWN` until trainers have read for 3 s and had 20 elements.
    """
    spans: dict[str, Span | None] = {}
    for connection in connections():
        endpoint = str(connection.endpoint)
        # Several connections to a server, as of clients with other options, hear the same.
        spans[endpoint] = spans.get(endpoint) or recent(connection.snapshots)
    return tuple(
        ServerTelemetry(endpoint=endpoint, span=span, verdict=judge(span))
        for endpoint, span in sorted(spans.items())
    )


def bottleneck(servers: tuple[ServerTelemetry, ...]) -> ServerTelemetry | None:
    """The server whose verdict is the one to act on; None without any."""
    return min(servers, key=lambda one: _WORST.index(one.verdict.bottleneck), default=None)
