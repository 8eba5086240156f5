"""The trainer's side: elements of a genserver as a ``tf.data.Dataset``, or as numpy arrays.

Importing this package imports no TensorFlow; `from_server` and `from_generator` do, when called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from genserver.protocol.errors import (
    Closed,
    EndpointError,
    GeneratorError,
    GenserverError,
    Interrupted,
    KeyFileError,
    KeyRejected,
    PeerLost,
    Rejected,
    RemoteProtocolError,
    ServerChanged,
    ServerFailed,
    ServerStopped,
    Stalled,
    Unreachable,
    WorkerDied,
)

from .client import Client
from .keras import keras_callback
from .keras_telemetry import telemetry_callback
from .loop_line import progress_line
from .measured import ServerTelemetry, telemetry
from .options import OptionError
from .plan import PlanError
from .progress import Progress
from .sending import CannotSend
from .state import State, StateError
from .typed import ClientOptions, GeneratorOptions

if TYPE_CHECKING:
    from .tensorflow import Dataset

__all__ = [
    "from_server", "from_generator", "Client", "ClientOptions", "Progress", "State", "StateError",
    "GeneratorOptions", "keras_callback", "telemetry_callback", "progress_line", "telemetry",
    "ServerTelemetry", "GenserverError", "CannotSend", "Closed", "EndpointError", "GeneratorError",
    "Interrupted", "KeyFileError", "KeyRejected", "OptionError", "PeerLost", "PlanError",
    "Rejected", "RemoteProtocolError", "ServerChanged", "ServerFailed", "ServerStopped", "Stalled",
    "Unreachable", "WorkerDied",
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
      servers then share one pass. ``tcp://HOST:FIRST-LAST/STEP`` names several ports;
      ``dns+tcp://NAME:PORT`` all hosts behind a name, those that there are when a pass begins.
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


def from_generator(
    generator: Any,
    output_types: Any = None,
    output_shapes: Any = None,
    args: Any = None,
    output_signature: Any = None,
    name: str | None = None,
    *,
    workers: int = 1,
    items: Iterable[Any] | None = None,
    concurrency: int = 1,
    unbatch: bool = False,
    device: str | None = None,
    prefetch: int | None = None,
    **options: Unpack[GeneratorOptions],
) -> Dataset:
    """In the place of ``tf.data.Dataset.from_generator``: the generator runs in processes of its
    own, outside of this one's GIL.

    They end with the last dataset and iterator that come from it, and with this process. Lambdas,
    closures and functions of notebooks and scripts are sent there; pickle must be able to copy what
    they refer to. tf.data's arguments mean what they mean there: ``generator`` is called anew for
    each pass, with ``args`` as numpy values (texts as bytes). A list that it yields is an array.
    Numbers take the declared dtype where they keep their value, but for the rounding of floats;
    where tf.data would cut them off, the stream fails. Without types the spec is that of the first
    element, and with ``output_types`` alone the shapes are.

    * ``generator``: yields elements, or returns an iterable of them; also an async generator, a
      callable object, a method of a class (``Scans.read``: each worker makes a ``Scans()`` of the
      class that defines it), a sequence, which the workers divide, or a pipeline of two stages
      (`genserver.server.stage`). A parameter named ``worker`` gets the worker's part.
    * ``workers``: child processes; more than one needs something that divides the work, or
      ``sharding="off"``.
    * ``items``: a list, or something else that can be read again: the generator is called with each
      (a tuple gives several arguments), and yields elements or returns one. A free worker takes the
      next item; with ``deterministic=True`` item i is worker i modulo ``workers``'s.
    * ``concurrency``: calls of an ``async def`` over ``items`` that a worker has under way; results
      keep the items' order.
    * ``unbatch``: the generator yields batches, and their rows are the elements.
    * ``device``, ``prefetch``: those of `from_server`; ``options``: those of `GeneratorOptions`.

    Any thread; imports TensorFlow. Raises tf.data's errors for the same mistakes, `CannotSend`,
    `ServerFailed`, `SpecError`, and what `from_server` raises. While iterating, a built-in
    exception of the generator arrives as the class that tf.data has for it.
    """
    from .drop_in import make_private

    return make_private(
        generator, (output_types, output_shapes, output_signature), args, name, workers=workers,
        items=items, concurrency=concurrency, unbatch=unbatch, device=device, prefetch=prefetch,
        options=options,
    )  # fmt: skip
