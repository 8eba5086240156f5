"""The I/O loop: who calls it is heard."""

from __future__ import annotations

import pytest
from genserver.protocol.transport.loop import Loop


def test_a_call_while_the_wake_up_is_emptied_does_not_silence_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A byte that is written just then may be emptied with the others; the call is run all the
    same, and the next one wakes the loop again."""
    loop = Loop()
    done: list[str] = []
    empty = loop._wake_up.drain

    def drain() -> bytes:
        loop.call(lambda: done.append("during"))
        return empty()

    loop.call(lambda: done.append("before"))
    with monkeypatch.context() as patch:
        patch.setattr(loop._wake_up, "drain", drain)
        loop._drain()
    loop._run_calls()
    assert done == ["before", "during"]
    loop.call(lambda: done.append("after"))
    assert empty() == b"\0"
    loop.close()
