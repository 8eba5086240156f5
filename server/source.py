"""The user's generator: found by ``MODULE:NAME`` or ``FILE.py:NAME``, inspected, called.

Runs in workers only.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
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
        made_by = getattr(function, "__name__", "")
        raise ConfigError(
            f"{target} is a {type(function).__name__} that exists already, and can be read only "
            f"once: serve the function that makes it{f', {where}:{made_by}' if made_by else ''}"
        )
    if not inspect.isgeneratorfunction(_unwrapped(function)):
        what = "a class" if inspect.isclass(function) else type(function).__name__
        raise ConfigError(
            f"{target} is not a generator but {what}: it must be a function that yields elements"
        )
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
            known = [
                n for n, v in vars(module).items()
                if inspect.isgeneratorfunction(v) and not n.startswith("_")
            ]  # fmt: skip
            hint = f"; its generators are {', '.join(known)}" if known else ""
            raise ConfigError(f"module {module_name} has no {name!r}{hint}")
        found = getattr(found, part)
    return found


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
    try:
        inspect.signature(function).bind(**arguments, **extra)
    except TypeError as error:
        raise ConfigError(
            f"{target} cannot be called with these --arg: {error}; "
            f"its signature is {inspect.signature(function)}"
        ) from None


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
