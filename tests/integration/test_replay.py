"""`--replay` as trainers and people meet it: real workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from genserver.client import Client
from genserver.protocol.errors import ServerFailed
from genserver.server import Server

from ..support.servers import SUPPORT, Serve


def test_each_worker_hands_its_share_out_in_a_circle(
    serve: Serve, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Through epochs whose length stays, batches, and the death of a worker; and everybody who
    looks is told."""
    server = serve("generators:numbered", workers=2, replay=6, length=20)
    expected = [[0, 2, 4] * 3 + [0], [1, 3, 5] * 3 + [1]]
    with Client(server.endpoint, deterministic=True) as client:
        assert client.cardinality == 20
        for _epoch in range(2):
            got = [(int(number), int(epoch)) for number, epoch in client]
            assert [[n for n, _ in got[i::2]] for i in range(2)] == expected
            assert {epoch for _, epoch in got} == {0}
        rest = iter(client)
        first = [int(next(rest)[0]) for _ in range(4)]
        command = [sys.executable, "-m", "genserver.server", "probe", server.endpoint]
        report = json.loads(
            subprocess.run([*command, "--json"], capture_output=True, check=True).stdout
        )
        os.kill(report["workers"][0]["pid"], signal.SIGKILL)
        assert first + [int(number) for number, _ in rest] == [int(number) for number, _ in got]
    with Client(server.endpoint, batch=4) as batches:
        got_ = sorted(int(n) for numbers, _ in batches for n in numbers)
        assert got_ == sorted(expected[0] + expected[1])
    assert report["replay"] == 6
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "REPLAYS      6 kept elements: not for training" in shown
    server.stop()
    out, err = capfd.readouterr()
    assert "REPLAYS 6 kept elements in passes of 20: for measuring a trainer" in out
    assert "replays the same 6 elements again and again: it is for measuring" in caplog.text
    assert "replays 3 kept elements" in err


def test_too_much_to_keep_ends_the_server_with_one_sentence(serve: Serve) -> None:
    """Before a machine's memory is full, by the size of the first element; exit code 78."""
    with pytest.raises(ServerFailed, match=r"are more than the .* that each worker may") as failed:
        serve("generators:endless", workers=1, replay=10**9, quiet=True)
    assert failed.value.code == 78


def test_without_processes_it_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--workers 0``: the first four elements come again and again."""
    monkeypatch.syspath_prepend(str(SUPPORT))
    options: dict[str, Any] = {"workers": 0, "replay": 4, "arguments": {"seconds": 0.0}}
    with Server("generators:napping", **options) as server, Client(server.endpoint) as client:
        assert client.endless
        assert [int(element) for element, _ in zip(client, range(400), strict=False)] == [
            *range(4)
        ] * 100
