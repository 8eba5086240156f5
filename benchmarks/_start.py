"""How long after `genserver serve` starts has a trainer that waits for it the first element?"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from _case import PRODUCERS
from _process import HERE, Process

#: Seconds that a trainer may need to import TensorFlow, and a server to end.
IMPORT_SECONDS, STOP_SECONDS = 120.0, 15.0


def seconds_to_first(target: str) -> float:
    """From just before the server's process is started, with a client that already retries."""
    endpoint = f"tcp://127.0.0.1:{_free_port()}"
    with Process("_first_element.py", endpoint) as trainer:
        _wait_for(trainer, "waiting")
        began = time.monotonic()
        with _serving(target, endpoint):
            at = _wait_for(trainer, "at")
            trainer.end()
    return at - began


def _wait_for(trainer: Process, key: str) -> float:
    """The answer with this key; the lines in between say that it still waits."""
    while key not in (answer := trainer.answer(IMPORT_SECONDS)):
        pass
    return 0.0 if key == "waiting" else float(answer[key])


@contextmanager
def _serving(target: str, endpoint: str) -> Iterator[None]:
    command = [
        sys.executable, "-m", "genserver.server", "serve", target,
        "--workers", str(PRODUCERS), "--bind", endpoint,
    ]  # fmt: skip
    server = subprocess.Popen(
        command, cwd=HERE, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield
    finally:
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait(STOP_SECONDS)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
