"""Hugging Face `IterableDataset.from_generator` in a torch `DataLoader` of two workers.

Its map-style `Dataset.from_generator(...).to_tf_dataset(num_workers=2)` cannot express an endless
generator: it writes every element to disk before the first one is delivered, and then measures
reading back. The iterable form runs the generator inside the workers, one shard in each. Without a
format: torch makes the tensors, five times as fast as ``with_format("torch")``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here is for it to look up

from _case import PRODUCERS, Case, Passes
from datasets import IterableDataset

from . import torch_loader


def _examples(text: str, shards: list[int]) -> Iterator[dict[str, Any]]:
    """What it wants of a generator: a dict for each element."""
    for element in Case.from_text(text).call(shards[0], PRODUCERS):
        values = element if isinstance(element, tuple) else (element,)
        yield {f"part{i}": value for i, value in enumerate(values)}


@contextmanager
def opened(case: Case) -> Iterator[Passes]:
    """A dataset of as many shards as there are workers."""
    kwargs = {"text": case.to_text(), "shards": list(range(PRODUCERS))}
    dataset = IterableDataset.from_generator(_examples, gen_kwargs=kwargs)
    yield torch_loader.passes(dataset, case)
