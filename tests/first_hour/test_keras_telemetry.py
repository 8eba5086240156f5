"""`telemetry_callback` in a real ``fit``."""

from __future__ import annotations

import os
import time
from typing import Any

import pytest
from genserver.client import from_server, telemetry_callback
from genserver.client.probe import Probe, probe_of

from ..support.servers import Serve

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")


class Later(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """What a callback behind the one under test sees, as TensorBoard is."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[dict[str, float]] = []
        self.epochs: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.batches.append({"batch": batch, **logs})

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.epochs.append({"epoch": epoch, **logs})


@pytest.mark.parametrize("steps", [1, 2])
@pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")
def test_fit_trains_as_before_and_logs_what_it_waits_for(shared: Serve, steps: int) -> None:
    """With validation, several epochs and several steps at once; those behind it see it, too."""
    server = shared("first_hour_keras:finite", workers=1, arguments={"n": 24}, length=24)
    model = keras.Sequential([keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile("sgd", "mse", jit_compile=False, steps_per_execution=steps)
    dataset, later = from_server(server.endpoint).batch(2), Later()
    slow = dataset.map(lambda x, y: (tf.numpy_function(nap, [x], tf.float32), y)).map(shaped)
    history = model.fit(
        slow, epochs=3, validation_data=dataset, verbose=0,
        callbacks=[telemetry_callback(), later],
    )  # fmt: skip
    assert model.optimizer.iterations.numpy() == 3 * 12
    assert len(later.batches) == 3 * 12 // steps
    assert {"data_wait", "elements_per_s", "verdict", "val_loss"} <= set(history.history)
    assert [log["epoch"] for log in later.epochs] == [0, 1, 2]
    # 12 waits of 20 ms in each epoch, and steps of less than that.
    assert all(0.5 < log["data_wait"] <= 1.0 for log in later.epochs[1:])
    assert later.batches[-1]["data_wait"] > 0.5


def nap(x: Any) -> Any:
    """A slow pipeline, which no buffer follows."""
    time.sleep(0.02)
    return x


def shaped(x: Any, y: Any) -> Any:
    """What a numpy function does not say."""
    return tf.ensure_shape(x, (None, 2)), y


def test_a_probe_changes_nothing_of_a_dataset() -> None:
    """Neither what it has nor what TensorFlow knows of it; replicas and devices get none."""
    model = keras.Sequential([keras.layers.Dense(1)])
    for dataset in (
        tf.data.Dataset.range(3),
        tf.data.Dataset.range(3).repeat(),
        tf.data.Dataset.from_tensor_slices({"a": [1.0, 2.0], "b": ([1, 2], ["x", "y"])}),
        tf.data.Dataset.range(6).filter(lambda n: n % 2 == 0),
    ):
        probe = probe_of(tf, model, dataset)
        assert isinstance(probe, Probe)
        probed = probe.at_the_end_of(dataset)
        assert probed.element_spec == dataset.element_spec
        assert int(probed.cardinality()) == int(dataset.cardinality())
        pairs = zip(probed.take(4), dataset.take(4), strict=True)
        for ours, theirs in pairs:
            tf.nest.map_structure(lambda a, b: tf.debugging.assert_equal(a, b), ours, theirs)
        assert 0.0 <= probe.seconds < 1.0
    assert probe_of(tf, model, [1, 2]) is None
    copied = tf.data.Dataset.range(3).apply(tf.data.experimental.copy_to_device("/CPU:0"))
    assert probe_of(tf, model, copied.prefetch(1)) is None
    with tf.distribute.MirroredStrategy(["/CPU:0"]).scope():
        assert probe_of(tf, keras.Sequential(), tf.data.Dataset.range(3)) is None
