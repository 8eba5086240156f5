"""The folder of a server's sockets, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest
from genserver.protocol.transport.platform import RUNTIME_DIR
from genserver.server import private_folder as module
from genserver.server.private_folder import PrivateFolder


def interrupted(_descriptor: int) -> bool:
    raise KeyboardInterrupt


def test_ctrl_c_while_it_is_made_leaves_none(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its lock no other server would know that it is abandoned."""
    monkeypatch.setenv(RUNTIME_DIR, str(runtime_folder))
    monkeypatch.setattr(module, "try_lock", interrupted)
    with pytest.raises(KeyboardInterrupt):
        PrivateFolder()
    assert list(runtime_folder.iterdir()) == []
