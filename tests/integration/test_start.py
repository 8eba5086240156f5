"""What a server does before its first workers are started, and what is left if it never serves."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.servers import SUPPORT, alive, eventually

#: Ends the command where it would start a process, and says what it has imported by then.
LOOK = """
import sys
from genserver.server import cli, spawn

def look(process, config, page):
    print("spawned", *(n for n in ("numpy", "zmq", "msgpack", "importlib.metadata", "tensorflow")
                       if n in sys.modules))
    raise SystemExit(0)

spawn.WorkerProcess.__init__ = look
cli.main(["serve", *sys.argv[1:]])
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, timeout=60, cwd=SUPPORT, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("more", [[], ["--workers", "2", "--arg", "n=3", "--seed", "1"]])
def test_workers_are_started_before_anything_heavy_is_imported(
    more: list[str], runtime_folder: Path
) -> None:
    """The server's own libraries load while the workers load theirs."""
    assert run(LOOK, "generators:numbered", *more).stdout == "spawned\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["generators"], 64),
        (["generators:whole", "--workers", "-1"], 64),
        (["generators:whole", "--spec", "float99[3]"], 64),
        (["generators:whole", "--arg", "n"], 64),
        (["generators:whole", "--bind", "5556"], 64),
        (["generators:whole", "--what"], 64),
        (["generators:whole", "--bind", "tcp://0.0.0.0:5999"], 69),
        (["generators:whole", "--bind", "tcp://no.such.name.invalid:5999"], 69),
        (["generators:whole", "--http", "9400"], 64),
        (["generators:whole", "--http", "http://127.0.0.1:9400"], 64),
        (["generators:whole", "--http", "0.0.0.0:0"], 69),
        (["generators:whole", "--http", "no.such.name.invalid:0"], 69),
    ],
)
def test_a_wrong_command_line_starts_no_process(
    arguments: list[str], code: int, runtime_folder: Path
) -> None:
    """Its sentence and exit code come without a worker, and no folder is made."""
    done = run(LOOK, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert "genserver: " in done.stderr
    assert not list(runtime_folder.iterdir())


def test_a_taken_port_for_figures_starts_no_process(runtime_folder: Path) -> None:
    """As --bind's, 69; it is known before anything else is done."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run(LOOK, "generators:whole", "--http", f"127.0.0.1:{port}")
    assert (done.returncode, done.stdout) == (69, "")
    assert f"--http 127.0.0.1:{port}: in use by another program; take another" in done.stderr
    assert not list(runtime_folder.iterdir())


def test_without_the_library_the_extra_is_named(runtime_folder: Path) -> None:
    """As for --reload: 78, and how to install it, before any process is started."""
    gone = (
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name: None if name == 'prometheus_client' else find(name)\n"
    )
    done = run(gone + LOOK, "generators:whole", "--http", "127.0.0.1:0")
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr == (
        "genserver: --http needs the package prometheus-client: "
        "pip install 'genserver-data[http]'\n"
    )


def test_a_taken_port_runs_no_code_of_the_users(tmp_path: Path, runtime_folder: Path) -> None:
    """Workers that were started ahead end without having imported the user's module."""
    trace = tmp_path / "imported"
    (tmp_path / "job.py").write_text(f"open({str(trace)!r}, 'w')\ndef mine():\n    yield 1\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run(
            "from genserver.server.cli import main; main()",
            "serve", f"{tmp_path}/job.py:mine", "--bind", f"tcp://127.0.0.1:{taken.getsockname()[1]}",
        )  # fmt: skip
    assert done.returncode == 69
    assert "in use by another program" in done.stderr
    assert not trace.exists()
    assert not list(runtime_folder.iterdir())


def test_a_supervisor_does_without_numpy() -> None:
    """It reads specs and messages and has no arrays: a third of its start would be numpy's."""
    done = run(
        "import sys, genserver.server.supervisor, genserver.server.printer\n"
        "print(*({'numpy', 'msgpack_numpy'} & set(sys.modules)))\n"
    )
    assert (done.returncode, done.stdout) == (0, "\n")


def test_a_signal_before_the_server_is_there_leaves_nothing(runtime_folder: Path) -> None:
    """SIGTERM while the server loads waits until its workers and their folder are gone."""
    done = run(
        "import os, signal\n"
        "from genserver.server.config import ServeConfig\n"
        "from genserver.server.launcher import Launcher\n"
        "with Launcher(ServeConfig(target='generators:numbered', workers=2)) as launcher:\n"
        "    launcher.start_first()\n"
        "    print(*(process.pid for process in launcher._waiting.values()), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    print('still here', flush=True)\n"
    )
    workers, said = done.stdout.splitlines()
    assert (done.returncode, said) == (-signal.SIGTERM, "still here")
    assert eventually(lambda: not any(alive(int(pid)) for pid in workers.split()))
    assert not list(runtime_folder.iterdir())


def test_the_packages_names_are_loaded_when_they_are_used() -> None:
    """`genserver.server` shows all of its names, and refuses what it has not."""
    done = run(
        "import sys, genserver.server as package\n"
        "print({'Server', 'ServerFailed', 'Worker'} <= set(dir(package)), 'numpy' in sys.modules)\n"
        "print(package.Worker.__name__, package.Server.__name__, hasattr(package, 'Wroker'))\n"
    )
    assert done.stdout == "True False\nWorker Server False\n"
