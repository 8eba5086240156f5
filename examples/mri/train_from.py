"""Train the network of model.py from servers of `named:cubes` that run elsewhere.

Where they listen is given as arguments, or in GENSERVER_ENDPOINT with spaces between them; they may
be started later. Every epoch says its loss, and how many cubes came from which of them. The exit
code is 0 if the loss fell.
"""

import os
import sys
from collections import Counter

import keras
import tensorflow as tf
from genserver.client import from_server
from model import ClockedModel, small_unet

EPOCHS = int(os.environ.get("EPOCHS", "4"))
STEPS = int(os.environ.get("STEPS", "24"))  # of an epoch
BATCH, SEED = 4, 7


def main() -> int:
    endpoints = sys.argv[1:] or os.environ.get("GENSERVER_ENDPOINT", "").split()
    if not endpoints:
        print("give the servers' endpoints, such as tcp://localhost:5555", file=sys.stderr)
        return 64
    dataset = from_server(endpoints, seed=SEED, wait=True).batch(BATCH)
    keras.utils.set_random_seed(SEED)
    model = small_unet(EPOCHS * STEPS)
    losses = [train(model, dataset, epoch) for epoch in range(EPOCHS)]
    fell = losses[-1] < losses[0]
    print(f"the loss {'fell' if fell else 'did not fall'}: {losses[0]:.3f} to {losses[-1]:.3f}")
    return 0 if fell else 1


def train(model: ClockedModel, dataset: tf.data.Dataset, epoch: int) -> float:
    """One epoch, which is one iterator; its mean loss."""
    loss, cubes = 0.0, Counter[str]()
    for step, (volumes, labels, hosts) in enumerate(dataset.take(STEPS)):
        if step == STEPS // 2:
            print(f"epoch {epoch + 1} of {EPOCHS}: half of its steps", flush=True)
        loss += float(model.train_on_batch(volumes, labels)) / STEPS
        cubes.update(host.decode() for host in hosts.numpy())
    shares = ", ".join(f"{host} {count}" for host, count in sorted(cubes.items()))
    what = f"{cubes.total()} cubes from {len(cubes)} producers"
    print(f"epoch {epoch + 1} of {EPOCHS}: loss {loss:.3f}, {what}: {shares}", flush=True)
    return loss


if __name__ == "__main__":
    sys.exit(main())
