"""Which way a worker's data takes, by how far away the trainer is. Opens nothing."""

from __future__ import annotations

import os

from ..endpoint import Endpoint
from ..errors import EndpointError
from ..messages import Status, WorkerStatus
from .platform import has_ipc, host_id

__all__ = ["choose_endpoint"]


def choose_endpoint(
    control: Endpoint, status: Status, worker: WorkerStatus, transport: str
) -> Endpoint:
    """The endpoint of a worker's data, by distance.

    "auto" takes ipc when both are on one host and the file can be seen, else tcp; "ipc" and "tcp"
    insist. `EndpointError` when there is none.
    """
    near = (
        has_ipc() and bool(worker.ipc) and status.host == host_id() and os.path.exists(worker.ipc)
    )
    if near and transport in ("auto", "ipc"):
        return Endpoint("ipc", path=worker.ipc)
    if worker.port and control.scheme == "tcp" and transport in ("auto", "tcp"):
        return control.with_port(worker.port)
    raise EndpointError(
        str(control), f"worker {worker.index} cannot be reached by {transport} from here"
    )
