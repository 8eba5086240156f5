"""How long a training step waits for its data, measured at the end of a tf.data pipeline.

`fit` asks for data inside of its compiled function, where no callback sees it, and a pipeline's own
stages ask as soon as their buffers have room. So the last stage is one without a buffer, which the
step itself runs: it takes the time when it is asked and when it can give, in C++. TensorFlow is
given to this file, not imported. Owns one TensorFlow variable of 8 bytes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["Probe", "probe_of"]


class Probe:
    """Of one ``fit``. Read by the training loop's thread."""

    def __init__(self, tf: Any) -> None:
        """``tf`` is the module."""
        self._tf = tf
        # Where the functions of a pipeline run, whatever the model trains on.
        with tf.device("/CPU:0"):
            self._waited = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    @property
    def seconds(self) -> float:
        """The time that was spent waiting, in all."""
        return float(self._waited.numpy())

    def at_the_end_of(self, dataset: Any) -> Any:
        """The same elements, structure and cardinality."""
        tf = self._tf

        def given(asked: Any, element: Any) -> Any:
            self._waited.assign_add(tf.maximum(tf.timestamp() - asked, 0.0))
            return element

        mapped = _mapped(tf)
        # A zip asks its parts in their order: the time first.
        times = mapped(tf.data.Dataset.from_tensors(0).repeat(), lambda _: tf.timestamp())
        options = tf.data.Options()
        # A buffer behind this stage would ask in the step's place. TensorFlow puts one at the end
        # of each pipeline that has none there: it gets it in front of this stage.
        options.experimental_optimization.inject_prefetch = False
        if not _buffered(dataset):
            dataset = dataset.prefetch(tf.data.AUTOTUNE)
        return mapped(tf.data.Dataset.zip((times, dataset)), given).with_options(options)


def probe_of(tf: Any, model: Any, dataset: Any) -> Probe | None:
    """None where the step does not take its data from the end of ``dataset``: with replicas, each
    of which has a buffer, and where it is copied to a device, which must come last."""
    strategy = type(getattr(model, "distribute_strategy", None)).__name__
    if not isinstance(dataset, tf.data.Dataset) or strategy != "_DefaultDistributionStrategy":
        return None
    stages = [dataset]
    while stages:
        stage = stages.pop()
        if "CopyToDevice" in type(stage).__name__:
            return None
        stages += stage._inputs()
    return Probe(tf)


def _buffered(dataset: Any) -> bool:
    """Whether its last stage, options aside, is a buffer."""
    stage = dataset
    while "Options" in type(stage).__name__:
        (stage,) = stage._inputs()
    return "Prefetch" in type(stage).__name__


def _mapped(tf: Any) -> Callable[[Any, Callable[..., Any]], Any]:
    """`map`, on the thread of whoever asks: handing a function to another one costs 80 us, and
    calling it 10 us."""
    stage = type(tf.data.Dataset.range(1).map(lambda number: number))
    if "use_inter_op_parallelism" in inspect.signature(stage).parameters:
        return lambda dataset, function: stage(dataset, function, use_inter_op_parallelism=False)
    return lambda dataset, function: dataset.map(function)
