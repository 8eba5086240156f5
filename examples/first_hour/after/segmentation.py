"""Train a small U-Net on the pictures and masks of a folder: `python segmentation.py FOLDER`."""

import sys

import keras
import tensorflow as tf
from genserver import client, server

BATCH = 4
LABELS = 3


def unet():
    """Two steps down, two steps up, with what was seen on the way down joined in."""
    inputs = keras.Input((None, None, 3))
    fine = convolve(inputs, 8)
    middle = convolve(keras.layers.MaxPooling2D()(fine), 16)
    coarse = convolve(keras.layers.MaxPooling2D()(middle), 32)
    middle = convolve(join(coarse, middle), 16)
    fine = convolve(join(middle, fine), 8)
    return keras.Model(inputs, keras.layers.Conv2D(LABELS, 1)(fine))


def convolve(inputs, filters):
    return keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(inputs)


def join(below, beside):
    return keras.layers.Concatenate()([keras.layers.UpSampling2D()(below), beside])


def train(elements):
    """Fit for two epochs."""
    keras.utils.set_random_seed(1)
    dataset = elements.shuffle(64).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    print("images", *(f"{part.dtype.name}{part.shape}" for part in dataset.element_spec))
    model = unet()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    history = model.fit(dataset, epochs=2, verbose=2)
    first, last = history.history["loss"]
    print("the loss fell" if last < first else "the loss did not fall")


def main(folder):
    with server.Server("loader:pairs", workers=2, arguments={"folder": folder}) as running:
        train(client.from_server(running.endpoint))


if __name__ == "__main__":
    main(sys.argv[1])
