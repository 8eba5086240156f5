"""`from_generator`: a private server of child processes behind a dataset.

Owns nothing itself: the server belongs to private_server.py, the dataset to TensorFlow.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from genserver.protocol.child.sent import Sent
from genserver.protocol.child.stages import Pipeline, Stage, name_of, owner_of
from genserver.protocol.keys import NONE

from .options import OptionError, PullOptions
from .private_server import PrivateServer, refuse_in_worker
from .sending import packed
from .tf_errors import as_tf_data_has_it
from .typed import ClientOptions, GeneratorOptions

if TYPE_CHECKING:
    from .tensorflow import Dataset, Declared

__all__ = ["make_private"]

#: Options that go to the server's command line as they are.
SERVER_OPTIONS = (
    "sharding", "length", "recovery", "max_rerun", "max_restarts", "item_timeout", "max_items",
)  # fmt: skip
#: Seconds until the server must be ready, where the user does not say.
READY_SECONDS = 300.0


def make_private(
    generator: Any, signature: tuple[Any, Any, Any], args: Any, name: str | None,
    *, workers: int, items: Iterable[Any] | None, concurrency: int, unbatch: bool,
    device: str | None, prefetch: int | None, options: GeneratorOptions,
) -> Dataset:  # fmt: skip
    """See `genserver.client.from_generator`; ``signature`` is (types, shapes, signature)."""
    refuse_in_worker()
    if isinstance(generator, Pipeline | Stage):
        workers = _check_stages(generator, args, workers, items, concurrency, unbatch)
    elif not (callable(generator) or isinstance(generator, Iterable)) and not _numbered(generator):
        raise TypeError("`generator` must be a Python callable.")  # tf.data's own words
    else:
        _check(generator, workers, items, concurrency)
    from . import tensorflow

    values = tensorflow.tensor_values(args)
    declared = tensorflow.declared(*signature)
    target = name_of(_last(generator))
    sent = _sent(generator, values, declared, items, concurrency, unbatch)
    pulled: dict[str, Any] = dict(options)
    seconds = pulled.pop("ready_timeout", READY_SECONDS)
    server = {"workers": workers, **{key: pulled.pop(key, None) for key in SERVER_OPTIONS}}
    pulled["keys"] = NONE  # the server is this process's own, whatever the environment says
    PullOptions(**pulled)  # which checks them, before anything is started
    private = PrivateServer(target, packed(target, sent), server, seconds=seconds)
    try:
        dataset = tensorflow.make_dataset(
            private.endpoint, device=device, prefetch=prefetch, cycle_length=None,
            options=cast("ClientOptions", pulled), title=target, raised=as_tf_data_has_it,
        )  # fmt: skip
        dataset = tensorflow.named(dataset, name)
    except BaseException:  # Ctrl-C as well: nobody else could stop the server
        private.stop()
        raise
    private.end_with(dataset)
    return dataset


def _last(generator: Any) -> Any:
    """What yields the elements."""
    return generator.second.function if isinstance(generator, Pipeline) else generator


def _check_stages(
    pipeline: Pipeline | Stage, args: Any, workers: int, items: Any, concurrency: int, unbatch: bool
) -> int:
    """How many workers the last stage has."""
    if isinstance(pipeline, Stage):
        raise OptionError("that is one stage alone: say with .then(function) what follows")
    if (args, items, concurrency, unbatch) != (None, None, 1, False):
        raise OptionError(
            "a pipeline says itself what its stages are called with: leave args, items, "
            "concurrency and unbatch out"
        )
    if workers not in (1, pipeline.second.workers):
        raise OptionError(
            f"the pipeline's last stage says workers={pipeline.second.workers}: leave workers out"
        )
    _check(pipeline.first.function, pipeline.first.workers, pipeline.first.items, 1)
    return pipeline.second.workers


def _numbered(generator: Any) -> bool:
    return hasattr(generator, "__len__") and hasattr(generator, "__getitem__")


def _sent(
    generator: Any, args: tuple[Any, ...], declared: Declared, items: Iterable[Any] | None,
    concurrency: int, unbatch: bool,
) -> Sent:  # fmt: skip
    spec, dtypes = (None if each is None else each.to_wire() for each in declared)
    return {
        "function": generator, "owner": owner_of(generator), "args": args, "items": items,
        "concurrency": concurrency, "unbatch": unbatch, "spec": spec, "dtypes": dtypes,
    }  # fmt: skip


def _check(
    generator: Any, workers: int, items: Iterable[Any] | None, concurrency: int
) -> None:  # fmt: skip
    if workers < 1:
        raise OptionError(f"workers must be 1 or more, not {workers}")
    for what, given in (("generator", generator), ("items", items)):
        if isinstance(given, Iterator):
            raise OptionError(
                f"{what} is a {type(given).__name__} that exists already, and can be read only "
                "once: give a function that makes it, or a list"
            )
        if isinstance(given, set | frozenset):
            raise OptionError(f"{what}: a set has another order in each process; give sorted(...)")
    if items is not None and not callable(generator):
        raise OptionError(f"items are given to a function, not to a {type(generator).__name__}")
    if concurrency < 1:
        raise OptionError(f"concurrency must be 1 or more, not {concurrency}")
    if concurrency > 1 and not (
        items is not None and inspect.iscoroutinefunction(inspect.unwrap(generator))
    ):
        raise OptionError("concurrency is the number of calls of an async def over items")
