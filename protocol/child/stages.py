"""A pipeline of two stages, as its user writes it: plain data that the trainer sends as it is."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import GenserverError

__all__ = ["Pipeline", "Stage", "StageError", "name_of", "owner_of", "stage"]


class StageError(GenserverError, ValueError):
    """A stage is not what it must be; the text says what."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What `stage` was given."""

    function: Any
    workers: int
    items: Iterable[Any] | None = None
    sharding: str | None = None
    spec: str | None = None
    #: The class whose plain method ``function`` is, so that each worker makes an object of it.
    owner: Any = None

    def __post_init__(self) -> None:
        if type(self.workers) is not int or self.workers < 1:
            raise StageError(f"a stage has 1 worker or more, not {self.workers!r}")
        kind = type(self.function).__name__
        known = callable(self.function) or isinstance(self.function, Iterable)
        if not (known or hasattr(self.function, "__getitem__")):
            raise StageError(f"a stage is a function, or something with elements, not a {kind}")
        if self.items is not None and not callable(self.function):
            raise StageError(f"items are given to a function, not to a {kind}")
        if self.items is not None and self.owner is not None:
            raise StageError(f"{name_of(self.function)} needs an object: give {_bound(self)}")
        if self.sharding not in (None, "static", "off"):
            raise StageError(f"a stage's sharding is 'static' or 'off', not {self.sharding!r}")

    def then(self, function: Callable[..., Any], *, workers: int = 1) -> Pipeline:
        """The stage behind it, in ``workers`` processes: ``function`` is called with each element
        of this one (a tuple gives several arguments) and yields elements, or returns one."""
        if not callable(function):
            raise StageError(
                f"a second stage is a function of an element, not a {type(function).__name__}"
            )
        second = Stage(function, workers, owner=owner_of(function))
        if second.owner is not None:
            raise StageError(f"{name_of(function)} needs an object: give {_bound(second)}")
        return Pipeline(self, second)


def _bound(stage: Stage) -> str:
    return f"{stage.owner.__name__}().{stage.function.__name__}"


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Two stages: `from_generator` takes it, and ``genserver serve MODULE:NAME``."""

    first: Stage
    second: Stage

    def then(self, _function: Callable[..., Any], *, workers: int = 1) -> Pipeline:
        """`StageError`: there are two stages."""
        del workers
        raise StageError("a pipeline has two stages: do the work of the third in the second")


def stage(
    generator: Any,
    *,
    workers: int = 1,
    items: Iterable[Any] | None = None,
    sharding: str | None = None,
    spec: str | None = None,
) -> Stage:
    """The first stage of a pipeline, such as ``stage(load_scan, items=paths, workers=3)``.

    Its elements go to the workers of the stage behind it, on the same host through shared memory,
    where they are read-only arrays; while one is worked on, the next ones are made. Which worker
    gets which is decided when one is free; each is worked on once, and its own elements come in
    order.

    * ``generator``: whatever can be served: it yields elements, or is called for each of ``items``.
    * ``workers``: its processes. More than one needs something that divides the work.
    * ``items``: what it is called with, one by one; a tuple gives several arguments.
    * ``sharding``: "off" where each worker shall make everything, as of endless random elements.
    * ``spec``: its elements, such as "float32[None,None,None]"; default that of the first one.
    """
    return Stage(generator, workers, items, sharding, spec, owner_of(generator))


def owner_of(function: Any) -> Any:
    """The class whose plain method this is, so that each worker can make an object of it; else
    None."""
    if not inspect.isfunction(function) or "." not in function.__qualname__:
        return None
    owner: Any = sys.modules.get(function.__module__)
    for part in function.__qualname__.split(".")[:-1]:
        owner = getattr(owner, part, None)
    found = vars(owner).get(function.__name__) if inspect.isclass(owner) else None
    return owner if found is function else None


def name_of(function: Any) -> str:
    """MODULE:NAME of what is served, for messages."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    return f"{getattr(named, '__module__', None) or '__main__'}:{named.__qualname__}"
