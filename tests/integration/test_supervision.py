"""Workers that die, hang or leak, and what the server makes of it: real processes."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from genserver.client import Client, ServerStopped
from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.transport.connection import connect
from genserver.server import ServerFailed
from genserver.server.probe import probe

from ..support.servers import PATIENCE, SUPPORT, Serve, alive, eventually, processes_of


class Watch:
    """A server's status as a trainer is told it."""

    def __init__(self, endpoint: str) -> None:
        self._connection = connect(parse_endpoint(endpoint))

    def until(self, condition: Callable[[Status], bool]) -> Status:
        """The first status that fulfils ``condition``."""
        status = self._connection.wait(condition, PATIENCE)
        assert status is not None
        return status

    def worker(self, index: int, condition: Callable[[WorkerStatus], bool]) -> WorkerStatus:
        return self.until(lambda s: condition(s.workers[index])).workers[index]

    def release(self) -> None:
        self._connection.release()


@contextmanager
def watching(endpoint: str) -> Iterator[Watch]:
    watch = Watch(endpoint)
    try:
        yield watch
    finally:
        watch.release()


@contextmanager
def reading(endpoint: str) -> Iterator[None]:
    """A trainer that takes whatever comes: a process of its own, killed at the end."""
    program = f"from genserver.client import Client\nfor _ in Client({endpoint!r}): pass"
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL) as trainer:
        try:
            yield
        finally:
            trainer.kill()


#: The command line with 10 s and 60 s of patience cut short.
IMPATIENT = """
from genserver.server import cli, fleet
fleet.STALLED_AFTER, fleet.DUMP_AFTER = 0.5, 1.0
cli.main()
"""


@contextmanager
def impatient(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that finds a worker stalled after 0.5 s and prints its stacks after 1 s."""
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, "serve", "--bind", "tcp://127.0.0.1:0", "--ready-fd",
         str(writer), *arguments],
        cwd=SUPPORT, pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        os.close(writer)
        try:
            with open(reader) as ready:
                yield process, ready.readline().strip()
        finally:
            process.kill()


def ready_in_life(life: int) -> Callable[[WorkerStatus], bool]:
    return lambda worker: worker.state == "ready" and worker.life == life


@pytest.mark.soak
def test_a_short_time_limit_spares_a_worker_that_makes_many_elements(serve: Serve) -> None:
    """A turn of a million quick elements takes longer than the limit; none of them does.

    On a loaded machine a worker may not run at all for so long: hence in `make soak`.
    """
    quick = {"n": 10**9}
    server = serve("whole", workers=1, arguments=quick, item_timeout=0.1, max_restarts=0)
    with Client(server.endpoint, batch=65536) as client:
        batches = iter(client)
        for _ in range(30):
            next(batches)


@pytest.mark.linux
def test_a_worker_that_cannot_be_started_is_tried_again(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """Out of descriptors for a moment: the reason is said, and the next attempt succeeds."""
    server = serve("numbered", workers=1)
    with watching(server.endpoint) as watch:
        before = watch.until(lambda s: s.state == "ready").workers[0]
        used = max(int(fd) for fd in os.listdir(f"/proc/{server.pid}/fd"))
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (used + 1, hard))
        os.kill(before.pid, signal.SIGKILL)
        cause = watch.worker(0, lambda w: w.state == "backoff").cause
        assert "its process cannot be started" in cause
        assert "Too many open files" in cause
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))
        after = watch.worker(0, lambda w: w.state == "ready" and w.pid != before.pid)
        assert after.port == before.port
    with Client(server.endpoint) as client:
        assert len(list(client)) == 20
    assert "cannot be started" in capsys.readouterr().err


def test_a_killed_worker_is_back_at_its_place_in_a_new_life(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same index, file and port, another process; the server says so, the other worker stays."""
    server = serve("numbered", workers=2)
    with watching(server.endpoint) as watch:
        before = watch.until(lambda s: s.state == "ready").workers
        os.kill(before[1].pid, signal.SIGKILL)
        after = watch.worker(1, ready_in_life(1))
        assert after.pid != before[1].pid
        assert (after.ipc, after.port) == (before[1].ipc, before[1].port)
        assert after.cause == "SIGKILL, perhaps out of memory"
        status = watch.until(lambda s: s.state == "ready")
        assert status.workers[0] == before[0]
    assert server.stop() == 130
    said = f"genserver: worker 1 (pid {before[1].pid}) died: SIGKILL, perhaps out of memory; it is"
    assert f"{said} started again at once" in capsys.readouterr().err


def test_more_deaths_than_allowed_end_the_server(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """With exit code 70 and a sentence, which trainers are told as well."""
    server = serve("numbered", workers=2, max_restarts=1)
    with watching(server.endpoint) as watch:
        for life in (0, 1):
            worker = watch.worker(1, ready_in_life(life))
            os.kill(worker.pid, signal.SIGKILL)
        sentence = (
            f"worker 1 (pid {worker.pid}) died: SIGKILL, perhaps out of memory, after 1 restart "
            "within 60 s, which is all that --max-restarts allows"
        )
        with pytest.raises(ServerStopped, match=re.escape(sentence)):
            watch.until(lambda s: False)
    assert eventually(lambda: not alive(server.pid))
    assert server.stop() == 70
    assert f"genserver: {sentence}" in capsys.readouterr().err


def test_a_dead_workers_own_children_end_with_it(serve: Serve) -> None:
    """They are gone before its next life begins to make anything."""
    server = serve("parental")
    with watching(server.endpoint) as watch:
        worker = watch.until(lambda s: s.state == "ready").workers[0]
        children = processes_of(worker.pid)
        assert children
        os.kill(worker.pid, signal.SIGKILL)
        watch.worker(0, ready_in_life(1))
    assert eventually(lambda: not any(map(alive, children)))


def test_a_worker_that_is_back_serves_a_new_trainer(serve: Serve) -> None:
    """The spec is known to it without a search, and it answers at its old endpoints."""
    server = serve("numbered", workers=2)
    with watching(server.endpoint) as watch:
        for index in (0, 1):
            os.kill(watch.worker(index, ready_in_life(0)).pid, signal.SIGKILL)
        for index in (0, 1):
            watch.worker(index, ready_in_life(1))
    with Client(server.endpoint) as client:
        assert sorted(int(number) for number, _ in client) == list(range(20))


@pytest.mark.parametrize("how", ["regex", "sleep"])
def test_a_worker_that_hangs_is_shown_as_stalled_and_prints_its_stacks(
    how: str, runtime_folder: Path
) -> None:
    """Also in a C call that keeps the interpreter; with the element and the user's line."""
    with impatient("generators:hanging", "--workers", "2", "--arg", f"how={how}") as (process, at):
        assert process.stderr is not None
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(process.stderr or []))
        reader.start()
        with reading(at), watching(at) as watch:
            stalled = watch.until(lambda s: all(w.state == "stalled" for w in s.workers))
            assert stalled.state == "ready"
            assert eventually(lambda: sum("in hanging" in line for line in said) == 2)
        process.send_signal(signal.SIGINT)
        process.wait(PATIENCE)
        reader.join(PATIENCE)
    for worker in stalled.workers:
        lines = [line for line in said if f"(pid {worker.pid})" in line]
        assert len(lines) == 1
        assert f"has been making element 5 of epoch 0 (worker.index {worker.index})" in lines[0]
    assert sum("in hanging" in line for line in said) == 2
    assert list(runtime_folder.iterdir()) == []
    runtime_folder.rmdir()


def test_an_element_that_takes_too_long_costs_its_worker_the_life(serve: Serve) -> None:
    """--item-timeout kills a worker that keeps the interpreter; it is back in a new life."""
    server = serve("hanging", workers=1, item_timeout=0.5, arguments={"how": "regex"})
    with reading(server.endpoint), watching(server.endpoint) as watch:
        worker = watch.worker(0, ready_in_life(1))
        assert worker.cause == (
            "killed after --item-timeout 0.5 s in element 5 of epoch 0 (worker.index 0)"
        )


def test_an_element_that_kills_three_times_ends_the_server(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is named, with the signal; the budget would have allowed more."""
    server = serve("poisonous", workers=1, max_restarts=100)

    def die(life: int) -> None:
        with reading(server.endpoint):
            watch.worker(0, ready_in_life(life))

    with watching(server.endpoint) as watch:
        die(1)
        die(2)
        with pytest.raises(ServerStopped, match="element 5 of epoch 0"):
            die(3)
    assert eventually(lambda: not alive(server.pid))
    assert server.stop() == 70
    sentence = (
        "died: SIGABRT, an abort in native code, 3 times in a row while it made element 5 of epoch "
        "0 (worker.index 0); "
    )
    assert sentence in capsys.readouterr().err


def test_a_worker_is_replaced_after_so_many_elements(
    serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    """--max-items is no death: nothing is said, no cause, no budget; all elements were sent."""
    server = serve("seeking", workers=1, max_items=10, max_restarts=0, recovery="seek")
    with watching(server.endpoint) as watch:
        pids = set()
        for life in range(1, 3):
            program = (
                "from genserver.client import Client\n"
                f"with Client({server.endpoint!r}) as client:\n"
                "    elements = iter(client)\n"
                "    print(*[int(n) for _ in range(10) for n in next(elements)])\n"
            )
            done = subprocess.run(
                [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE,
                check=True,
            )  # fmt: skip
            said = [int(number) for number in done.stdout.split()]
            assert said[::2] == list(range(10))
            pids |= set(said[1::2])
            worker = watch.worker(0, ready_in_life(life))
            assert worker.cause == ""
        assert len(pids) == 2
    server.stop()
    assert "genserver:" not in capsys.readouterr().err


def test_a_generator_that_does_not_seek_is_refused(serve: Serve) -> None:
    """--recovery seek, found out with the first element."""
    with pytest.raises(ServerFailed, match=r"does not read worker\.start") as caught:
        serve("numbered", recovery="seek")
    assert caught.value.code == 78


def test_probe_says_how_a_worker_fares(serve: Serve) -> None:
    """Its life, how the last one ended, and what would become of a stream."""
    server = serve("seeking", workers=1, recovery="seek")
    with watching(server.endpoint) as watch:
        os.kill(watch.worker(0, ready_in_life(0)).pid, signal.SIGKILL)
        watch.worker(0, ready_in_life(1))
    report, serves = probe(
        server.endpoint, seconds=PATIENCE, keys=None, insecure_network=False, as_json=False
    )
    assert serves
    assert "  recovery     seek\n" in report
    (line,) = (line for line in report.splitlines() if "worker 0" in line)
    assert ", life 1, " in line
    assert line.endswith(", last died: SIGKILL, perhaps out of memory")


@pytest.mark.linux
def test_as_process_1_it_takes_leave_of_strangers(runtime_folder: Path) -> None:
    """What a generator started and left behind becomes no zombie, and SIGTERM ends it with 0."""
    if subprocess.run(["unshare", "--pid", "--fork", "true"], check=False).returncode:
        pytest.skip("this user may not make a process namespace")
    reader, writer = os.pipe()
    with subprocess.Popen(
        ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "genserver.server",
         "serve", "generators:orphaning", "--bind", "tcp://127.0.0.1:0", "--ready-fd", str(writer)],
        cwd=SUPPORT, pass_fds=[writer], stdout=subprocess.DEVNULL,
    ) as outer:  # fmt: skip
        os.close(writer)
        try:
            with open(reader) as ready:
                endpoint = ready.readline().strip()
            (supervisor,) = processes_of(outer.pid)
            # Two elements: two children whose parent ended before them, and who end themselves.
            with Client(endpoint) as client:
                elements = iter(client)
                next(elements), next(elements)
            assert eventually(lambda: len(processes_of(supervisor)) == 1)
            os.kill(supervisor, signal.SIGTERM)
            assert outer.wait(PATIENCE) == 0
        finally:
            outer.kill()
    assert list(runtime_folder.iterdir()) == []
    runtime_folder.rmdir()
