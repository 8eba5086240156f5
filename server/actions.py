"""What the supervisor's pure core has its shell do. Pure data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from genserver.protocol.exit_codes import ExitCode

from .reports import Command

__all__ = [
    "Abort", "Action", "Begin", "DumpStacks", "Forget", "Kill", "Publish", "Ready", "Say", "Spawn",
    "StartOver", "Tell", "Terminate",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a worker process: with ``life`` above 0 in the place of one that ended, which had
    bound ``port``."""

    index: int
    life: int = 0
    port: int = 0


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the server of the stage before this one, with these options of the command line."""

    options: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Tell:
    """Write to a worker's pipe."""

    index: int
    command: Command


@dataclass(frozen=True, slots=True)
class DumpStacks:
    """Have a worker print where each of its threads is."""

    index: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Kill a worker and what it started."""

    index: int


@dataclass(frozen=True, slots=True)
class Terminate:
    """Have a worker and what it started leave what they do, by SIGTERM."""

    index: int


@dataclass(frozen=True, slots=True)
class Forget:
    """These files of Python changed: remove what Python keeps of them compiled, since it tells
    versions of one size apart by the second alone."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StartOver:
    """Be another server at the same socket: who is connected is told the reason and that it
    returns."""

    reason: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Send the status to the trainers."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything serves: print the start-up line."""


@dataclass(frozen=True, slots=True)
class Say:
    """Print a line on standard error."""

    text: str


@dataclass(frozen=True, slots=True)
class Abort:
    """End the server with this code and sentence."""

    code: ExitCode
    text: str


Action = (
    Begin | Spawn | Tell | DumpStacks | Kill | Terminate | Forget | StartOver | Publish | Ready
    | Say | Abort
)  # fmt: skip
