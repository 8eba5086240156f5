"""The wiring of a worker's two threads, in this process: what it says as it leaves."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from genserver.protocol.messages import Open
from genserver.protocol.spec import parse_spec
from genserver.protocol.worker_events import Credit, Started
from genserver.server import worker_main
from genserver.server.progress_page import ProgressPage
from genserver.server.reports import Start, Stop, UseSpec, write_line
from genserver.server.source import Source

from ..support.servers import eventually

CONFIG = {
    "index": 0, "life": 0, "target": "made:here", "arguments": {}, "sharding": "off",
    "recovery": "auto", "max_rerun": None, "max_items": 1, "replay": None,
    "items": None, "concurrency": 1, "item_timeout": None, "ipc": "",
    "tcp": "", "keys": None, "function": None, "stage": 0,
}  # fmt: skip
KEY = (1, 1)


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """The supervisor's pipe. What would end or change the whole process is left out."""
    monkeypatch.setattr(worker_main, "close_context", lambda: None)
    monkeypatch.setattr(worker_main, "end_loop", lambda: None)
    monkeypatch.setattr(worker_main._Process, "_die", lambda _: None)
    before = signal.getsignal(signal.SIGTERM)
    reader, writer = os.pipe()
    yield reader, writer
    signal.signal(signal.SIGTERM, before)
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("stops", [False, True])
def test_what_the_server_said_of_its_end_is_the_workers_goodbye(
    down: tuple[int, int], monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    """Also of one that wears out while the server stops: a trainer must not wait for its return."""

    def one() -> Iterator[int]:
        if stops:
            write_line(down[1], Stop("stopped by SIGTERM", returns=False))
            assert eventually(lambda: exchange.stopping)
        yield 1

    def load(*_: Any, **_options: Any) -> Source:
        exchange.apply(Started(KEY, Open(1, 0, 1, 0, 7)))
        exchange.apply(Credit(KEY, 10, 1000))
        return Source(lambda _: one(), False, None, -2)

    said: list[tuple[str, bool]] = []
    monkeypatch.setattr(worker_main, "load_source", load)
    monkeypatch.setattr(
        "genserver.protocol.transport.serving.DataEnd.leave",
        lambda _, reason, returns: said.append((reason, returns)),
    )
    up = os.open(os.devnull, os.O_WRONLY)
    process = worker_main._Process(CONFIG, down[0], up, ProgressPage())
    exchange = process._data.exchange
    for command in (Start(), UseSpec(parse_spec("int64[]").to_wire())):
        write_line(down[1], command)
    assert process.run() == 0
    assert said == [("the server stopped", False) if stops else ("it made its 1 elements", True)]
    os.close(up)
    process._loop.close()
