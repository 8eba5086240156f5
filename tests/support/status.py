"""What a server says of itself, as a trainer hears it."""

from __future__ import annotations

from collections.abc import Callable

from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.keys import TrainerKeys
from genserver.protocol.messages import Status
from genserver.protocol.transport.connection import connect

from .processes import PATIENCE

__all__ = ["ports_of", "status_of"]


def _is_ready(status: Status) -> bool:
    return status.state == "ready"


def status_of(
    endpoint: str, enough: Callable[[Status], bool] = _is_ready, seconds: float = PATIENCE,
    *, keys: TrainerKeys | None = None,
) -> Status:  # fmt: skip
    """The first status that is ``enough``; by default, that the server is ready."""
    connection = connect(parse_endpoint(endpoint), keys=keys)
    try:
        status = connection.wait(enough, seconds)
        assert status is not None, f"{endpoint} says {connection.status}"
        return status
    finally:
        connection.release()


def ports_of(endpoint: str) -> list[int]:
    """The tcp ports of a server that is ready: its own and its workers'."""
    workers = status_of(endpoint).workers
    return [parse_endpoint(endpoint).port, *(worker.port for worker in workers)]
