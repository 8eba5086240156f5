"""Servers for the tests: real processes, each test with a private folder for its sockets.

The fixtures reach the tests through tests/conftest.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from genserver.server import Server

from .processes import PATIENCE, SUPPORT, alive, eventually, processes_of

__all__ = [
    "PATIENCE", "SUPPORT", "Serve", "alive", "eventually", "processes_of", "runtime_folder",
    "serve",
]  # fmt: skip

Serve = Callable[..., Server]


@pytest.fixture
def runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the servers of this test put their sockets; short, for sun_path."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="gs"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    return folder


@pytest.fixture
def serve(runtime_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start servers of generators in tests/support; afterwards nothing of them may be left.

    A name without a module is one of generators.py.
    """
    inherited = os.environ.get("PYTHONPATH")
    path = [str(SUPPORT), *([inherited] if inherited else [])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    started: list[tuple[Server, list[int]]] = []

    def start(target: str, **options: object) -> Server:
        whole = target if ":" in target else f"generators:{target}"
        server = Server(whole, **options)  # type: ignore[arg-type]  # as given
        started.append((server, processes_of(server.pid)))
        return server

    yield start
    for server, workers in started:
        server.stop()
        assert eventually(lambda workers=workers: not any(map(alive, workers)))
    assert list(runtime_folder.iterdir()) == []
    runtime_folder.rmdir()
