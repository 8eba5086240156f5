"""grain's `mp_prefetch`: two spawned processes, arrays through shared memory.

grain wants random access, so a source of a huge length answers every index with the next element
of its process's generator. Its reading threads are off: a generator runs on one thread, and a
hand-over to another would only cost. Batches are made in the workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grain
from _case import PRODUCERS, Case, Passes

#: Elements that each worker may have ready: grain's default of 1 makes it wait for the trainer.
BUFFER = 4


class _Source:
    """Travels to the workers before it has a generator."""

    def __init__(self, case: Case) -> None:
        self._text = case.to_text()
        self._generator: Iterator[Any] | None = None

    def __len__(self) -> int:
        return 2**40

    def __getitem__(self, index: int) -> Any:
        if self._generator is None:
            self._generator = Case.from_text(self._text).call(index % PRODUCERS, PRODUCERS)
        return next(self._generator)


@contextmanager
def opened(case: Case) -> Iterator[Passes]:
    """A dataset; every pass starts its own workers, as grain does."""
    reading = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    dataset = grain.MapDataset.source(_Source(case)).to_iter_dataset(reading)
    if case.batching == "workers":
        dataset = dataset.batch(case.batch)
    processes = grain.MultiprocessingOptions(num_workers=PRODUCERS, per_worker_buffer_size=BUFFER)
    dataset = dataset.mp_prefetch(processes)

    @contextmanager
    def one_pass() -> Iterator[Iterator[Any]]:
        iterator: Any = iter(dataset)
        try:
            yield iterator
        finally:
            iterator.close()

    yield one_pass
