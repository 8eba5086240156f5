"""workers=0: the generator in this process, for debuggers; all else is as with workers."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genserver.client import Client, GeneratorError, ServerStopped
from genserver.server import Server, ServerFailed

from ..support.servers import SUPPORT, Serve, eventually


@pytest.fixture
def here(runtime_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Start servers in this process; afterwards no thread and no file of them may be left."""
    monkeypatch.syspath_prepend(str(SUPPORT))
    servers: list[Server] = []

    def start(target: str, **options: Any) -> Server:
        servers.append(Server(f"generators:{target}", workers=0, **options))
        return servers[-1]

    yield start
    for server in servers:
        assert server.stop() == 0
    names = {"genserver-generator", "genserver-io"}
    assert eventually(lambda: not names & {t.name for t in threading.enumerate()})
    assert list(runtime_folder.iterdir()) == []


def test_the_generator_runs_in_this_process(here: Any) -> None:
    """Its pid is ours, so that breakpoints, coverage and profilers see it."""
    server = here("places")
    with Client(server.endpoint) as client:
        (told,) = client
    assert int(told["pid"]) == server.pid == os.getpid()


@pytest.mark.parametrize("target", ["randoms", "own_random", "texts", "reusing"])
def test_elements_are_those_of_a_worker_process(serve: Serve, here: Any, target: str) -> None:
    """The same seeds, checks and codec: two epochs are equal to a worker process's."""

    def epochs(server: Server) -> list[list[Any]]:
        with Client(server.endpoint, seed=3) as client:
            return [list(client) for _ in range(2)]

    child = serve(target, workers=1)
    expected = epochs(child)
    child.stop()
    np.testing.assert_equal(epochs(here(target)), expected)


def test_our_own_random_numbers_are_left_alone(here: Any) -> None:
    """The generator's seeding does not show in the program's global random states."""
    random.seed(7)
    np.random.seed(7)
    expected = random.random(), np.random.random()
    random.seed(7)
    np.random.seed(7)
    with Client(here("randoms").endpoint) as client:
        assert len(list(client)) == 3
    assert (random.random(), np.random.random()) == expected


def test_a_slow_first_element_is_no_news(here: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is said and nothing times out while the user is in a debugger."""
    server = here("napping", arguments={"seconds": 0.6, "n": 2}, spec="int64[]")
    with Client(server.endpoint, first_element_timeout=0.1) as client:
        assert [int(e) for e in client] == [0, 1]
    assert "waiting" not in capsys.readouterr().err


def test_ctrl_c_during_the_start_leaves_no_server(
    here: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The thread of a start that was interrupted ends, and nothing is announced."""

    def interrupt() -> None:
        eventually(lambda: any(t.name == "genserver-generator" for t in threading.enumerate()))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        here("napping", arguments={"seconds": 1})
    thread.join()
    ours = {"genserver-generator", "genserver-io"}
    assert eventually(lambda: not ours & {t.name for t in threading.enumerate()}, 5.0)
    assert capsys.readouterr().out == ""


def test_errors_are_those_of_a_worker_process(here: Any) -> None:
    """An exception in the generator has its traceback, worker, epoch and element."""
    with (
        Client(here("failing").endpoint) as client,
        pytest.raises(GeneratorError, match="upside down") as caught,
    ):
        list(client)
    assert caught.value.element == 3
    assert "in failing" in caught.value.traceback


@pytest.mark.parametrize(
    ("target", "options", "code", "sentence"),
    [
        ("cubes", {}, 78, "its generators are"),
        ("unable", {}, 65, "None cannot travel"),
        ("none_at_all", {}, 65, "yields no element"),
        ("whole", {"length": "many"}, 64, "neither a count nor"),
        ("whole", {"bind": "tcp://0.0.0.0:0"}, 69, "beyond this host"),
        ("whole", {"sharding": "static"}, 78, "cannot be divided"),
    ],
)
def test_a_mistake_is_the_same_sentence_and_code(
    here: Any, target: str, options: dict[str, Any], code: int, sentence: str
) -> None:
    """ServerFailed as from a server process."""
    with pytest.raises(ServerFailed, match=sentence) as caught:
        here(target, **options)
    assert caught.value.code == code


def test_from_server_reads_from_its_own_process(here: Any) -> None:
    """TensorFlow's threads wait for a generator that needs the same interpreter, and get all."""
    pytest.importorskip("tensorflow")
    from genserver.client import from_server

    dataset = from_server(here("numbered").endpoint)
    for epoch in range(2):
        got = [(int(n), int(e)) for n, e in dataset]
        assert got == [(n, epoch) for n in range(20)]


COMMAND = [sys.executable, "-m", "genserver.server", "serve", "--workers", "0", "--bind"]


def test_breakpoint_opens_a_prompt_in_the_servers_terminal(runtime_folder: Path) -> None:
    """`genserver serve --workers 0` stops at breakpoint() and reads its standard input."""
    with subprocess.Popen(
        [*COMMAND, "tcp://127.0.0.1:0", "generators:breaking"], cwd=SUPPORT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write("p 6 * 7\ncontinue\n")
        server.stdin.flush()
        lines = []
        for line in server.stdout:
            lines.append(line)
            if "from_server" in line:
                break
        assert "(Pdb) 42\n" in lines
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert list(runtime_folder.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_the_command_at_once(
    runtime_folder: Path, number: signal.Signals, code: int
) -> None:
    """Also in the middle of an element of an hour; nothing is left behind."""
    with subprocess.Popen(
        [*COMMAND, "tcp://127.0.0.1:0", "generators:stuck"],
        cwd=SUPPORT, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdout is not None
        endpoint = server.stdout.readline().partition(" at ")[2].split()[0]
        with Client(endpoint) as client:
            iterator = iter(client)
            assert int(next(iterator)) == 0
            server.send_signal(number)
            assert server.wait(10) == code
            with pytest.raises(ServerStopped):
                next(iterator)
    assert list(runtime_folder.iterdir()) == []


def test_the_debuggers_standard_input_is_not_shared() -> None:
    """--stop-at-eof and --workers 0 do not go together, with exit code 64."""
    done = subprocess.run(
        [*COMMAND, "tcp://127.0.0.1:0", "--stop-at-eof", "generators:whole"],
        cwd=SUPPORT, text=True, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 64
    assert "leaves to the debugger" in done.stderr
