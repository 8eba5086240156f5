"""A small 3D U-Net for one CPU core, and a Keras model that clocks its own steps."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import layers, ops


class Fold(layers.Layer):
    """Each 2x2x2 block of voxels becomes one voxel with eight times the channels."""

    def call(self, x: Any) -> Any:
        batch, *sides, channels = ops.shape(x)
        split = [size for side in sides for size in (side // 2, 2)]
        x = ops.transpose(ops.reshape(x, (batch, *split, channels)), (0, 1, 3, 5, 2, 4, 6, 7))
        return ops.reshape(x, (batch, *split[::2], 8 * channels))


class Unfold(layers.Layer):
    """The way back: eight channels become a 2x2x2 block of voxels."""

    def call(self, x: Any) -> Any:
        batch, *sides, channels = ops.shape(x)
        x = ops.reshape(x, (batch, *sides, 2, 2, 2, channels // 8))
        x = ops.transpose(x, (0, 1, 4, 2, 5, 3, 6, 7))
        return ops.reshape(x, (batch, *[2 * side for side in sides], channels // 8))


class Conv3(layers.Layer):
    """A 3x3x3 convolution as 3x3 in the slice and 3 across slices: on a CPU far cheaper."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.filters = filters
        self.within = layers.Conv2D(filters, (3, 3), padding="same", activation="relu")
        self.across = layers.Conv2D(filters, (3, 1), padding="same", activation="relu")

    def call(self, x: Any) -> Any:
        batch, depth, height, width, channels = ops.shape(x)
        x = self.within(ops.reshape(x, (batch * depth, height, width, channels)))
        x = self.across(ops.reshape(x, (batch, depth, height * width, self.filters)))
        return ops.reshape(x, (batch, depth, height, width, self.filters))


class ClockedModel(keras.Model):
    """A Keras model that notes when each step ended and how long it waited for data."""

    train_function: Any

    def clear_clock(self) -> None:
        self.first_batch_at = 0.0
        self.waits: list[float] = []
        self.ends: list[float] = []

    def make_train_function(self, force: bool = False) -> Any:
        if self.train_function is None or force:
            step = tf.function(self.train_step)
            self.train_function = lambda iterator: self._clocked(step, iterator)
        return self.train_function

    def _clocked(self, step: Callable[[Any], Any], iterator: Iterator[Any]) -> Any:
        began = time.perf_counter()
        batch = next(iterator)
        arrived = time.perf_counter()
        logs = step(batch)
        self.first_batch_at = self.first_batch_at or arrived
        self.waits.append(arrived - began)
        self.ends.append(time.perf_counter())
        return logs


def small_unet(steps: int, filters: int = 12) -> ClockedModel:
    """Three classes for every voxel of a float32 volume (n, x, y, z, 1), sides divisible by 4.

    The learning rate falls to nothing over so many steps.
    """
    scan = keras.Input((None, None, None, 1))
    fine = Fold()(scan)
    near = Conv3(filters)(fine)
    far = Conv3(2 * filters)(layers.Dense(2 * filters, activation="relu")(Fold()(near)))
    far = Unfold()(layers.Dense(8 * filters)(Conv3(2 * filters)(far)))
    both = Conv3(filters)(layers.Concatenate()([near, far]))
    voxels = layers.Dense(8 * 3)(layers.Concatenate()([fine, both]))
    model = ClockedModel(scan, Unfold()(voxels))
    model.clear_clock()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    rate = keras.optimizers.schedules.CosineDecay(5e-3, steps)
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    return model
