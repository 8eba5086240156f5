"""Train a small network of torch on random pictures: `python torch_loop.py STEPS`."""

import sys
from itertools import islice

import torch
from genserver import client, server
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

BATCH = 8


class Pictures(IterableDataset):
    """What a DataLoader wants to see of a source of pictures."""

    def __init__(self, source):
        self.source = source

    def __iter__(self):
        for picture, label in self.source:
            yield torch.from_numpy(picture.copy()), label


def train(dataset, steps):
    """The usual loop."""
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step, (images, labels) in enumerate(islice(DataLoader(dataset, BATCH), steps)):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(step, tuple(images.shape), images.dtype, labels.dtype, f"loss {loss.item():.2f}")


def main(steps):
    with server.Server("pictures:pictures", workers=2, sharding="off") as running:
        train(Pictures(client.Client(running.endpoint)), steps)


if __name__ == "__main__":
    main(int(sys.argv[1]))
