"""Who uses a stream of a worker, as the I/O thread knows him."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ..errors import GenserverError
from ..spec import ElementSpec
from ..stream import Delivery, PulledStream

__all__ = ["Consumer", "Sink"]


class Sink(Protocol):
    """Where a stream's elements go, as `source`; see `Inbox`. Called on the I/O thread."""

    def put(self, source: int, delivery: Delivery) -> None: ...
    def end(self, source: int) -> None: ...
    def finish(self, source: int, item: int, count: int) -> None: ...
    def fail(self, error: GenserverError) -> None: ...
    def interrupt(self) -> None: ...


@dataclass(slots=True)
class Consumer:
    pulled: PulledStream
    spec: ElementSpec
    inbox: Sink
    source: int
