"""Looks up names beside whoever waits: a resolver may take its time.

Owns a thread while it looks, which the system's resolver bounds. Opens no socket.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence

from ..endpoint import Endpoint
from ..errors import EndpointError, Interrupted
from .process import acquire_loop, on_interrupt, release_loop
from .sockets import addresses_of

__all__ = ["Lookup"]


class Lookup:
    """What is behind some names, again and again. One thread at a time; call `close` when done."""

    def __init__(self, names: Sequence[Endpoint]) -> None:
        self._names = tuple(names)
        self._changed = threading.Condition()
        self._looking = False
        self._found: list[list[str]] | None = None
        self._interrupted_at = -math.inf
        acquire_loop()  # which hears Ctrl-C while TensorFlow waits
        self._forget_signals = on_interrupt(self._interrupt, lambda _: None)

    def ask(self) -> None:
        """Look again, unless a look is under way."""
        with self._changed:
            if self._looking:
                return
            self._looking = True
        threading.Thread(target=self._look, name="genserver-names", daemon=True).start()

    def wait(self, seconds: float, *, since: float = math.inf) -> list[list[str]] | None:
        """What a look found, once: the addresses behind each name, none where it is unknown. None
        after ``seconds``, also where nobody asked.

        Raises `Interrupted` when there was a Ctrl-C ``since`` the caller began.
        """
        deadline = time.monotonic() + seconds
        with self._changed:
            while self._found is None:
                if self._interrupted_at > since:
                    raise Interrupted
                left = deadline - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(left)
            found, self._found = self._found, None
            return found

    def close(self) -> None:
        """Nobody wants to know any more."""
        self._forget_signals()
        release_loop()

    def _look(self) -> None:
        found = [_addresses(name) for name in self._names]
        with self._changed:
            self._found, self._looking = found, False
            self._changed.notify_all()

    def _interrupt(self) -> None:
        with self._changed:
            self._interrupted_at = time.monotonic()
            self._changed.notify_all()


def _addresses(name: Endpoint) -> list[str]:
    try:
        return addresses_of(name)
    except EndpointError:  # nobody is there yet, or any more
        return []
