"""The user's generator: found by ``MODULE:NAME`` or ``FILE.py:NAME``, inspected, called.

Runs in workers only.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genserver.protocol.errors import SpecError
from genserver.protocol.signature import spec_from_signature
from genserver.protocol.spec import ElementSpec

from .config import ConfigError, split_target
from .failures import kind_of, text_of, user_traceback
from .worker import Worker

__all__ = ["Source", "load_source"]

#: Most names that are listed where one is not found; so many of them because they are alike.
MAX_NAMES, MAX_ALIKE = 8, 3


@dataclass(frozen=True, slots=True)
class Source:
    """A generator function, and how to call it."""

    function: Callable[..., Iterator[Any]]
    arguments: dict[str, Any]
    #: The parameter that gets the `Worker`, or None: then the work cannot be divided.
    worker_parameter: str | None
    spec: ElementSpec | None
    length: int

    def call(self, worker: Worker) -> Iterator[Any]:
        """A new generator."""
        extra = {} if self.worker_parameter is None else {self.worker_parameter: worker}
        return self.function(**self.arguments, **extra)


def load_source(target: str, arguments: dict[str, Any]) -> Source:
    """Import and inspect; `ConfigError` with one sentence for whatever is wrong."""
    where, name = split_target(target)
    module = _import_file(where) if where.endswith(".py") else _import(where)
    function = _find(module, module.__name__, name)
    if isinstance(function, Iterator):
        made_by = str(getattr(function, "__name__", ""))
        # No advice that cannot be followed: <genexpr>, or a function inside another.
        served = made_by.isidentifier() and callable(getattr(module, made_by, None))
        advice = f"the function that makes it, {where}:{made_by}" if served else "a function with"
        raise ConfigError(
            f"{target} is a {type(function).__name__} that exists already, and can be read only "
            f"once: serve {advice}{'' if served else ' yield that makes its elements anew'}"
        )
    if not inspect.isgeneratorfunction(_unwrapped(function)):
        raise ConfigError(f"{target} {_why_no_generator(function, name)}")
    parameter = _worker_parameter(function)
    _check_arguments(target, function, arguments, parameter)
    return Source(
        function, arguments, parameter, _declared_spec(target, function), _length(target, function)
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


def _find(module: Any, module_name: str, name: str) -> Any:
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"module {module_name} has no {name!r}{_known(module, name)}")
        found = getattr(found, part)
    return found


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


def _why_no_generator(thing: Any, name: str) -> str:
    """What ``thing`` is instead of a generator function, and what to write."""
    rule = "it must be a function with yield"
    function = _unwrapped(thing)
    if inspect.isasyncgenfunction(function) or inspect.iscoroutinefunction(function):
        return f"is asynchronous: {rule}, without async"
    if getattr(function, "__name__", "") == "<lambda>":
        return f"is a lambda: {rule}, made with def"
    if inspect.isclass(function):
        return f"is a class: {rule}; one can say `yield from {name}(...)`"
    if inspect.isroutine(function):
        return (
            f"does not yield: {rule}; one that returns another's generator can say "
            "`yield from inner(...)`"
        )
    kind = type(function).__name__
    article = "an" if kind[:1] in "aeiou" else "a"
    if callable(function):
        return f"is an object of class {kind}: {rule}; one can say `yield from {name}(...)`"
    advice = f"; one can say `yield from {name}`" if isinstance(function, Iterable) else ""
    return f"is {article} {kind}: {rule}{advice}"


def _unwrapped(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.unwrap(function) if callable(function) else function


def _worker_parameter(function: Any) -> str | None:
    for name, parameter in inspect.signature(function).parameters.items():
        annotation = parameter.annotation
        written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
        if name == "worker" or annotation is Worker or written.rpartition(".")[2] == "Worker":
            return name
    return None


def _check_arguments(
    target: str, function: Any, arguments: dict[str, Any], worker: str | None
) -> None:
    if worker is not None and worker in arguments:
        raise ConfigError(f"--arg {worker}: genserver fills in this parameter itself")
    extra = {} if worker is None else {worker: None}
    signature = inspect.signature(function)
    try:
        signature.bind(**arguments, **extra)
    except TypeError as error:
        missing = [
            f"--arg {name}=VALUE" for name, parameter in signature.parameters.items()
            if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            and parameter.default is parameter.empty and name not in {*arguments, *extra}
        ]  # fmt: skip
        unknown = [name for name in arguments if name not in signature.parameters]
        what = f"cannot be called with these --arg: {error}"
        if missing:
            not_known = f" (not --arg {', '.join(unknown)})" if unknown else ""
            what = f"needs {' '.join(missing)}{not_known}"
        raise ConfigError(f"{target} {what}; its signature is {signature}") from None


def _declared_spec(target: str, function: Any) -> ElementSpec | None:
    declared = getattr(_unwrapped(function), "output_signature", None)
    if declared is None:
        return None
    try:
        return spec_from_signature(declared)
    except SpecError as error:
        raise ConfigError(f"{target}.output_signature: {error}") from error


def _length(target: str, function: Any) -> int:
    """The attribute ``length``: an int, or "infinite"; -2 when there is none."""
    length = getattr(_unwrapped(function), "length", None)
    if length is None:
        return -2
    if length == "infinite":
        return -1
    if type(length) is not int or length < 0:
        raise ConfigError(f"{target}.length must be a count or 'infinite', not {length!r}")
    return length
