"""The trainer's side: elements of a genserver as a ``tf.data.Dataset``, or as numpy arrays.

Importing this package imports no TensorFlow; `from_server` does, when it is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from genserver.protocol.errors import (
    Closed,
    EndpointError,
    GeneratorError,
    GenserverError,
    Interrupted,
    PeerLost,
    Rejected,
    ServerChanged,
    ServerStopped,
    Stalled,
    Unreachable,
    WorkerDied,
)

from .client import Client
from .keras import keras_callback
from .options import OptionError
from .plan import PlanError
from .progress import Progress
from .state import State, StateError
from .typed import ClientOptions

if TYPE_CHECKING:
    from .tensorflow import Dataset

__all__ = [
    "from_server", "Client", "ClientOptions", "Progress", "State", "StateError", "keras_callback",
    "GenserverError", "Closed", "EndpointError", "GeneratorError", "Interrupted", "OptionError",
    "PeerLost", "PlanError", "Rejected", "ServerChanged", "ServerStopped", "Stalled", "Unreachable",
    "WorkerDied",
]  # fmt: skip


def from_server(
    endpoints: str | Sequence[str],
    *,
    device: str | None = None,
    prefetch: int | None = None,
    cycle_length: int | None = None,
    **options: Unpack[ClientOptions],
) -> Dataset:
    """The elements of one or several servers as a ``tf.data.Dataset``: single ones, or the workers'
    batches with ``batch=``.

    Structure, shapes, dtypes and cardinality come from the server: ``float32[None,64]`` becomes
    ``TensorSpec((None, 64), tf.float32)``, a text ``tf.string``; the cardinality is unknown unless
    the server was given a length, and with ``batch=`` where several workers divide it: each may end
    with a smaller batch. Single elements come mixed: where several workers have some, they are
    taken in turn. Each iterator is one pass; its number, counted from 0 for this
    dataset, is the generator's ``worker.epoch``. An iterator that is deleted frees the workers at
    once.

    * ``endpoints``: ``tcp://HOST:PORT`` or ``ipc://PATH``, or a list of them: the workers of all
      servers then share one pass.
    * ``device``: for example "/GPU:0"; the prefetched elements are put there. Must then stay the
      last step of the pipeline, as ``tf.data.experimental.prefetch_to_device`` demands.
    * ``prefetch``: elements, or batches, that wait in front of the training step (default 2).
    * ``cycle_length``: lanes that pull at once; default max(1, min(workers // 4, cores // 2)), and
      1 with ``resume=``. Each mixes its own workers, and holds one of tf.data's threads while it
      waits.
    * ``options``: those of `ClientOptions`.

    May be called from any thread, and imports TensorFlow. Waits until the servers are ready, 30 s
    for an answer by default; raises `EndpointError`, `OptionError`, `Unreachable`, `Rejected`,
    `PlanError` or `ServerStopped`. Errors while iterating reach the training loop as
    ``tf.errors.UnknownError`` with the genserver error's text.
    """
    from .tensorflow import make_dataset

    dataset: Dataset = make_dataset(
        endpoints, device=device, prefetch=prefetch, cycle_length=cycle_length, options=options
    )
    return dataset
