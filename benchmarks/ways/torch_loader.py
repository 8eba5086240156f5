"""torch's `DataLoader` over an `IterableDataset`, two worker processes, its other defaults.

Single elements with ``batch_size=None``; batches are collated in the workers. Tensors travel in
shared memory, as torch does it by itself when the workers make tensors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from _case import PRODUCERS, Case, Passes
from torch.utils.data import DataLoader, IterableDataset, get_worker_info


class _Elements(IterableDataset[Any]):
    def __init__(self, case: Case) -> None:
        self._case = case

    def __iter__(self) -> Iterator[Any]:
        info = get_worker_info()
        assert info is not None  # there are workers
        return self._case.call(info.id, info.num_workers)


@contextmanager
def opened(case: Case) -> Iterator[Passes]:
    """A loader; every pass starts its own workers, as torch does unless told otherwise."""
    yield passes(_Elements(case), case)


def passes(dataset: Any, case: Case) -> Passes:
    """Passes over a `DataLoader` of any dataset."""
    batch = case.batch if case.batching == "workers" else None
    loader: DataLoader[Any] = DataLoader(dataset, batch_size=batch, num_workers=PRODUCERS)

    @contextmanager
    def one_pass() -> Iterator[Iterator[Any]]:
        yield iter(loader)  # ends its workers when it is deleted

    return one_pass
