"""Keras' `PyDataset` with ``workers=2, use_multiprocessing=True``, read as `fit` reads it.

`fit` wraps it in an adapter that is private to Keras; so do we, and take its `tf.data.Dataset`.
An item of a PyDataset is a batch, made in the worker; single elements are batches of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import keras
import numpy as np
from _case import PRODUCERS, Case, Passes
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter


class _Batches(keras.utils.PyDataset):
    """Every process that asks has a generator of its own: Keras' workers are forks of this one."""

    def __init__(self, case: Case) -> None:
        super().__init__(workers=PRODUCERS, use_multiprocessing=True)
        self._case = case
        self._owner = 0
        self._generator: Iterator[Any] = iter(())

    @property
    def num_batches(self) -> None:
        """Endless."""

    def __getitem__(self, index: int) -> Any:  # a generator has no index
        if self._owner != os.getpid():
            self._owner, self._generator = os.getpid(), self._case.call()
        rows = list(islice(self._generator, self._case.per_step))
        if isinstance(rows[0], tuple):
            return tuple(map(_stacked, zip(*rows, strict=True)))
        return (_stacked(rows),)


def _stacked(values: Any) -> Any:
    return np.asarray(values[0])[np.newaxis] if len(values) == 1 else np.stack(values)


@contextmanager
def opened(case: Case) -> Iterator[Passes]:
    """The adapter and its pool of processes are made for every pass, as `fit` does."""

    @contextmanager
    def one_pass() -> Iterator[Iterator[Any]]:
        adapter = PyDatasetAdapter(_Batches(case))
        adapter.on_epoch_begin()
        try:
            yield iter(adapter.get_tf_dataset())
        finally:
            adapter.on_epoch_end()

    yield one_pass
