"""Servers that are stopped, killed and started again under a living trainer."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from genserver.client import Client, PeerLost, ServerChanged, ServerStopped

from ..support.processes import ended
from ..support.server_process import free_ports
from ..support.servers import PATIENCE, SUPPORT, eventually

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(runtime_folder: Path) -> Iterator[Start]:
    """Start `genserver serve` of a generator at an endpoint, as often as it takes."""
    started: list[subprocess.Popen[str]] = []

    def serve(target: str, endpoint: str, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "genserver.server", "serve", f"generators:{target}"]
        server = subprocess.Popen(
            [*command, "--bind", endpoint, "--quiet", *options], cwd=SUPPORT, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        started.append(server)
        return server

    yield serve
    for server in started:
        if server.poll() is None:
            server.send_signal(signal.SIGINT)
        server.wait(PATIENCE)
    # What a server that was killed left was removed by the next one.
    assert list(runtime_folder.iterdir()) == []
    runtime_folder.rmdir()


@pytest.fixture(params=[pytest.param("ipc", marks=pytest.mark.linux), "tcp"])
def endpoint(request: pytest.FixtureRequest, runtime_folder: Path) -> str:
    """Where a server can be started again."""
    if request.param == "ipc":
        return f"ipc://{runtime_folder}/server"
    return f"tcp://127.0.0.1:{free_ports(3)[0]}"


def check(got: list[int], workers: int) -> list[int]:
    """Each worker's elements come without gap or repeat, in order; how many they are."""
    shares = [[n for n in got if n % workers == worker] for worker in range(workers)]
    for worker, seen in enumerate(shares):
        assert seen == list(range(worker, worker + workers * len(seen), workers))
    return list(map(len, shares))


def read(client: Client, got: list[int], at: int, act: Callable[[], object]) -> None:
    """Read to the end, and do something after ``at`` elements."""
    for element in client:
        got.append(int(element))
        if len(got) == at:
            act()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_trainer_survives_a_restart_of_the_server(
    start: Start, endpoint: str, number: signal.Signals, caplog: pytest.LogCaptureFixture
) -> None:
    """Planned or not: every element comes once and in order, and a line says so per worker."""
    options = ("--workers", "2", "--arg", "seconds=0.005", "--arg", "n=400")
    server = start("napping", endpoint, *options)

    def restart() -> None:
        server.send_signal(number)
        server.wait(PATIENCE)
        start("napping", endpoint, *options)

    got: list[int] = []
    with Client(endpoint, wait=True) as client:
        read(client, got, 50, restart)
    assert check(got, 2) == [200, 200]
    for worker in range(2):
        assert caplog.text.count(f"worker {worker} of {endpoint} goes on at element") == 1


def test_a_pass_that_begins_during_a_restart_waits_for_it(start: Start, endpoint: str) -> None:
    """Neither a server that is stopping nor one that is starting is an error to it."""
    servers = [start("numbered", endpoint, "--workers", "2")]

    def restart() -> None:
        servers[-1].wait(PATIENCE)
        servers.append(start("numbered", endpoint, "--workers", "2"))

    with Client(endpoint, wait=True) as client:
        for _ in range(3):
            assert sorted(int(number) for number, _ in client) == list(range(20))
            servers[-1].terminate()
            thread = threading.Thread(target=restart)
            thread.start()
            assert sorted(int(number) for number, _ in client) == list(range(20))
            thread.join(PATIENCE)


@pytest.mark.linux
def test_another_server_in_its_place_is_an_error_that_names_it(
    start: Start, runtime_folder: Path
) -> None:
    """Its elements never follow those of the first one."""
    endpoint = f"ipc://{runtime_folder}/server"
    server = start("napping", endpoint, "--workers", "2", "--arg", "seconds=0.01")

    def replace() -> None:
        server.kill()
        server.wait(PATIENCE)
        start("numbered", endpoint, "--workers", "2")

    got: list[int] = []
    changed = "the generator is generators:numbered, before it was generators:napping"
    with Client(endpoint, wait=True) as client, pytest.raises(ServerChanged, match=changed):
        read(client, got, 20, replace)
    check(got, 2)


@pytest.mark.linux
def test_a_server_that_does_not_return_is_given_up_with_a_table(
    start: Start, runtime_folder: Path
) -> None:
    """What had arrived is handed out first; then the error has every worker's state."""
    endpoint = f"ipc://{runtime_folder}/server"
    server = start("napping", endpoint, "--workers", "2", "--arg", "seconds=0.01")
    got: list[int] = []
    with (
        Client(endpoint, wait=True, give_up_after=1.0) as client,
        pytest.raises(PeerLost, match="the server of ipc") as caught,
    ):
        read(client, got, 20, server.terminate)
    assert sum(check(got, 2)) >= 20
    states = caught.value.states.splitlines()
    assert [line.partition(":")[0] for line in states] == ["  worker 0", "  worker 1"]
    assert all("life 0, heard " in line for line in states)


@pytest.mark.linux
def test_a_server_that_fails_is_not_waited_for(start: Start, runtime_folder: Path) -> None:
    """A restart that ends before it serves ends the trainer's wait at once, with its reason."""
    endpoint = f"ipc://{runtime_folder}/server"
    server = start("napping", endpoint, "--workers", "1", "--arg", "seconds=0.01")

    def replace() -> None:
        server.terminate()
        server.wait(PATIENCE)
        start("hopeless", endpoint, "--workers", "1", "--arg", "seconds=1")

    with Client(endpoint, wait=True) as client, pytest.raises(ServerStopped, match="disk is gone"):
        read(client, [], 20, replace)


#: A server of one process whose leases are short, so that a trainer need not sleep for minutes.
FORGETFUL = """
import sys
import genserver.protocol.worker_end as end
end.DEAD_AFTER, end.LEASE = 0.5, 1.0
from genserver.server.cli import main
sys.exit(main(sys.argv[1:]))
"""
SLEEPER = """
import sys
from genserver.client import Client
with Client(sys.argv[1], wait=True, memory_budget=200) as client:
    for element in client:
        print(int(element), flush=True)
"""


@pytest.mark.linux
def test_a_trainer_that_slept_beyond_its_lease_goes_on(runtime_folder: Path) -> None:
    """Stopped for longer than the worker remembers it, it gets each element once, in order."""
    endpoint = f"ipc://{runtime_folder}/server"
    serve = ["serve", "generators:napping", "--workers", "0", "--arg", "seconds=0.01"]
    server = subprocess.Popen(
        [sys.executable, "-c", FORGETFUL, *serve, "--bind", endpoint, "--arg", "n=150"],
        cwd=SUPPORT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    trainer = subprocess.Popen(
        [sys.executable, "-c", SLEEPER, endpoint], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        with trainer, ended(trainer):
            assert trainer.stdout is not None
            assert [trainer.stdout.readline() for _ in range(20)] == [f"{n}\n" for n in range(20)]
            trainer.send_signal(signal.SIGSTOP)
            assert not eventually(lambda: trainer.poll() is not None, 2.5)  # it is stopped so long
            trainer.send_signal(signal.SIGCONT)
            rest, said = trainer.communicate(timeout=PATIENCE)
        assert [int(line) for line in rest.split()] == list(range(20, 150))
        assert "it had given up this trainer, which was silent for too long" in said
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=PATIENCE)


@pytest.mark.linux
def test_a_connection_that_nobody_uses_remembers_no_server(
    start: Start, runtime_folder: Path
) -> None:
    """A client that is made when another server has taken the place finds just that."""
    endpoint = f"ipc://{runtime_folder}/server"
    first = start("numbered", endpoint, "--workers", "1")
    with Client(endpoint, wait=True) as client:
        assert len(list(client)) == 20
    first.terminate()
    first.wait(PATIENCE)
    start("whole", endpoint, "--workers", "1")
    with Client(endpoint, wait=True) as client:
        assert [int(number) for number in client] == list(range(10))
