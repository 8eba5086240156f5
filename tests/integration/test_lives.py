"""Workers that are killed and replaced under a living trainer, by a server of this test's own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from genserver.client import Client, WorkerDied

from ..support.servers import PATIENCE, SUPPORT, eventually

pytestmark = pytest.mark.linux
KILLED = "killed by SIGKILL, perhaps out of memory"
COUNT = 40_000


class Strings:
    """Two workers and a supervisor that says what it is told to say."""

    def __init__(self, folder: Path, recovery: str) -> None:
        self.folder = folder
        self.recovery = recovery
        self.endpoint = f"ipc://{folder}/server"
        self.control = self._puppet("control", "server")
        self.workers = [self._worker(0), self._worker(1)]
        self.told = [[i, "ready", 1, str(folder / f"{i}.sock"), 0, "", 0, 0] for i in range(2)]
        self.tell(0)

    def tell(self, worker: int, **changes: object) -> None:
        """Publish another state of a worker."""
        places = {"state": 1, "cause": 5, "life": 6, "lost": 7}
        for name, value in changes.items():
            self.told[worker][places[name]] = value
        assert self.control.stdin is not None
        self.control.stdin.write(json.dumps([self.recovery, self.told]) + "\n")
        self.control.stdin.flush()

    def replace(self, worker: int) -> None:
        """Start the next life; it is not told yet."""
        self.workers[worker] = self._worker(worker)

    def kill(self, worker: int) -> None:
        self.workers[worker].kill()
        self.workers[worker].communicate(timeout=PATIENCE)

    def close(self) -> None:
        for puppet in (self.control, *self.workers):
            if puppet.poll() is None:
                puppet.communicate(timeout=PATIENCE)

    def _worker(self, index: int) -> subprocess.Popen[str]:
        made = self._puppet("worker", f"{index}.sock", f"n={COUNT}")
        assert made.stdout is not None
        assert made.stdout.readline() == "ready\n"
        return made

    def _puppet(self, kind: str, name: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(SUPPORT / "puppet.py"), kind, str(self.folder / name)]
        return subprocess.Popen(
            [*command, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )


@pytest.fixture
def strings(runtime_folder: Path) -> Iterator[Callable[[str], Strings]]:
    """Such a server, by the name of its recovery."""
    made: list[Strings] = []

    def make(recovery: str) -> Strings:
        made.append(Strings(runtime_folder, recovery))
        return made[-1]

    yield make
    for server in made:
        server.close()
    assert list(runtime_folder.iterdir()) == []
    runtime_folder.rmdir()


def read(client: Client, got: list[int], at: int, act: Callable[[], object]) -> None:
    """Read to the end, and do something after ``at`` elements."""
    for number, _ in client:
        got.append(int(number))
        if len(got) == at:
            act()


def check(got: list[int]) -> None:
    """Each worker's elements came once, in order, and all of them."""
    for worker in range(2):
        assert [n for n in got if n % 2 == worker] == list(range(worker, COUNT, 2))


@pytest.mark.parametrize("goodbye", [False, True])
def test_streams_go_on_in_the_next_life(
    strings: Callable[[str], Strings], goodbye: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A killed worker's, and those of one that said goodbye; the other one's never stop."""
    server = strings("auto")

    def die() -> None:
        if goodbye:
            server.workers[1].communicate(timeout=PATIENCE)
        else:
            server.kill(1)
        server.tell(1, state="backoff", cause=KILLED)
        server.replace(1)
        server.tell(1, state="starting", life=1)
        server.tell(1, state="ready", lost=3)

    got: list[int] = []
    with Client(server.endpoint, memory_budget=10_000) as client:
        read(client, got, 1000, die)
    check(got)
    assert caplog.text.count(f"worker 1 of {server.endpoint} goes on at element ") == 1
    assert "goes on at element 0" not in caplog.text
    assert KILLED in caplog.text
    assert f"worker 1 of {server.endpoint} died, and 3 elements" in caplog.text


def test_a_life_that_was_not_announced_is_not_gone_on_with(
    strings: Callable[[str], Strings], caplog: pytest.LogCaptureFixture
) -> None:
    """It may be a stranger at the same place: the streams wait, and nobody fails meanwhile."""
    server = strings("auto")
    got: list[int] = []
    with Client(server.endpoint, memory_budget=10_000) as client:
        elements = iter(client)
        got += [int(next(elements)[0]) for _ in range(1000)]
        core = client._lanes[-1]._reach.connections[0]._core
        link = core._workers[1].link
        server.kill(1)
        server.replace(1)
        assert eventually(lambda: link.end._answered not in (None, link.end.incarnation))
        assert "goes on" not in caplog.text
        server.tell(1, life=1)
        got += [int(number) for number, _ in elements]
    check(got)


def test_without_recovery_a_death_is_an_error(strings: Callable[[str], Strings]) -> None:
    """With its cause; the next pass has all elements, from the next life."""
    server = strings("none")

    def die() -> None:
        server.kill(1)
        server.tell(1, state="backoff", cause=KILLED)
        server.replace(1)
        server.tell(1, state="ready", life=1)

    with Client(server.endpoint, memory_budget=10_000) as client:
        with pytest.raises(WorkerDied, match=KILLED):
            read(client, [], 1000, die)
        got: list[int] = []
        read(client, got, -1, die)
    check(got)
