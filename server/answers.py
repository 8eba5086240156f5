"""What a worker reports of its generator: that it is loaded, and its first element."""

from __future__ import annotations

from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.messages import Open
from genserver.protocol.spec import ElementSpec

from .reports import Empty, Failed, Found, Loaded, Search, Warm
from .runner import Runner
from .source import Source

__all__ = ["loaded", "searched"]

#: The kind of `replay.TooMuchToReplay`, which most servers do not load.
TOO_MUCH_TO_REPLAY = "TooMuchToReplay"


def loaded(source: Source) -> Loaded:
    """The report of a generator that is imported."""
    spec = None if source.spec is None else source.spec.to_wire()
    first = source.upstream
    options = None
    if first is not None:
        options = {"workers": first.workers, "sharding": first.sharding, "spec": first.spec}
    return Loaded(source.divisible, spec, source.length, source.items, source.workers, options)


def searched(runner: Runner, search: Search, target: str) -> Found | Empty | Failed | Warm:
    """Make the first element; the report of what came of it."""
    found = runner.search(Open(0, search.index, search.count, 0, search.seed))
    if search.warm:
        return Warm()  # a failure is told to the trainer that asks for the element
    if found is None:
        return Empty()
    if isinstance(found, ElementSpec):
        return Found(found.to_wire(), runner.seeks)
    name = runner.name or target
    if found.kind == TOO_MUCH_TO_REPLAY:
        return Failed(int(ExitCode.CONFIG), f"{name}: {found.text}")
    text = f"{name} failed before its first element: {found.kind}: {found.text}"
    return Failed(int(ExitCode.GENERATOR), f"{text}\n{found.traceback}".rstrip())
