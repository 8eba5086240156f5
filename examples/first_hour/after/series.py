"""Series of different lengths from a generator, one by one and as padded batches."""

import numpy as np
from genserver import client, server


def series(worker, count=25):
    """The number of a series, int64, and its values, float32 (length,)."""
    for number in range(worker.index, count, worker.count):
        rng = np.random.default_rng(number)
        yield number, rng.normal(size=rng.integers(1, 10)).astype(np.float32)


def show(dataset):
    for number, values in dataset.take(3):
        print("series", int(number), "has", values.shape[0], "values")
    for numbers, values in dataset.shuffle(20, seed=1).padded_batch(10):
        print("batch of", values.shape, "with", numbers.numpy())


def main():
    with server.Server("series:series", workers=2, spec="(int64[], float32[None])") as running:
        show(client.from_server(running.endpoint, deterministic=True))


if __name__ == "__main__":
    main()
