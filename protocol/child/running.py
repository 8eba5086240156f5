"""What this process started and must end before it ends itself."""

from __future__ import annotations

import atexit
from typing import Protocol, TypeVar

from ..transport.platform import after_fork_in_child

__all__ = ["Running"]


class _Stoppable(Protocol):
    def stop(self) -> object: ...


T = TypeVar("T", bound=_Stoppable)


class Running(set[T]):
    """Servers that run. Each is stopped when the interpreter ends; a forked child has none, since
    they are its parent's. Any thread."""

    def __init__(self) -> None:
        super().__init__()
        atexit.register(self._stop_all)
        after_fork_in_child(self.clear)

    def _stop_all(self) -> None:
        for server in list(self):
            server.stop()
