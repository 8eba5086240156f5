"""A runner and its exchange in one thread, without a worker process: what tests take turns with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from genserver.protocol.chunk import Chunk
from genserver.protocol.messages import Open
from genserver.protocol.spec import ElementSpec, parse_spec
from genserver.protocol.transport.exchange import Exchange
from genserver.protocol.worker_events import Credit, Key, Started
from genserver.server.progress_page import ProgressPage
from genserver.server.run import Rules
from genserver.server.runner import Runner
from genserver.server.source import Source

SPEC = parse_spec("int64[]")
PLENTY = 10**9


class Bench:
    """A runner, and what it handed over."""

    def __init__(
        self,
        function: Callable[..., Iterator[Any]],
        spec: ElementSpec = SPEC,
        worker: str | None = "worker",
        *,
        guest: bool = False,
        page: ProgressPage | None = None,
        **rules: Any,
    ) -> None:
        """``page`` is that of an earlier life; ``rules`` are those of `Rules`."""
        #: (key, now) of each notification.
        self.told: list[tuple[Key, bool]] = []
        self.exchange = Exchange(lambda key, now: self.told.append((key, now)))
        self.exchange.spec = spec
        make = (lambda _: function()) if worker is None else function
        source = Source(make, worker is not None, None, -2)
        self.page = page or ProgressPage()
        self.runner = Runner(source, self.exchange, Rules(**rules), self.page, guest=guest)
        self.runner.use_spec(spec)

    def open(
        self, stream: int, *, start: int = 0, elements: int = PLENTY, nbytes: int = PLENTY,
        batch: int = 0, drop_remainder: bool = False,
    ) -> Key:  # fmt: skip
        key = (1, stream)
        opening = Open(stream, 0, 1, 0, 7, start, batch, drop_remainder)
        self.exchange.apply(Started(key, opening))
        self.exchange.apply(Credit(key, elements, nbytes))
        return key

    def turns(self, count: int) -> None:
        """So many turns, or as many as there is work for."""
        for _ in range(count):
            if self.exchange._work_waits():
                self.runner._turn()

    def chunks(self, key: Key) -> list[Chunk]:
        return self.take(key)[0]

    def take(self, key: Key) -> tuple[list[Chunk], Any]:
        """The chunks of a stream, and how it ended if it did."""
        taken = self.exchange.take(key)
        return list(taken.chunks), taken.finished

    def taken(self, key: Key) -> tuple[list[int], Any]:
        """The numbers of the first array, and how the stream ended if it did."""
        chunks, finished = self.take(key)
        return numbers(chunks), finished


def numbers(chunks: list[Chunk]) -> list[int]:
    """Each element's first array as an int."""
    return [int(n) for chunk in chunks for n in np.asarray(chunk.columns[0]).ravel()]
