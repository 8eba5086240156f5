"""The command line as a user runs it: sentences, exit codes, signals, what is left behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from genserver.client import Client, ServerStopped
from genserver.protocol.transport.platform import has_ipc
from genserver.server import Server, ServerFailed

from ..support.ports import free_from
from ..support.servers import SUPPORT, Serve, alive, eventually, processes_of


def genserver(*arguments: str, seconds: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run the command in the folder of the test generators."""
    return subprocess.run(
        [sys.executable, "-m", "genserver.server", *arguments],
        capture_output=True, text=True, timeout=seconds, cwd=SUPPORT, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["nomodule:cubes"], 78, "there is no module 'nomodule'"),
        (["generators:cubes"], 78, "has no 'cubes'; its generators are"),
        (["generators:not_a_generator"], 78, "is an int: it must be a function"),
        (["generators:returning"], 65, "gave a int, over which nothing can iterate"),
        (["generators"], 64, "should read MODULE:GENERATOR"),
        (["__main__:mine"], 64, "workers cannot import __main__: name the file"),
        (["generators:whole", "--workers", "2"], 78, "cannot be divided"),
        (["generators:whole", "--workers", "-1"], 64, "--workers must be"),
        (["generators:whole", "--arg", "m=3"], 78, "unexpected keyword argument 'm'"),
        (["generators:numbered", "--arg", "worker=3"], 78, "fills in this parameter itself"),
        (["generators:whole", "--arg", "n"], 64, "KEY=VALUE"),
        (["generators:whole", "--bind", "tcp://0.0.0.0:5999"], 69, "beyond this host"),
        (["generators:whole", "--bind", "5556"], 64, ", for example tcp://127.0.0.1:5556"),
        (["generators:whole", "--port", "6000"], 64, "6000; say --bind tcp://127.0.0.1:6000"),
        (["generators:whole", "--port=6000"], 64, "--port=6000; say --bind tcp://127.0.0.1:6000"),
        (["generators:whole", "--prot"], 64, "usage: genserver serve "),
        (["generators:whole", "--spec", "float99[3]"], 64, "float99"),
        (["generators:unable"], 65, r"element['label']: None cannot travel"),
        (["generators:none_at_all"], 65, "yields no element in any worker"),
        (["generators:failing", "--arg", "at=0"], 65, "upside down"),
        (["generators:whole", "--sharding", "some"], 64, "invalid choice"),
        (["generators:whole", "--recovery", "some"], 64, "invalid choice"),
        (["generators:whole", "--recovery", "seek"], 78, "does not read worker.start"),
        (["generators:numbered", "--recovery", "seek"], 78, "does not read worker.start"),
        (["generators:whole", "--recovery", "stream", "--length", "7"], 78, "has 7 elements, and"),
        (["generators:whole", "--max-restarts", "-1"], 64, "--max-restarts must be 0 or more"),
        (["generators:whole", "--max-items", "0"], 64, "--max-items must be 1 or more"),
        (
            ["generators:whole", "--max-items", "9", "--recovery", "none"], 64,
            "--recovery none makes that an error",
        ),
        (["generators:whole", "--max-rerun", "-1"], 64, "--max-rerun must be 0 seconds or more"),
        (["generators:whole", "--max-rerun", "nan"], 64, "--max-rerun must be 0 seconds or more"),
        (["generators:whole", "--item-timeout", "0"], 64, "--item-timeout must be more than 0"),
        (["generators:whole", "--item-timeout", "soon"], 64, "invalid float value: 'soon'"),
        (["generators:whole", "--workers", "0", "--max-items", "9"], 64, "--workers 0 has none"),
        (["generators:whole", "--workers", "0", "--http", "[::1]:0"], 64, "--workers 0 has none"),
    ],
)  # fmt: skip
def test_a_mistake_ends_in_a_sentence_and_its_exit_code(
    arguments: list[str], code: int, sentence: str, runtime_folder: Path
) -> None:
    """Wrong input never hangs and never shows a traceback of genserver."""
    done = genserver("serve", "--bind", "tcp://127.0.0.1:0", *arguments)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "genserver/server/" not in done.stderr
    assert list(runtime_folder.iterdir()) == []
    runtime_folder.rmdir()


def test_probe_says_when_nobody_listens() -> None:
    """probe of a free port exits with 69 at once and says how to start a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = genserver("probe", f"tcp://127.0.0.1:{port}")
    assert done.returncode == 69
    assert "connection refused" in done.stderr
    assert "genserver serve" in done.stderr
    assert "within" not in done.stderr


def test_probe_says_when_something_else_listens() -> None:
    """probe of a port that accepts and is silent exits with 69 after its timeout."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        endpoint = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        done = genserver("probe", endpoint, "--timeout", "1")
    assert done.returncode == 69
    assert "does not speak genserver" in done.stderr


def test_a_port_in_use_is_said(serve: Serve) -> None:
    """The second server on a port exits with 69, the first still serves."""
    server = serve("whole")
    done = genserver("serve", "generators:whole", "--bind", server.endpoint)
    assert done.returncode == 69
    assert "in use" in done.stderr
    assert f"`genserver probe {server.endpoint}` says whether" in done.stderr
    assert genserver("probe", server.endpoint).returncode == 0


def test_a_worker_port_in_use_is_said() -> None:
    """A taken port of worker 1 (control port + 2) is named, with exit code 69."""
    port = free_from((0, 1, 2))
    with socket.create_server(("127.0.0.1", port + 2)):
        done = genserver(
            "serve", "generators:numbered", "--workers", "2", "--bind", f"tcp://127.0.0.1:{port}"
        )
    assert done.returncode == 69
    assert f"tcp://127.0.0.1:{port + 2}: in use" in done.stderr


@pytest.mark.linux
def test_an_ipc_endpoint_in_use_is_not_stolen(serve: Serve, runtime_folder: Path) -> None:
    """libzmq would let a second server take the path; genserver refuses with 69."""
    path = runtime_folder / "control.sock"
    server = serve("whole", bind=f"ipc://{path}")
    done = genserver("serve", "generators:whole", "--bind", f"ipc://{path}")
    assert done.returncode == 69
    assert "in use by another genserver" in done.stderr
    assert genserver("probe", server.endpoint).returncode == 0


def test_probe_reports_what_is_served(serve: Serve) -> None:
    """probe --json has state, spec, cardinality, and each worker's pid, state and transport."""
    server = serve("numbered", workers=2, seed=11, length=20)
    report = json.loads(genserver("probe", server.endpoint, "--json").stdout)
    assert report["state"] == "ready"
    assert report["element_spec"] == "(int64[], int64[])"
    assert report["cardinality"] == 20
    assert report["sharding"] == "static"
    assert report["seed"] == 11
    assert sorted(w["pid"] for w in report["workers"]) == sorted(processes_of(server.pid))
    assert {w["state"] for w in report["workers"]} == {"ready"}
    near = "shared memory" if has_ipc() else "tcp://"
    assert all(w["transport"].startswith(near) for w in report["workers"])
    text = genserver("probe", server.endpoint).stdout
    assert "worker 1     ready" in text
    assert (report["items"], report["first_stage_workers"]) == (None, 0)


def test_probe_reports_what_is_dealt(serve: Serve) -> None:
    """How many items, or the workers of the first stage."""
    items = serve("dealt:load", items=range(5))
    assert json.loads(genserver("probe", items.endpoint, "--json").stdout)["items"] == 5
    assert "sharding     dynamic, of 5 items" in genserver("probe", items.endpoint).stdout
    pipeline = serve("dealt:uneven")
    text = genserver("probe", pipeline.endpoint).stdout
    assert "sharding     dynamic, the elements of a first stage of 3 workers" in text


def test_the_start_up_line_says_how_to_connect(runtime_folder: Path) -> None:
    """Endpoint, workers, element spec, and a line of Python that runs."""
    command = [sys.executable, "-m", "genserver.server", "serve", "generators:numbered"]
    with subprocess.Popen(
        [*command, "--workers", "2", "--bind", "tcp://127.0.0.1:0"],
        cwd=SUPPORT, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        first, second = server.stdout.readline(), server.stdout.readline()
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    pattern = r"genserver: generators:numbered at (tcp://127\.0\.0\.1:\d+) with 2 workers, element"
    match = re.match(pattern, first)
    assert match is not None, first
    assert "(int64[], int64[])" in first
    assert second.strip() == f'dataset = genserver.client.from_server("{match[1]}")'
    runtime_folder.rmdir()


def test_help_shows_examples_and_exit_codes() -> None:
    """A newcomer finds a whole command, the line for the trainer, and what the codes mean."""
    for arguments in (["--help"], ["serve", "--help"]):
        text = genserver(*arguments).stdout
        assert "genserver serve scans:cubes" in text
        assert "from_server(" in text
        assert "exit codes" in text


def test_probe_shows_its_default_and_its_usage() -> None:
    """--help has the endpoint that is probed without one; a mistake is answered with usage."""
    assert "(default tcp://127.0.0.1:5555)" in " ".join(genserver("probe", "--help").stdout.split())
    for mistake in (["5556"], ["--jsn"]):
        assert genserver("probe", *mistake).returncode == 64


def test_a_port_is_told_how_it_is_said() -> None:
    """--port before a target, whose place its number takes, and for probe."""
    done = genserver("serve", "--port", "6000")
    assert done.returncode == 64
    assert done.stderr.startswith("usage: genserver serve ")
    assert "--port; say --bind tcp://127.0.0.1:6000\n" in done.stderr
    assert "; say tcp://127.0.0.1:6000\n" in genserver("probe", "--port", "6000").stderr


def test_an_unrelated_namesake_is_pointed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index's other `genserver` beside ours gets one sentence."""
    folder = tmp_path / "genserver-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: genserver\nVersion: 1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "pip uninstall genserver" in genserver("--version").stderr
    monkeypatch.delenv("PYTHONPATH")
    assert genserver("--version").stderr == ""


@pytest.fixture
def leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is in the temporary folders before is there after."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    watched = [Path("/dev/shm"), tmp_path]

    def ours() -> set[Path]:
        return {p for folder in watched for p in folder.glob("genserver*")}

    before = ours()
    yield
    assert ours() <= before


@pytest.mark.parametrize(
    ("number", "limit", "code"), [(signal.SIGINT, 2.0, 130), (signal.SIGTERM, 8.0, 0)]
)
def test_a_signal_ends_the_server_in_time_and_leaves_nothing(
    serve: Serve, leftovers: None, number: signal.Signals, limit: float, code: int
) -> None:
    """Workers, sockets and folders are gone within the limit of the design."""
    server = serve("napping", workers=3, arguments={"seconds": 0.3})
    workers = processes_of(server.pid)
    assert len(workers) == 3
    began = time.monotonic()
    assert server.stop(drain=number is signal.SIGTERM) == code
    assert time.monotonic() - began < limit
    assert not any(map(alive, workers))


def test_a_generator_that_ignores_the_end_is_killed(serve: Serve) -> None:
    """SIGINT ends a worker that sleeps in an element of an hour within 2 seconds."""
    server = serve("napping", workers=1, arguments={"seconds": 3600}, spec="int64[]")
    with Client(server.endpoint) as client:
        iterator = iter(client)

        def wait_for_it() -> None:
            with contextlib.suppress(ServerStopped):
                next(iterator)

        threading.Thread(target=wait_for_it, daemon=True).start()
        began = time.monotonic()
        assert server.stop() == 130
        assert time.monotonic() - began < 2.0


def test_no_worker_survives_its_supervisor(serve: Serve, runtime_folder: Path) -> None:
    """SIGKILL of the supervisor ends its workers; the next server removes their folder."""
    server = serve("napping", workers=2)
    workers = processes_of(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    assert eventually(lambda: not any(map(alive, workers)), 5.0)
    abandoned = list(runtime_folder.iterdir())
    assert len(abandoned) == has_ipc()
    serve("whole")
    assert not any(folder.exists() for folder in abandoned)


def test_a_workers_own_children_end_with_the_server(serve: Serve) -> None:
    """What a generator started is gone after Ctrl-C."""
    server = serve("parental", workers=1)
    with Client(server.endpoint) as client:
        grandchild = int(next(iter(client)))
        assert alive(grandchild)
        server.stop()
        assert eventually(lambda: not alive(grandchild), 5.0)


def test_ctrl_c_ends_a_probe_without_a_traceback() -> None:
    """The code is 130 while it waits for somebody who does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        endpoint = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        command = [sys.executable, "-m", "genserver.server", "probe", endpoint, "--timeout", "60"]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as probe:
            for _ in range(2):  # the look whether anybody listens, then the connection
                mute.accept()[0].close()
            probe.send_signal(signal.SIGINT)
            _, said = probe.communicate(timeout=30)
    assert (probe.returncode, said) == (130, b"")


def test_generators_are_closed_when_the_server_stops(serve: Serve, tmp_path: Path) -> None:
    """Their finally blocks run at SIGTERM and at Ctrl-C."""
    for drain in (True, False):
        server = serve("tidy", workers=2, arguments={"folder": str(tmp_path)})
        with Client(server.endpoint) as client:
            next(iter(client))
            assert eventually(lambda: len(list(tmp_path.iterdir())) >= 1)
            server.stop(drain=drain)
        assert list(tmp_path.iterdir()) == []


def test_a_server_shows_what_it_is(serve: Serve) -> None:
    """Its target and endpoint, and that it was stopped."""
    server = serve("whole")
    assert repr(server) == f"<Server generators:whole at {server.endpoint}>"
    server.stop()
    assert repr(server) == "<Server generators:whole stopped>"


def test_a_server_that_fails_is_reported_by_its_handle(runtime_folder: Path) -> None:
    """Server() raises with the exit code instead of waiting."""
    with pytest.raises(ServerFailed) as caught:
        Server("generators:unable", cwd=str(SUPPORT))
    assert caught.value.code == 65
    runtime_folder.rmdir()
