"""A user's function as bytes for the trainer's own private server, or a sentence that names what
cannot be sent.

The bytes are for a descriptor that our own child inherits, and for nothing else: whoever could
choose them would run code there.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

from genserver.protocol.child.sent import Sent
from genserver.protocol.errors import GenserverError

__all__ = ["CannotSend", "packed"]

#: How deep an object is looked into for the part that cannot be sent.
DEEPEST = 4


class CannotSend(GenserverError, TypeError):
    """Something that a generator refers to cannot be sent to a worker; ``name`` is where it is."""

    def __init__(self, target: str, name: str, kind: str, reason: str) -> None:
        super().__init__(target, name, kind, reason)
        self.target, self.name, self.kind, self.reason = target, name, kind, reason

    def __str__(self) -> str:
        what = f"{self.name} (a {self.kind}), which {self.target} uses," if self.name else ""
        return (
            f"{what or self.target} cannot be sent to a worker process: {self.reason}. Make it "
            "inside the generator, or give its parts as args="
        )


def packed(target: str, sent: Sent) -> bytes:
    """What a worker makes the function of again. `CannotSend` names what cannot be sent."""
    import cloudpickle  # only who sends functions needs it

    with contextlib.ExitStack() as stack:
        known = cloudpickle.list_registry_pickle_by_value()
        for module in _half_made(sent):
            if module.__name__ in known:
                continue  # the user's own word, which stays
            cloudpickle.register_pickle_by_value(module)
            stack.callback(cloudpickle.unregister_pickle_by_value, module)
        try:
            data: bytes = cloudpickle.dumps(sent)
        except Exception as error:
            name, culprit = _culprit(sent, cloudpickle.dumps)
            raise CannotSend(target, name, type(culprit).__name__, _reason(error)) from error
    return data


def _half_made(sent: Sent) -> Iterator[Any]:
    """A module that is still being imported would begin anew in each worker that imports it, and
    call `from_generator` again there: its functions are sent whole."""
    names = {getattr(part, "__module__", None) for part in (sent["function"], sent["owner"])}
    for module in (sys.modules.get(name) for name in names if name is not None):
        if getattr(getattr(module, "__spec__", None), "_initializing", False):
            yield module


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0].rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _culprit(sent: Sent, dumps: Callable[[Any], bytes]) -> tuple[str, Any]:
    """(name, object) of the deepest part that cannot be sent."""
    name, found = "", sent["function"]
    parts: Iterator[tuple[str, Any]] = (
        (key, value) for key, value in sent.items() if key not in ("function", "owner")
    )
    for where, part in [*_parts_of("", found), *parts]:
        if not _can(part, dumps):
            name, found = where, part
            break
    for _ in range(DEEPEST):
        inner = next(((w, p) for w, p in _parts_of(name, found) if not _can(p, dumps)), None)
        if inner is None:
            break
        name, found = inner
    return name, found


def _can(part: Any, dumps: Callable[[Any], bytes]) -> bool:
    try:
        dumps(part)
    except Exception:  # noqa: BLE001  # any object's own code runs here
        return False
    return True


def _parts_of(name: str, thing: Any) -> Iterator[tuple[str, Any]]:
    """What an object refers to, with the names that a user knows it by."""
    if inspect.ismethod(thing):
        yield f"{name or thing.__name__}.__self__", thing.__self__
        thing = thing.__func__
    if inspect.isfunction(thing):
        try:
            used = inspect.getclosurevars(thing)
        except ValueError:  # a variable that has no value yet
            return
        yield from used.nonlocals.items()
        yield from used.globals.items()
    elif isinstance(thing, dict):
        yield from ((f"{name}[{key!r}]", value) for key, value in thing.items())
    elif isinstance(thing, list | tuple):
        yield from ((f"{name}[{number}]", value) for number, value in enumerate(thing))
    else:
        front = f"{name}." if name else "self."
        yield from (
            (f"{front}{key}", value) for key, value in getattr(thing, "__dict__", {}).items()
        )
