"""The generator and the trainers of `verdicts.py`: what each costs is a sleep of known length.

Workers import this module, too, so TensorFlow is imported by the trainer that needs it alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from genserver.client import Client, from_server, telemetry_callback
from genserver.server import Worker

#: Called after each training step with its number; whether to go on.
Look = Callable[[int], bool]
#: Reads from an endpoint in steps of so many seconds until it is told to stop.
Trainer = Callable[[str, float, Look], None]


def naps(worker: Worker, seconds: float) -> Iterator[tuple[Any, Any]]:
    """Features and a target, after so many seconds, as of a disk or a simulator. Endless."""
    features = np.full(4, worker.index, np.float32)
    while True:
        time.sleep(seconds)
        yield features, np.float32(0)


def with_client(endpoint: str, step: float, look: Look, **options: Any) -> None:
    """A loop of one's own over numpy arrays."""
    with Client(endpoint, **options) as client:
        for number, _ in enumerate(client, 1):
            time.sleep(step)
            if not look(number):
                return


def with_keras(endpoint: str, step: float, look: Look) -> None:
    """``fit``, whose data wait is inside of its training function."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras
    import tensorflow as tf

    class Napping(keras.Model):  # type: ignore[misc]  # Keras has no types
        """Its step sleeps."""

        def train_step(self, data: Any) -> dict[str, Any]:
            features, _ = data
            return {"loss": tf.numpy_function(self._nap, [features], tf.float32)}

        def _nap(self, features: Any) -> Any:  # noqa: ARG002  # as TensorFlow calls it
            time.sleep(step)
            return np.float32(0)

    class Looking(keras.callbacks.Callback):  # type: ignore[misc]  # as above
        """Stops between two steps."""

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            self.model.stop_training = not look(batch + 1)

    model = Napping()
    model.compile(optimizer="sgd")
    dataset = from_server(endpoint).batch(1)
    model.fit(
        dataset, steps_per_epoch=10**6, verbose=0, callbacks=[telemetry_callback(), Looking()]
    )
