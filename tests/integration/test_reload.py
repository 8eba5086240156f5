"""`serve --reload`: code that changes under a server and its trainers. Real processes and files."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from genserver.client import Client, ServerChanged
from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.messages import Status
from genserver.protocol.transport.connection import connect

from ..support.processes import PATIENCE, alive, ended, eventually, within
from ..support.proxy import Proxy
from ..support.server_process import ServerProcess

#: The user's code: endless numbers, and the version that made each.
CODE = """
import time
VERSION = 1

def numbers(worker):
    number = worker.start
    while True:
        time.sleep(0.005)
        yield number, VERSION
        number += 1
"""
SECONDS = 2 * PATIENCE


class Code:
    """The file that is served, and edited as an editor does: a new file takes its place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "edited.py"
        self.write(CODE)

    def write(self, text: str) -> None:
        draft = self.folder / "draft.tmp"
        draft.write_text(text)
        draft.replace(self.file)

    def become(self, version: int) -> None:
        """Same size, and perhaps the same second: another version all the same."""
        self.write(CODE.replace("VERSION = 1", f"VERSION = {version}"))


@pytest.fixture
def code(tmp_path: Path) -> Code:
    return Code(tmp_path)


@contextmanager
def serving(code: Code, *options: str) -> Iterator[ServerProcess]:
    """A server that reloads; at its end no process and no file of it may be left."""
    options = ("--reload", "--reload-dir", str(code.folder), *options)
    with ServerProcess(f"{code.file}:numbers", workers=1, options=options) as server:
        yield server
        workers = list(server.worker_pids().values())
        assert server.stop() == 0
        assert eventually(lambda: not any(map(alive, workers)))
        assert list(server.folder.iterdir()) == []


def says(server: ServerProcess, text: str, times: int = 1) -> bool:
    return eventually(lambda: server.said().count(text) >= times)


def until(elements: Iterator[tuple[int, int]], version: int, got: list[int]) -> None:
    """Read until the code of this version speaks."""
    for number, made_by in elements:
        got.append(int(number))
        if made_by == version:
            return


@pytest.mark.linux  # the proxy needs a second loopback address, and leads to no worker
def test_a_running_pass_goes_on_with_the_new_code_on_the_same_connection(
    code: Code, caplog: pytest.LogCaptureFixture
) -> None:
    """Every number comes once, from whatever version, and the trainer never connects again; a
    line at each end says which file changed."""
    with serving(code) as server, Proxy(server.ports[:1]) as proxy:
        endpoint = proxy.endpoint(server.ports[0])
        with Client(endpoint, give_up_after=PATIENCE) as client, within(SECONDS, server.close):
            elements, got = iter(client), list[int]()
            until(elements, 1, got)
            connected = proxy.accepted, proxy.connections
            for version in (2, 3):
                code.become(version)
                until(elements, version, got)
            assert got == list(range(len(got)))
            assert (proxy.accepted, proxy.connections) == connected
        assert says(server, "edited.py changed: the workers start again with the new code", 2)
        assert says(server, "the new code serves", 2)
    assert caplog.text.count("goes on at element") == 2
    assert f"{code.file} changed" in caplog.text


def test_code_that_does_not_start_is_waited_for_until_it_is_mended(code: Code) -> None:
    """The server says the traceback once and stays; who waits is told why; the pass goes on."""
    with serving(code) as server, Client(server.endpoint) as client:
        watch = connect(parse_endpoint(server.endpoint))
        with within(SECONDS, server.close):
            elements, got = iter(client), list[int]()
            until(elements, 1, got)
            for broken, why in (
                ("VERSION = ", "SyntaxError"),
                (CODE.replace("number = worker.start", "raise OSError('no such scan')"), "no such"),
            ):
                code.write(broken)

                def tells(status: Status, why: str = why) -> bool:
                    (worker,) = status.workers
                    return worker.between_lives and why in worker.cause and why in status.cause

                assert watch.wait(tells, PATIENCE)
                assert eventually(lambda: not server.worker_pids())
            code.become(2)
            until(elements, 2, got)
            assert got == list(range(len(got)))
        watch.release()
        assert server.said().count("waiting until the code changes") == 2
        assert server.said().count("SyntaxError: invalid syntax\n") == 1
        assert "OSError: no such scan\n" in server.said()


def test_code_that_serves_something_else_is_an_error_to_who_reads_and_news_to_who_comes(
    code: Code,
) -> None:
    """`ServerChanged` for the running pass; a trainer that comes meanwhile waits, and sees the new
    spec."""
    with serving(code) as server, Client(server.endpoint) as client:
        elements, got = iter(client), list[int]()
        with within(SECONDS, server.close):
            until(elements, 1, got)
            code.write(CODE.replace("VERSION\n", "VERSION, 2.5\n"))
            assert says(server, "edited.py changed")
            # A process of its own: here the connection of the other one would be shared.
            command = (
                f"from genserver.client import Client; c = Client({server.endpoint!r}); "
                "print(c.spec, len(next(iter(c))))"
            )
            newcomer = subprocess.Popen(
                [sys.executable, "-c", command], stdout=subprocess.PIPE, text=True
            )
            with newcomer, ended(newcomer):
                changed = r"the element spec is \(int64\[\], int64\[\], float32\[\]\), before"
                with pytest.raises(ServerChanged, match=changed):
                    until(elements, 2, got)
                assert newcomer.stdout is not None
                assert newcomer.stdout.read() == "(int64[], int64[], float32[]) 3\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_a_reload_ends_it(code: Code, number: signal.Signals) -> None:
    """While the new code is being imported, which takes for ever, and the next change made; in the
    time that a server has, and nothing is left."""
    with ServerProcess(
        f"{code.file}:numbers", workers=2, options=("--reload", "--sharding", "off")
    ) as server:
        code.write("import time\ntime.sleep(1000)")
        assert says(server, "edited.py changed")
        assert eventually(lambda: len(server.worker_pids()) == 2)
        code.write("import time\ntime.sleep(2000)")
        assert says(server, "edited.py changed", 2)
        workers = list(server.worker_pids().values())
        assert server.signal(number) == (0 if number is signal.SIGTERM else 130)
        assert not any(map(alive, workers))
        assert list(server.folder.iterdir()) == []
