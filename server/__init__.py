"""The producers' side: runs generators in worker processes. Importing it imports no TensorFlow.

Its names are loaded when they are first used: the command line and the workers, which import this
package on their way, need none of them, and start sooner.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genserver.protocol.child.stages import Pipeline, Stage, StageError, stage

    from .handle import Server, ServerFailed
    from .worker import Worker

__all__ = ["Worker", "Server", "ServerFailed", "Pipeline", "Stage", "StageError", "stage"]

_STAGES = "genserver.protocol.child.stages"
_HOMES = {
    "Worker": ".worker", "Server": ".handle", "ServerFailed": ".handle",
    "Pipeline": _STAGES, "Stage": _STAGES, "StageError": _STAGES, "stage": _STAGES,
}  # fmt: skip

if not TYPE_CHECKING:  # or a type checker would believe in every name

    def __getattr__(name: str) -> object:
        """Load a public name, once."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found = getattr(import_module(_HOMES[name], __name__), name)
        return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
