"""Series of different lengths from a generator, one by one and as padded batches."""

import numpy as np
import tensorflow as tf


def series(count=25):
    """The number of a series, int64, and its values, float32 (length,)."""
    for number in range(count):
        rng = np.random.default_rng(number)
        yield number, rng.normal(size=rng.integers(1, 10)).astype(np.float32)


def show(dataset):
    for number, values in dataset.take(3):
        print("series", int(number), "has", values.shape[0], "values")
    for numbers, values in dataset.shuffle(20, seed=1).padded_batch(10):
        print("batch of", values.shape, "with", numbers.numpy())


def main():
    signature = (tf.TensorSpec((), tf.int64), tf.TensorSpec((None,), tf.float32))
    show(tf.data.Dataset.from_generator(series, output_signature=signature))


if __name__ == "__main__":
    main()
