"""What a worker and its supervisor tell each other through two inherited pipes, as JSON lines.

Pure, but for `write_line`. The pipe from supervisor to worker is also the death pipe: its end means
that the supervisor is gone.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

__all__ = [
    "Bound", "Command", "Empty", "Failed", "Found", "Leaving", "LineReader", "Loaded", "Report",
    "Search", "Start", "Stop", "UseSpec", "parse_command", "parse_report", "write_line",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bound:
    """The worker's data endpoints."""

    ipc: str
    port: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """The user's module is imported. ``spec`` is the declared one in wire form, or None."""

    divisible: bool
    spec: list[Any] | None
    length: int
    #: How many items can be dealt; see `Source.items`.
    items: int | None = None
    #: How many workers a pipeline says, and for the stage before it the options of a server:
    #: "workers", "sharding" and "spec"; None where there is none.
    workers: int | None = None
    upstream: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """The first element's spec, in wire form; ``seeks`` if ``worker.start`` was read for it."""

    spec: list[Any]
    seeks: bool = False


@dataclass(frozen=True, slots=True)
class Empty:
    """The generator of this worker yields nothing."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot serve; ``code`` is the exit code that the server should end with."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Leaving:
    """The worker has made as many elements as it may, and ends with code 0: replace it."""


@dataclass(frozen=True, slots=True)
class Warm:
    """What `Search` asked for ``warm`` is done."""


@dataclass(frozen=True, slots=True)
class Start:
    """The server has its endpoint: import the user's module."""


@dataclass(frozen=True, slots=True)
class Search:
    """Make the first element, to find the spec. ``upstream`` is where the stage before this one
    listens, "" where there is none."""

    index: int
    count: int
    seed: int
    upstream: str = ""
    #: Only to have it at once when a trainer comes: the answer is `Warm`, whatever comes of it.
    warm: bool = False


@dataclass(frozen=True, slots=True)
class UseSpec:
    """The spec is known; trainers may come. ``upstream`` as in `Search`."""

    spec: list[Any]
    upstream: str = ""


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish the element, close the generators, say goodbye, end; ``returns`` goes into that."""

    reason: str
    returns: bool


Report = Bound | Loaded | Found | Empty | Failed | Leaving | Warm
Command = Start | Search | UseSpec | Stop

_REPORTS: dict[str, type[Report]] = {
    cls.__name__: cls for cls in (Bound, Loaded, Found, Empty, Failed, Leaving, Warm)
}
_COMMANDS: dict[str, type[Command]] = {cls.__name__: cls for cls in (Start, Search, UseSpec, Stop)}

_T = TypeVar("_T")


def _parse(line: str, classes: dict[str, type[_T]]) -> _T:
    fields = json.loads(line)
    return classes[fields.pop("is")](**fields)


def parse_report(line: str) -> Report:
    """A worker's line."""
    return _parse(line, _REPORTS)


def parse_command(line: str) -> Command:
    """The supervisor's line."""
    return _parse(line, _COMMANDS)


def write_line(fd: int, said: Report | Command) -> None:
    """Write one line. `BrokenPipeError` when the other end is gone."""
    data = json.dumps({"is": type(said).__name__, **asdict(said)}).encode() + b"\n"
    while data:
        data = data[os.write(fd, data) :]


class LineReader:
    """Cuts what can be read from a descriptor into lines, without blocking."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._rest = b""
        self.ended = False

    def lines(self) -> list[str]:
        """The lines that are complete by now; ``ended`` once the other end is closed."""
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return []
        self.ended = not data
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line.decode() for line in whole]
