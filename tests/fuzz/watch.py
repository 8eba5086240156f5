"""What happens outside of the decoder while it decodes, as the interpreter's audit hook tells it.

A decoder of foreign bytes has no reason for any audited event: an import, exec, compile,
`marshal.loads`, `pickle.find_class`, a file, a process, a socket. So none is allowed. A hook cannot
be taken away again: this is for processes that do nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Event", "watched"]

#: Events since `watched` was entered, None outside.
_seen: list[str] | None = None
_installed = False


class Event(AssertionError):
    """Something ran, was opened or loaded while nothing but decoding should happen."""


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if _seen is not None:
        _seen.append(f"{event} {str(arguments)[:200]}")
        raise Event(_seen[-1])  # the act itself does not happen


@contextmanager
def watched() -> Iterator[None]:
    """Fails with `Event` on any audited event inside, whoever caught the hook's own error."""
    global _seen, _installed
    if not _installed:
        sys.addaudithook(_hook)
        _installed = True
    seen = _seen = []
    try:
        yield
    finally:
        _seen = None
    if seen:
        raise Event("; ".join(seen))
