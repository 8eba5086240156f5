"""Servers for the tests: real processes, each test with a private folder for its sockets.

The fixtures reach the tests through tests/conftest.py.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from genserver.client import Client
from genserver.server import Server

from .processes import PATIENCE, SUPPORT, alive, eventually, processes_of

__all__ = [
    "PATIENCE", "SUPPORT", "Serve", "alive", "being_read", "eventually", "processes_of",
    "runtime_folder", "serve", "shared",
]  # fmt: skip

Serve = Callable[..., Server]
#: Servers that tests share and that are kept at once: each is three processes.
KEPT = 3


@pytest.fixture
def runtime_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the servers of this test put their sockets; short, for sun_path."""
    folder = Path(tempfile.mkdtemp(prefix="gs"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)  # `serve` has looked whether something was left


@pytest.fixture
def serve(runtime_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start servers of generators in tests/support; afterwards nothing of them may be left.

    A name without a module is one of generators.py.
    """
    _find_generators(monkeypatch)
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


@pytest.fixture(scope="session")
def shared() -> Iterator[Serve]:
    """Servers for tests that only read from them: those that ask for the same one share it.

    A server costs a second of a core, which is more than most such tests do.
    """
    kept: dict[str, Server] = {}
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="gs") as folder:

        def start(target: str, **options: object) -> Server:
            key = repr((target, sorted(options.items())))
            server = kept.pop(key, None)
            if server is None:
                with patch.context() as patched:
                    _find_generators(patched)
                    patched.setenv("XDG_RUNTIME_DIR", folder)
                    server = Server(target, **options)  # type: ignore[arg-type]  # as given
            kept[key] = server  # the latest comes last
            while len(kept) > KEPT:
                kept.pop(next(iter(kept))).stop()
            return server

        yield start
        for server in kept.values():
            server.stop()
        assert list(Path(folder).iterdir()) == []


@contextmanager
def being_read(endpoint: str) -> Iterator[None]:
    """Somebody reads meanwhile, for as long as the server is there."""
    over = threading.Event()

    def read() -> None:
        with Client(endpoint) as client:
            for _ in client:
                if over.is_set():
                    break

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE)


def _find_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have servers find the modules of this folder."""
    inherited = os.environ.get("PYTHONPATH")
    path = [str(SUPPORT), *([inherited] if inherited else [])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
