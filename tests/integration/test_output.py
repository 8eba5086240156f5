"""What workers print reaches whoever started the server, and the server ends with them."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from genserver.client import Client, GeneratorError, WorkerDied
from genserver.server import Server, ServerFailed

from ..support.servers import SUPPORT, Serve, alive, eventually, processes_of


def test_prints_logs_warnings_and_bars_arrive_with_their_worker(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """print, the user's own logging, warnings and a progress bar's end come line by line."""
    server = serve("talking", workers=2, sharding="off")
    with Client(server.endpoint) as client:
        assert len(list(client)) == 6
    server.stop()
    printed = capsys.readouterr()
    for worker in (0, 1):
        for number in range(3):
            assert f"[worker {worker}] printed {number}\n" in printed.out
            assert f"[worker {worker}] mine says logged {number}\n" in printed.err
        assert f"[worker {worker}] 100%\n" in printed.err
    assert "[worker 0] " in printed.err.partition("UserWarning: warned 0")[0].splitlines()[-1]
    assert printed.err.count("%\n") <= 6  # and not its 101 states


def test_quiet_leaves_only_what_workers_print(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """No start-up lines between the bars of a trainer."""
    server = serve("talking", workers=1, quiet=True)
    with Client(server.endpoint) as client:
        assert len(list(client)) == 3
    server.stop()
    assert {line.split("]")[0] for line in capsys.readouterr().out.splitlines()} == {"[worker 0"}


def test_a_crash_in_native_code_shows_its_stack(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of Python that led to SIGSEGV are printed, and the error names the signal."""
    server = serve("crashing", max_restarts=0)
    with Client(server.endpoint) as client, pytest.raises(WorkerDied, match="SIGSEGV"):
        list(client)
    server.stop()
    assert "in crashing" in capsys.readouterr().err


def test_what_a_generator_raises_is_on_the_servers_terminal(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line with the worker's number; the traceback is the trainer's."""
    server = serve("failing", workers=1)
    with Client(server.endpoint) as client, pytest.raises(GeneratorError):
        list(client)
    server.stop()
    said = capfd.readouterr().err
    sentence = "ValueError: the scan is upside down [epoch 0, element 3]"
    assert said.count(f"[worker 0] genserver: {sentence}\n") == 1
    assert "Traceback" not in said


def test_a_failed_start_says_why_in_the_exception(
    runtime_folder: object, capsys: pytest.CaptureFixture[str]
) -> None:
    """ServerFailed carries the sentence that is also on standard error."""
    with pytest.raises(ServerFailed, match="has no 'cubes'; its generators are"):
        Server("generators:cubes", cwd=str(SUPPORT))
    assert "has no 'cubes'" in capsys.readouterr().err
    os.rmdir(str(runtime_folder))


def test_ctrl_c_during_the_start_leaves_no_server(runtime_folder: Path) -> None:
    """A start that takes an hour can be interrupted, and its processes and files go."""
    others = set(processes_of(os.getpid()))
    started: list[int] = []

    def interrupt() -> None:
        eventually(lambda: any(map(processes_of, set(processes_of(os.getpid())) - others)))
        started.extend(set(processes_of(os.getpid())) - others)
        started.extend(worker for pid in list(started) for worker in processes_of(pid))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        Server("generators:napping", workers=1, arguments={"seconds": 3600}, cwd=str(SUPPORT))
    thread.join()
    assert started
    assert not any(map(alive, started))
    assert list(runtime_folder.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error"),
    [({"cwd": "/nowhere"}, FileNotFoundError), ({"arguments": {"it": object()}}, TypeError)],
)
def test_a_start_that_raises_keeps_no_descriptor(
    options: dict[str, Any], error: type[Exception]
) -> None:
    """A folder that is not there, an argument that JSON cannot say: pipes are closed."""
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(error):
        Server("generators:whole", workers=1, **options)
    # Another test's connection may be trying its server just now, with a descriptor of its own.
    assert eventually(lambda: set(os.listdir("/proc/self/fd")) <= before)


def test_the_module_is_looked_for_where_this_process_looks(
    runtime_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With cwd= also in this process's folder, which "" names; no text in sys.path is no error."""
    monkeypatch.chdir(SUPPORT)
    monkeypatch.setattr(sys, "path", ["", tmp_path, *sys.path])
    with Server("generators:whole", workers=1, cwd=str(tmp_path)) as server:
        assert len(list(Client(server.endpoint))) == 10


def test_a_breakpoint_in_a_worker_says_how_to_use_it(runtime_folder: object) -> None:
    """A worker has no terminal: the error names --workers 0."""
    with pytest.raises(ServerFailed, match="--workers 0"):
        Server("generators:breaking", cwd=str(SUPPORT))
    os.rmdir(str(runtime_folder))


@pytest.mark.linux
def test_closed_standard_streams_are_not_taken_by_pipes(runtime_folder: Path) -> None:
    """With ``<&- >&-`` what workers print goes nowhere, and the server serves."""
    endpoint = f"ipc://{runtime_folder}/control"
    serve = [sys.executable, "-m", "genserver.server", "serve", "generators:talking", "--bind"]
    command = ["sh", "-c", 'exec "$@" <&- >&-', "sh", *serve, endpoint, "--workers", "1"]
    with subprocess.Popen(command, cwd=SUPPORT, stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        try:
            with Client(endpoint, connect_timeout=60) as client:
                assert len(list(client)) == 3
        finally:
            server.terminate()
        assert b"Traceback" not in server.stderr.read()
        assert server.wait(20) == 0
    assert list(runtime_folder.iterdir()) == []


class _Closed(io.StringIO):
    """What a program's own stream may be."""

    def write(self, text: str, /) -> int:
        raise ValueError("I/O operation on closed file")


def test_a_stream_that_refuses_a_line_gets_the_next_ones(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What latin-1 cannot say is escaped, a closed stream loses its lines alone."""
    latin = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", latin)
    monkeypatch.setattr(sys, "stderr", _Closed())
    server = serve("foreign", workers=1, quiet=True)
    with Client(server.endpoint) as client:
        assert len(list(client)) == 3
    server.stop()
    printed = latin.buffer.getvalue().decode("latin-1")  # type: ignore[attr-defined]  # BytesIO
    assert printed.splitlines() == [f"[worker 0] \\u97f3 {number}" for number in range(3)]


STARTER = """
import sys, time
from genserver.server import Server
server = Server("generators:numbered", workers=2, quiet=True)
print(server.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None])
def test_a_server_ends_with_the_program_that_started_it(
    runtime_folder: object, number: signal.Signals | None
) -> None:
    """Killed, ended by a signal or run to its end without stop(): no process stays."""
    with subprocess.Popen(
        [sys.executable, "-c", STARTER],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=SUPPORT,
    ) as program:  # fmt: skip
        assert program.stdin is not None
        assert program.stdout is not None
        server = next(int(line) for line in program.stdout if line.strip().isdigit())
        everyone = [server, *processes_of(server)]
        assert len(everyone) == 3
        if number is None:
            program.stdin.close()
        else:
            program.send_signal(number)
        assert eventually(lambda: not any(map(alive, everyone)))
        program.wait(20)
    os.rmdir(str(runtime_folder))


def test_a_program_that_workers_import_starts_no_servers_in_turn(
    runtime_folder: object, tmp_path: Path
) -> None:
    """Without `if __name__ == "__main__":` each worker would start a server: one sentence."""
    (tmp_path / "job.py").write_text(
        "from genserver.server import Server\ndef mine():\n    yield 1\nServer('job:mine')\n"
    )
    done = subprocess.run(
        [sys.executable, "job.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "exit code 78: a worker that imports job would start servers without end" in last
    assert '`if __name__ == "__main__":`' in last
    os.rmdir(str(runtime_folder))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_server_listens_beyond_this_host_only_when_told(
    runtime_folder: object, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """insecure_network=True of Server is --insecure-network; without it, the refusal names it."""
    monkeypatch.syspath_prepend(str(SUPPORT))
    options = {"bind": "tcp://0.0.0.0:0", "workers": workers}
    with pytest.raises(ServerFailed, match="insecure_network=True"):
        Server("generators:whole", **options)  # type: ignore[arg-type]  # as given
    with Server("generators:whole", insecure_network=True, **options) as server:  # type: ignore[arg-type]  # as given
        assert server.endpoint.startswith("tcp://0.0.0.0:")
    assert os.listdir(str(runtime_folder)) == []
    os.rmdir(str(runtime_folder))
