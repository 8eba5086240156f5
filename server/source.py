"""The user's generator: found by ``MODULE:NAME`` or ``FILE.py:NAME``, inspected, made ready.

Runs in workers only.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genserver.protocol.child.stages import Pipeline, Stage, name_of
from genserver.protocol.errors import SpecError
from genserver.protocol.messages import NO_MORE
from genserver.protocol.signature import spec_from_signature
from genserver.protocol.spec import ElementSpec, Node

from .config import ConfigError, split_target
from .failures import kind_of, text_of, user_traceback
from .items import Items, arguments_of
from .kinds import (
    Make,
    call_maker,
    is_coroutine,
    items_maker,
    method_maker,
    sequence_maker,
    unwrapped,
    yields,
)
from .worker import Worker

if TYPE_CHECKING:
    from .feed import Feed
    from .replay import Replay

__all__ = [
    "Caller", "Source", "declared_length", "declared_spec", "load_source", "maker_of",
    "LAST", "source_over", "stage_of",
]  # fmt: skip

#: The stage of a pipeline whose elements are served to trainers; 1 is the one before it.
LAST = 0
#: Most names that are listed where one is not found; so many of them because they are alike.
MAX_NAMES, MAX_ALIKE = 8, 3


@dataclass(frozen=True, slots=True)
class Source:
    """What makes the elements, and what is known of them."""

    make: Make
    #: Whether each worker makes its share; if not, the work cannot be divided.
    divisible: bool
    spec: ElementSpec | None
    length: int
    #: The dtypes of elements whose shapes are those of the first one; None for its own dtypes.
    dtypes: Node | None = None
    #: Whether numbers of other dtypes are taken where they keep their value.
    casts: bool = False
    #: How many items there are to be dealt, `NO_MORE` where only their end will tell; None where
    #: the function is not called for items.
    items: int | None = None
    #: Items that a worker wants to have ahead of the one that it does.
    ahead: int = 0
    #: Where its items come from, and what makes them, if that is a stage before it.
    feed: Feed | None = None
    upstream: Stage | None = None
    #: How many workers it was made for, where that is said.
    workers: int | None = None
    #: What a user knows it by, where that is not the target.
    name: str = ""
    #: What hands its elements out in a circle, with ``--replay``.
    kept: tuple[Replay, ...] = ()


class Caller:
    """Calls a function with the arguments that the user gave, and the worker where it is wanted."""

    def __init__(
        self, target: str, function: Any, named: dict[str, Any], positional: Sequence[Any] = (),
        *, item: Sequence[Any] = (), bound: bool = False, checked: bool = True,
    ) -> None:  # fmt: skip
        """Raises `ConfigError` where these cannot be its arguments, with those of an ``item`` in
        front, unless those are not known yet: not ``checked``. Of a method, ``bound`` says that
        its object is not among them."""
        self._named, self._positional = named, tuple(positional)
        self._worker, place = _worker_parameter(function)
        #: Where the worker stands among the arguments without names, where it can.
        self._place = None if place is None else place - bound
        given = (*[None] * bound, *item, *positional)
        if checked:
            _check_arguments(target, function, given, named, self._worker, place)

    @property
    def divides(self) -> bool:
        """Whether the function learns which share of the work is its own."""
        return self._worker is not None

    def __call__(self, function: Any, worker: Worker, *item: Any) -> Any:
        given = (*item, *self._positional)
        if self._worker is None:
            return function(*given, **self._named)
        if self._place is not None and self._place < len(given):
            front, back = given[: self._place], given[self._place :]
            return function(*front, worker, *back, **self._named)
        return function(*given, **self._named, **{self._worker: worker})


def load_source(
    target: str, arguments: dict[str, Any], stage: int = LAST,
    *, items: list[Any] | None = None, concurrency: int = 1,
) -> Source:  # fmt: skip
    """Import and inspect; `ConfigError` with one sentence for whatever is wrong.

    ``stage`` says which one of a pipeline is wanted, ``items`` what a function is called with.
    """
    where, name = split_target(target)
    module = _import_file(where) if where.endswith(".py") else _import(where)
    owner, thing = _find(module, module.__name__, name)
    if isinstance(thing, Iterator):
        raise ConfigError(_exists_already(target, where, owner, thing))
    if isinstance(thing, Stage):
        raise ConfigError(f"{target} is one stage alone: say with .then(function) what follows")
    if isinstance(thing, Pipeline):
        if arguments or items is not None:
            raise ConfigError(f"{target} is a pipeline, whose stages say what they are called with")
        return stage_of(thing, target, stage)
    if items is not None:
        if not callable(thing):
            raise ConfigError(f"--items are for a function, and {target} is a {_kind(thing)}")
        given = Items([tuple(i) if isinstance(i, list) else i for i in items], target)
        made = source_over(given, thing, arguments, (), target, concurrency=concurrency)
        return replace(made, spec=declared_spec(target, thing))
    last = name.rpartition(".")[2]
    plain = inspect.isclass(owner) and inspect.isfunction(inspect.getattr_static(owner, last))
    make, divisible, length = maker_of(
        target, owner if plain else None, thing, arguments, method=last
    )
    return Source(
        make, divisible, declared_spec(target, thing), declared_length(target, thing, length)
    )


def maker_of(
    target: str, owner: Any, thing: Any, named: dict[str, Any], positional: Sequence[Any] = (),
    *, method: str = "",
) -> tuple[Make, bool, int]:  # fmt: skip
    """(how elements are made, whether that is divided, how many there are or -2).

    With ``owner``, ``thing`` is the plain ``method`` of that class. `ConfigError` for what has no
    elements, or cannot be called with these arguments.
    """
    if callable(thing):
        caller = Caller(target, thing, named, positional, bound=owner is not None)
        if owner is not None:
            return method_maker(owner, method, caller, target), caller.divides, -2
        return call_maker(thing, caller, target), caller.divides, -2
    kind = _kind(thing)
    if named or positional:
        raise ConfigError(f"{target} is a {kind}, which takes no arguments")
    if isinstance(thing, dict | str | bytes) or not _is_iterable(thing):
        raise ConfigError(
            f"{target} is {'an' if kind[:1] in 'aeiou' else 'a'} {kind}: it must be a function "
            "with yield, or something that gives its elements one after the other"
        )
    if isinstance(thing, set | frozenset):
        raise ConfigError(f"{target} is a {kind}, whose order is another in each process: sort it")
    length = len(thing) if hasattr(thing, "__len__") else -2
    if length >= 0 and hasattr(thing, "__getitem__"):
        return sequence_maker(thing), True, length
    return lambda _worker: iter(thing), False, length


def stage_of(pipeline: Pipeline, target: str, stage: int) -> Source:
    """One stage of a pipeline: the last, or the one before it."""
    if stage == LAST:
        return _second(pipeline, target)
    return _first(pipeline.first, name_of(pipeline.first.function))


def _first(first: Stage, target: str) -> Source:
    if first.items is not None:
        made = source_over(Items(first.items, target), first.function, {}, (), target)
        return replace(made, name=target)
    make, divisible, length = maker_of(
        target, first.owner, first.function, {}, method=getattr(first.function, "__name__", "")
    )
    return Source(
        make, divisible, declared_spec(target, first.function),
        declared_length(target, first.function, length), name=target,
    )  # fmt: skip


def _second(pipeline: Pipeline, target: str) -> Source:
    from .feed import Feed  # which pulls; most workers only serve

    function, feed = pipeline.second.function, Feed()
    caller = Caller(target, function, {}, checked=False)
    return Source(
        items_maker(function, feed, caller, target), True, declared_spec(target, function), -2,
        items=NO_MORE, ahead=1, feed=feed, upstream=pipeline.first,
        workers=pipeline.second.workers,
    )  # fmt: skip


def source_over(
    items: Items, function: Any, named: dict[str, Any], positional: Sequence[Any], target: str,
    *, concurrency: int = 1, unbatch: bool = False,
) -> Source:  # fmt: skip
    """Of a function that is called for each of ``items``, with these other arguments."""
    caller = Caller(target, function, named, positional, item=arguments_of(items.first))
    if concurrency > 1 and not is_coroutine(function):
        raise ConfigError(f"{target} is no async def: only of such a --concurrency can be above 1")
    make = items_maker(
        function, items, caller, target, concurrency=concurrency, unbatch=unbatch
    )  # fmt: skip
    single = not (yields(function) or unbatch)
    return Source(
        make, True, None, items.total if single else -2, items=items.total, ahead=concurrency - 1
    )


def _kind(thing: Any) -> str:
    return type(thing).__name__


def _is_iterable(thing: Any) -> bool:
    return isinstance(thing, Iterable) or hasattr(thing, "__getitem__")


def _exists_already(target: str, where: str, module: Any, iterator: Any) -> str:
    made_by = str(getattr(iterator, "__name__", ""))
    # No advice that cannot be followed: <genexpr>, or a function inside another.
    served = made_by.isidentifier() and callable(getattr(module, made_by, None))
    advice = f"the function that makes it, {where}:{made_by}" if served else "a function with"
    return (
        f"{target} is a {type(iterator).__name__} that exists already, and can be read only "
        f"once: serve {advice}{'' if served else ' yield that makes its elements anew'}"
    )


def _import_file(name: str) -> Any:
    """A file's module; its folder goes in front of the search path, as ``python FILE.py`` does."""
    path = Path(name).expanduser().absolute()
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    if not path.stem.isidentifier():
        raise ConfigError(f"{path.name} cannot be imported: {path.stem!r} is no name in Python")
    sys.path.insert(0, str(path.parent))
    module = _import(path.stem)
    found = getattr(module, "__file__", None)
    if found is None or not path.samefile(found):
        raise ConfigError(
            f"{path.name} cannot be imported: Python knows another module {path.stem!r}; rename it"
        )
    return module


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ConfigError(
                f"there is no module {error.name!r}: genserver looks in the folder that it is "
                "started in, in PYTHONPATH and among the installed packages; a file is given as "
                "path/to/scans.py:cubes"
            ) from None
        raise _import_failed(name, error) from error
    except ConfigError:
        raise  # a sentence already: the module starts a Server
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # it may raise anything
        raise _import_failed(name, error) from error


def _import_failed(name: str, error: BaseException) -> ConfigError:
    trace = user_traceback(error)
    return ConfigError(f"importing {name} raised {kind_of(error)}: {text_of(error)}\n{trace}")


def _find(module: Any, module_name: str, name: str) -> tuple[Any, Any]:
    """(the class or module that holds it, what the name stands for)."""
    owner, found = module, module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"module {module_name} has no {name!r}{_known(module, name)}")
        owner, found = found, getattr(found, part)
    return owner, found


def _known(module: Any, name: str) -> str:
    """The module's generators, those that ``name`` may have meant first."""
    import difflib  # only a mistake needs it

    known = [
        n for n, v in vars(module).items()
        if inspect.isgeneratorfunction(v) and not n.startswith("_")
    ]  # fmt: skip
    alike = difflib.get_close_matches(name, known, MAX_ALIKE)
    shown = [*alike, *(n for n in known if n not in alike)][:MAX_NAMES]
    more = f" and {len(known) - len(shown)} more" if len(known) > len(shown) else ""
    return f"; its generators are {', '.join(shown)}{more}" if known else ""


def _signature(function: Any) -> inspect.Signature | None:
    """What it can be called with; None where it is in C and does not say."""
    try:
        return inspect.signature(function)
    except ValueError:
        return None


def _worker_parameter(function: Any) -> tuple[str | None, int | None]:
    """Its name, and its place among the parameters that need no names."""
    signature = _signature(function)
    for place, (name, parameter) in enumerate(signature.parameters.items() if signature else ()):
        annotation = parameter.annotation
        written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        if name == "worker" or annotation is Worker or written.rpartition(".")[2] == "Worker":
            named_only = parameter.kind is parameter.KEYWORD_ONLY
            return name, None if named_only else place
    return None, None


def _check_arguments(
    target: str, function: Any, positional: Sequence[Any], named: dict[str, Any],
    worker: str | None, place: int | None,
) -> None:  # fmt: skip
    if worker is not None and worker in named:
        raise ConfigError(f"--arg {worker}: genserver fills in this parameter itself")
    extra = {} if worker is None else {worker: None}
    bound, kept = tuple(positional), extra
    if place is not None and place < len(bound):
        bound, kept = (*bound[:place], None, *bound[place:]), {}
    signature = _signature(function)
    if signature is None:
        return
    try:
        signature.bind(*bound, **named, **kept)
    except TypeError as error:
        if positional:
            raise ConfigError(
                f"{target} cannot be called with these arguments: {error}; its signature is "
                f"{signature}"
            ) from None
        missing = [
            f"--arg {name}=VALUE" for name, parameter in signature.parameters.items()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            and parameter.default is parameter.empty and name not in {*named, *extra}
        ]  # fmt: skip
        unknown = [name for name in named if name not in signature.parameters]
        what = f"cannot be called with these --arg: {error}"
        if missing:
            not_known = f" (not --arg {', '.join(unknown)})" if unknown else ""
            what = f"needs {' '.join(missing)}{not_known}"
        raise ConfigError(f"{target} {what}; its signature is {signature}") from None


def declared_spec(target: str, function: Any) -> ElementSpec | None:
    declared = getattr(unwrapped(function), "output_signature", None)
    if declared is None:
        return None
    try:
        return spec_from_signature(declared)
    except SpecError as error:
        raise ConfigError(f"{target}.output_signature: {error}") from error


def declared_length(target: str, function: Any, known: int) -> int:
    """The attribute ``length``: an int, or "infinite"; ``known`` when there is none."""
    length = getattr(unwrapped(function), "length", None)
    if length is None:
        return known
    if length == "infinite":
        return -1
    if type(length) is not int or length < 0:
        raise ConfigError(f"{target}.length must be a count or 'infinite', not {length!r}")
    return length
