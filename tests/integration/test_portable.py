"""Without what only Linux has: the same over tcp alone (transport/platform.py)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from genserver.client import Client
from genserver.protocol.transport import platform
from genserver.server import cli

from ..support.servers import SUPPORT, Serve

ROOT = Path(__file__).parent.parent.parent
#: What is run again in `make soak`; `make portable` runs all. Tests of ipc are marked `linux`.
SUITE = ["test_client.py", "test_output.py"]


@pytest.mark.linux
@pytest.mark.soak
@pytest.mark.parametrize("file", SUITE)
def test_the_suite_passes_over_tcp_alone(file: str) -> None:
    """No ipc endpoint, no parent-death signal, no cgroup: every promise holds."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not linux",
         f"tests/integration/{file}"],
        cwd=ROOT, env={**os.environ, "GENSERVER_PORTABLE": "1"}, capture_output=True, text=True,
        timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.linux
def test_the_switch_leaves_tcp_alone(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run above did not use ipc: a server under the switch has none, and makes no folder."""
    monkeypatch.setenv("GENSERVER_PORTABLE", "1")
    server = serve("numbered", workers=2)
    probe = subprocess.run(
        [sys.executable, "-m", "genserver.server", "probe", server.endpoint, "--json"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    transports = [worker["transport"] for worker in json.loads(probe.stdout)["workers"]]
    assert [t.partition(":")[0] for t in transports] == ["tcp", "tcp"]
    assert os.listdir(os.environ["XDG_RUNTIME_DIR"]) == []
    with Client(server.endpoint) as client:
        assert sorted(int(n) for n, _ in client) == list(range(20))


BARE = """
import os, sys
for missing in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[missing] = None
for missing in ("fork", "register_at_fork", "sched_getaffinity", "sysconf", "getuid"):
    delattr(os, missing)
from genserver.client import Client
with Client(sys.argv[1]) as client:
    print(len(list(client)))
"""


def test_the_client_needs_nothing_of_posix(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trainer without fcntl, resource, fork hooks, sysconf and the like reads every element."""
    server = serve("numbered", workers=2)
    done = subprocess.run(
        [sys.executable, "-c", BARE, server.endpoint], capture_output=True, text=True, timeout=60,
        env={**os.environ, "GENSERVER_PORTABLE": "1"}, check=False,
    )  # fmt: skip
    assert done.stdout == "20\n", done.stderr


def test_where_producers_cannot_run_serve_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`genserver serve` on Windows ends with 78 and says what is possible instead."""
    monkeypatch.setattr(cli, "can_serve", lambda: False)
    with pytest.raises(SystemExit) as caught:
        cli.main(["serve", "generators:whole"])
    assert caught.value.code == 78
    assert "served on Linux and macOS" in capsys.readouterr().err


def test_an_ipc_endpoint_is_refused_where_there_is_none() -> None:
    """One sentence with exit code 69 that names tcp."""
    done = subprocess.run(
        [sys.executable, "-m", "genserver.server", "serve", "generators:whole",
         "--bind", "ipc:///tmp/never"],
        cwd=SUPPORT, env={**os.environ, "GENSERVER_PORTABLE": "1"}, capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 69
    assert "use tcp://127.0.0.1:PORT" in done.stderr


def test_every_answer_has_a_portable_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores, memory and the host's name are known without Linux's files."""
    monkeypatch.setattr(platform, "_LINUX", False)
    assert platform.usable_cores() >= 1
    assert platform.memory_size() >= 2**28
    assert platform.host_id()
    assert not platform.has_ipc()
