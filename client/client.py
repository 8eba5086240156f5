"""The numpy client: elements without TensorFlow, and the base for other frameworks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Unpack

import numpy as np
from genserver.protocol.rows import value_at
from genserver.protocol.spec import ElementSpec

from .lane import Lane
from .mixing import Run
from .options import PullOptions
from .plan import INFINITE, UNKNOWN, Plan
from .source import Source
from .typed import ClientOptions

__all__ = ["Client"]

#: Seconds of one wait: between two of them Ctrl-C is heard.
TURN_SECONDS = 0.5


class Client:
    """Iterates over the elements of one or several servers, as numpy arrays.

    ``for element in client`` is one pass; its number, counted from 0 for this client, is the
    generator's ``worker.epoch``. An element has the structure that the generator yields (a tuple,
    a dict, a single array), with the shapes and dtypes of `spec`. Arrays are read-only, large ones
    views of received memory: copy what you want to write to. Scalars come as numpy scalars, texts
    as str or bytes (arrays of them with dtype object).

    ``next()`` raises `GeneratorError`, `WorkerDied`, `ServerStopped`, `ServerChanged`, `PeerLost`
    or `Stalled`; Ctrl-C while it waits is a KeyboardInterrupt. Any thread may iterate, each
    iterator on one thread at a time. Use as a context manager, or call `close`.
    """

    def __init__(self, endpoints: str | Sequence[str], **options: Unpack[ClientOptions]) -> None:
        """Making one connects, and waits until the servers are ready.

        * ``endpoints``: as of `from_server`.
        * ``options``: those of `ClientOptions`.

        Raises `EndpointError`, `OptionError`, `Unreachable`, `Rejected`, `PlanError` or
        `ServerStopped`.
        """
        self._source = Source(endpoints, PullOptions(**options))
        self._plan: Plan = self._source.plan()
        self._lanes: list[Lane] = []

    @property
    def spec(self) -> ElementSpec:
        """Structure, shapes and dtypes of one element, e.g. ``(float32[64,64,1], int64[])``.

        None stands for a dimension that differs from element to element.
        """
        return self._plan.spec

    @property
    def cardinality(self) -> int | None:
        """Elements of one pass, or None when it is endless or unknown; see `endless`."""
        return None if self._plan.cardinality in (INFINITE, UNKNOWN) else self._plan.cardinality

    @property
    def endless(self) -> bool:
        """Whether the generator is declared never to end."""
        return self._plan.cardinality == INFINITE

    @property
    def seed(self) -> int:
        """The seed of all random states: the one that was asked for, or the server's."""
        return self._plan.seed

    def __iter__(self) -> Iterator[Any]:
        """A new pass. Leaving the iterator frees its streams at once."""
        number, begun = self._source.begin()
        lane = Lane(self._source, number=number, expect=self._plan.spec, begun=begun, steps=True)
        self._lanes = [*(open_ for open_ in self._lanes if not open_.closed), lane]
        try:
            while not lane.ended:
                run = lane.take(TURN_SECONDS)
                if run is not None:
                    yield from self._elements(run)
        finally:
            lane.close()

    def close(self) -> None:
        """Free all streams. From any thread; idempotent."""
        for lane in self._lanes:
            lane.close()
        self._lanes = []

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _elements(self, run: Run) -> Iterator[Any]:
        leaves = [leaf for _, leaf in self.spec.leaves()]
        for row in range(run.n // len(run.parts)):
            for part in run.parts:
                values = [value_at(c, row, leaf) for c, leaf in zip(part, leaves, strict=True)]
                # A small element that is kept must not keep the thousand around it.
                yield self.spec.unflatten(list(map(_apart, values)) if run.small else values)


def _apart(value: Any) -> Any:
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        return value
    copy = value.copy()
    copy.flags.writeable = False
    return copy
