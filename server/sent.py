"""A function that the trainer sent to its own private server: what `from_generator` was given.

The one file that unpickles. The bytes come through a descriptor that the trainer's own child
inherited, never over a socket, so they are as trusted as the trainer itself. Workers only.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator, Sized
from typing import Any

from genserver.protocol.child.inherited import read_whole
from genserver.protocol.child.sent import Sent
from genserver.protocol.spec import ElementSpec

from .config import ConfigError
from .failures import kind_of, text_of, user_traceback
from .kinds import Make, items_maker, yields
from .source import Caller, Source, declared_length, declared_spec, maker_of
from .unbatch import unbatched
from .worker import Worker

__all__ = ["load_sent"]


def load_sent(descriptor: int, target: str) -> Source:
    """What the descriptor brings, made ready; `ConfigError` with one sentence if that fails."""
    try:
        sent: Sent = pickle.loads(read_whole(descriptor))
    except Exception as error:
        raise ConfigError(
            f"{target} cannot be made again in a worker: {kind_of(error)}: {text_of(error)}\n"
            f"{user_traceback(error)}"
        ) from error
    make, divisible, length = _maker(sent, target)
    spec = None if sent["spec"] is None else ElementSpec.from_wire(sent["spec"])
    dtypes = None if sent["dtypes"] is None else ElementSpec.from_wire(sent["dtypes"]).root
    if spec is None and dtypes is None:
        spec = declared_spec(target, sent["function"])
    if sent["items"] is None:
        length = declared_length(target, sent["function"], length)
    if sent["unbatch"]:
        make, length = _unbatched(make), -2
    return Source(make, divisible, spec, length, dtypes=dtypes, casts=True)


def _maker(sent: Sent, target: str) -> tuple[Make, bool, int]:
    function, owner, items = sent["function"], sent["owner"], sent["items"]
    if items is not None:
        caller = Caller(target, function, {}, sent["args"], item=_first(items, target))
        make = items_maker(function, items, caller, sent["concurrency"], target)
        return make, True, len(items) if isinstance(items, Sized) and not yields(function) else -2
    method = getattr(function, "__name__", "")
    return maker_of(target, owner, function, {}, sent["args"], method=method)


def _first(items: Any, target: str) -> tuple[Any, ...]:
    """The arguments that the first item stands for, to check the function's with."""
    for item in items:
        return item if isinstance(item, tuple) else (item,)
    raise ConfigError(f"{target} was given no items")


def _unbatched(make: Make) -> Make:
    def rows(worker: Worker) -> Iterator[Any]:
        # Its start counts rows, and the generator would take it for batches.
        from_the_first = copy.copy(worker)
        from_the_first._start = 0
        return unbatched(make(from_the_first))

    return rows
