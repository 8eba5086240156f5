"""Which way a worker's data takes, by how far away the trainer is. Opens nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..endpoint import Endpoint
from ..errors import EndpointError
from ..messages import Status, WorkerStatus
from .lender import memory_path
from .platform import has_ipc, has_memory, host_id

__all__ = ["Route", "choose_route"]


@dataclass(frozen=True, slots=True)
class Route:
    """Where a worker's data comes from, whether it may come through shared memory, and why."""

    endpoint: Endpoint
    memory: bool = False
    #: Why it is no shorter one, "" when it is the shortest.
    why: str = ""

    @property
    def transport(self) -> str:
        """ "memory", "ipc" or "tcp"."""
        return "memory" if self.memory else self.endpoint.scheme


def choose_route(control: Endpoint, status: Status, worker: WorkerStatus, transport: str) -> Route:
    """The way to a worker: with "auto" memory, else ipc, else tcp; else only what is asked for.

    `EndpointError` when there is none.
    """
    far = _why_far(status, worker)
    memory = not far and has_memory() and os.path.exists(memory_path(worker.ipc))
    ipc = Endpoint("ipc", path=worker.ipc) if not far else None
    if ipc is not None and memory and transport in ("auto", "memory"):
        return Route(ipc, memory=True)
    if ipc is not None and transport in ("auto", "ipc"):
        return Route(ipc, why="" if transport == "ipc" else "the worker has no shared memory")
    if worker.port and control.scheme == "tcp" and transport in ("auto", "tcp"):
        return Route(control.with_port(worker.port), why="" if transport == "tcp" else far)
    reason = f": {far}" if far and transport != "tcp" else ""
    raise EndpointError(
        str(control), f"worker {worker.index} cannot be reached by {transport} from here{reason}"
    )


def _why_far(status: Status, worker: WorkerStatus) -> str:
    """Why the worker's files cannot be used, or ""."""
    if not has_ipc() or not worker.ipc:
        return "there are no socket files on this system"
    if status.host != host_id():
        return "it is another host"
    if not os.path.exists(worker.ipc):
        return "the worker's socket file cannot be seen from here (another container?)"
    if not os.access(worker.ipc, os.R_OK | os.W_OK):
        return "the worker's socket file belongs to another user"
    return ""
