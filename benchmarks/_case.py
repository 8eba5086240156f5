"""One way through one workload: what a measuring process is told. Imports no loader."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from _workloads import WORKLOADS, Workload

#: Producers of every way that can have more than one.
PRODUCERS = 2

#: A pass over the elements, as a context manager that leaves nothing behind.
Passes = Callable[[], AbstractContextManager[Iterator[Any]]]


class Refused(Exception):
    """This way is not to be had here: its text is the row."""


@dataclass(frozen=True, slots=True)
class Way:
    """A loader, and what it can do; ``module`` is in the folder ``ways``."""

    name: str
    module: str
    #: Where the elements arrive.
    into: str
    #: Who may make batches of a workload in batches: "trainer", "workers", or nobody ("").
    batching: tuple[str, ...]
    #: Of genserver: how the elements travel.
    transport: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A way, a workload and who batches it, as text for the command line of a process."""

    workload_name: str
    way: str
    module: str
    transport: str
    batch: int
    #: "trainer", "workers", or "" for single elements.
    batching: str
    loops_per_ms: float
    #: Compare a byte of each page of every hundredth element.
    check: bool = False

    @property
    def workload(self) -> Workload:
        return WORKLOADS[self.workload_name]

    @property
    def per_step(self) -> int:
        """Elements that one ``next`` delivers."""
        return self.batch if self.batching else 1

    @property
    def name(self) -> str:
        """How a row is called."""
        how = {"": "", "trainer": f" .batch({self.batch})", "workers": f" batch={self.batch}"}
        return ("genserver " if self.transport else "") + self.way + how[self.batching]

    def call(self, index: int = 0, count: int = 1) -> Iterator[Any]:
        """The generator, without a server."""
        return self.workload.call(self.loops_per_ms, index, count)

    def to_text(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Case:
        return cls(**json.loads(text))


_BOTH = ("trainer", "workers")
_SINGLE_OR_WORKERS = ("", "workers")
WAYS = {
    way.name: way
    for way in (
        Way("plain", "plain", "TensorFlow", ("trainer",)),
        Way("threads", "plain", "TensorFlow", ("trainer",)),
        Way("torch", "torch_loader", "torch", _SINGLE_OR_WORKERS),
        Way("grain", "grain_loader", "numpy", _SINGLE_OR_WORKERS),
        Way("datasets", "datasets_loader", "torch", _SINGLE_OR_WORKERS),
        Way("keras", "keras_loader", "TensorFlow", ("workers",)),
        Way("memory", "served", "TensorFlow", _BOTH, "memory"),
        Way("ipc", "served", "TensorFlow", _BOTH, "ipc"),
        Way("tcp", "served", "TensorFlow", _BOTH, "tcp"),
        Way("auto", "served", "TensorFlow", _BOTH, "auto"),
        Way("client-tcp", "client", "numpy", _SINGLE_OR_WORKERS, "tcp"),
    )
}
#: Those of others that use several processes.
PEERS = ("torch", "grain", "datasets", "keras")
BASELINE = "plain"


def make_case(
    workload: str, way: str, loops_per_ms: float, *, batching: str = "", batch: int | None = None,
    check: bool = False,
) -> Case:  # fmt: skip
    """One case; ``batch`` overrides the workload's."""
    chosen = WAYS[way]
    size = WORKLOADS[workload].batch if batch is None else batch
    return Case(
        workload, way, chosen.module, chosen.transport, size, batching, loops_per_ms, check=check
    )


def cases_of(workload: str, ways: list[str], loops_per_ms: float) -> list[Case]:
    """Every case of a workload among ``ways``, the baseline first."""
    batched = bool(WORKLOADS[workload].batch)
    return [
        make_case(workload, way, loops_per_ms, batching=batching)
        for way in ways
        for batching in (WAYS[way].batching if batched else ("",))
    ]
