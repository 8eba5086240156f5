"""Servers and trainers in containers of one host, as far as the kernel tells them apart.

A server gets mount, process and IPC namespaces of its own, with a `/dev/shm` of 64 MB and a folder
for temporary files that nobody else sees. An engine's own containers are `make docker-test`'s.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest
from genserver.client import Client
from genserver.protocol.transport.platform import RUNTIME_DIR

from ..support.ports import free_from
from ..support.servers import PATIENCE, SUPPORT
from ..support.status import status_of

CONTAIN = ["unshare", "--mount", "--pid", "--ipc", "--fork", "--kill-child", "--mount-proc"]
#: What a container has for itself. The folder for temporary files is where nothing else is.
PRIVATE = """
mount -t tmpfs -o size=64m tmpfs /dev/shm
mount -t tmpfs tmpfs /mnt
exec "$@"
"""
#: More than such a /dev/shm.
KIB, COUNT = 100 * 1024, 3


@cache
def why_not() -> str:
    """Why there can be no containers here, or ""."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return "namespaces need root and the program unshare"
    made = subprocess.run([*CONTAIN, "true"], capture_output=True, text=True, check=False)
    return made.stderr.strip()


pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(why_not() != "", reason=why_not() or "there are namespaces"),
]

Contained = Callable[..., str]


@pytest.fixture
def contained() -> Iterator[Contained]:
    """Start a server in a container of its own; it has ended when the test has."""
    with ExitStack() as stack:

        def start(bind: str, **environment: str) -> str:
            command = [
                *CONTAIN, "sh", "-ec", PRIVATE, "sh", sys.executable, "-m", "genserver.server",
                "serve", "generators:endless", "--workers", "1", "--bind", bind,
                "--arg", f"kib={KIB}",
            ]  # fmt: skip
            inherited = {k: v for k, v in os.environ.items() if k != "XDG_RUNTIME_DIR"}
            process = stack.enter_context(
                subprocess.Popen(
                    command, cwd=SUPPORT, stdout=subprocess.PIPE, text=True,
                    env=inherited | {"TMPDIR": "/mnt"} | environment,
                )
            )  # fmt: skip
            stack.callback(process.wait, PATIENCE)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline().startswith("genserver: generators:endless at ")
            return bind

        yield start


def ways_of(endpoint: str) -> set[str]:
    """How a trainer here has read from there: what the memory's segments, or sockets, gave."""
    with Client(endpoint) as client:
        elements = iter(client)
        for number in range(COUNT):
            element = next(elements)
            assert element.nbytes == KIB * 1024
            assert element[0] == element[-1] == number
        return client._lanes[0]._reach.connections[0].transports()


def test_with_the_sockets_on_a_shared_volume_elements_come_through_memory(
    runtime_folder: Path, contained: Contained
) -> None:
    """Also the control socket may be there: then no network is needed at all. Elements are larger
    than a container's /dev/shm."""
    endpoint = contained(f"ipc://{runtime_folder}/server", **{RUNTIME_DIR: str(runtime_folder)})
    assert ways_of(endpoint) == {"memory"}


def test_without_a_shared_volume_they_come_over_tcp(contained: Contained) -> None:
    """The files are named, and cannot be seen."""
    endpoint = contained(f"tcp://127.0.0.1:{free_from((0, 1))}")
    (worker,) = status_of(endpoint).workers
    assert worker.ipc.startswith("/mnt/genserver-")
    assert ways_of(endpoint) == {"tcp"}


def test_a_process_number_of_another_container_is_not_this_process(
    contained: Contained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers begin anew in each; taken for this one, its trainer would be told nothing."""
    endpoint = contained(f"tcp://127.0.0.1:{free_from((0, 1))}")
    (worker,) = status_of(endpoint).workers
    # There alone: the context of this process is made for its own number.
    monkeypatch.setattr("genserver.client.waiting.os", SimpleNamespace(getpid=lambda: worker.pid))
    with Client(endpoint) as client:
        next(iter(client))
        assert not client._lanes[0]._reach.in_this_process


@pytest.mark.parametrize(
    ("folder", "says"),
    [("/nowhere/at/all", "No such file or directory"), ("/" + "x" * 100, "too long")],
)
def test_a_folder_for_sockets_that_cannot_be_used_is_one_sentence(folder: str, says: str) -> None:
    """With the variable that names it, and exit code 78."""
    served = subprocess.run(
        [sys.executable, "-m", "genserver.server", "serve", "generators:whole"],
        cwd=SUPPORT, env=os.environ | {RUNTIME_DIR: folder}, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert served.returncode == 78
    assert served.stderr.count("\n") == 1
    assert says in served.stderr
    assert RUNTIME_DIR in served.stderr
