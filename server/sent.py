"""A function that the trainer sent to its own private server: what `from_generator` was given.

The one file that unpickles. The bytes come through a descriptor that the trainer's own child
inherited, never over a socket, so they are as trusted as the trainer itself. Workers only.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from genserver.protocol.child.inherited import read_whole
from genserver.protocol.child.sent import Sent
from genserver.protocol.child.stages import Pipeline
from genserver.protocol.spec import ElementSpec

from .config import ConfigError
from .failures import kind_of, text_of, user_traceback
from .items import Items
from .kinds import Make
from .source import (
    LAST,
    Source,
    declared_length,
    declared_spec,
    maker_of,
    source_over,
    stage_of,
)
from .unbatch import unbatched
from .worker import Worker

__all__ = ["load_sent"]


def load_sent(descriptor: int, target: str, stage: int = LAST) -> Source:
    """What the descriptor brings, made ready; `ConfigError` with one sentence if that fails."""
    try:
        sent: Sent = pickle.loads(read_whole(descriptor))
    except Exception as error:
        raise ConfigError(
            f"{target} cannot be made again in a worker: {kind_of(error)}: {text_of(error)}\n"
            f"{user_traceback(error)}"
        ) from error
    spec = None if sent["spec"] is None else ElementSpec.from_wire(sent["spec"])
    dtypes = None if sent["dtypes"] is None else ElementSpec.from_wire(sent["dtypes"]).root
    if spec is None and dtypes is None:
        spec = declared_spec(target, sent["function"])
    items = sent["items"]
    if isinstance(sent["function"], Pipeline):
        made = stage_of(sent["function"], target, stage)
        if stage != LAST:
            return made  # what was declared is of the last one's elements
    else:
        made = _plain(sent, target) if items is None else _over(items, sent, target)
    return replace(made, spec=made.spec if spec is None else spec, dtypes=dtypes, casts=True)


def _plain(sent: Sent, target: str) -> Source:
    function = sent["function"]
    make, divisible, length = maker_of(
        target, sent["owner"], function, {}, sent["args"],
        method=getattr(function, "__name__", ""),
    )  # fmt: skip
    length = declared_length(target, function, length)
    if sent["unbatch"]:
        make, length = _unbatched(make), -2
    return Source(make, divisible, None, length)


def _over(items: Iterable[Any], sent: Sent, target: str) -> Source:
    return source_over(
        Items(items, target), sent["function"], {}, sent["args"], target,
        concurrency=sent["concurrency"], unbatch=sent["unbatch"],
    )  # fmt: skip


def _unbatched(make: Make) -> Make:
    def rows(worker: Worker) -> Iterator[Any]:
        # Its start counts rows, and the generator would take it for batches.
        from_the_first = copy.copy(worker)
        from_the_first._start = 0
        return unbatched(make(from_the_first))

    return rows
