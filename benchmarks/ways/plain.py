"""TensorFlow's own: plain `from_generator`, and two of them in threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
from _case import PRODUCERS, Case, Passes

#: Elements or batches in front of the consumer.
PREFETCH = 2


@contextmanager
def opened(case: Case) -> Iterator[Passes]:
    """Frozen: do not tune it, figures of other days refer to it."""
    dataset = _threads(case) if case.way == "threads" else _plain(case)
    yield passes(batched(dataset, case).prefetch(PREFETCH))


def passes(dataset: Any) -> Passes:
    """Each pass an eager iterator."""

    @contextmanager
    def one_pass() -> Iterator[Iterator[Any]]:
        yield iter(dataset)

    return one_pass


def batched(dataset: Any, case: Case) -> Any:
    """The user's own ``.batch``, if it is the trainer that makes batches."""
    return dataset.batch(case.batch) if case.batching == "trainer" else dataset


def _plain(case: Case) -> Any:
    return tf.data.Dataset.from_generator(case.call, output_signature=_signature(case))


def _threads(case: Case) -> Any:
    def part(index: int) -> Iterator[Any]:
        return case.call(int(index), PRODUCERS)

    def one_thread(index: Any) -> Any:
        return tf.data.Dataset.from_generator(
            part, args=(index,), output_signature=_signature(case)
        )

    return tf.data.Dataset.range(PRODUCERS).interleave(
        one_thread, cycle_length=PRODUCERS, num_parallel_calls=PRODUCERS, deterministic=False
    )


def _signature(case: Case) -> Any:
    specs = tuple(tf.TensorSpec(shape, tf.as_dtype(dtype)) for shape, dtype in case.workload.parts)
    return specs if len(specs) > 1 else specs[0]
