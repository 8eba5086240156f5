"""Other hosts are reached over their cables, and what is done to them does what it says."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress

import pytest

from ..support.namespaces import IN, OUT, Host, Network, host, network, why_not
from ..support.processes import eventually

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(why_not() != "", reason=why_not() or "there are namespaces"),
]


@pytest.fixture(scope="module")
def other() -> Iterator[Host]:
    """A host for all tests of this file."""
    with host() as made:
        yield made


@pytest.fixture
def pair(other: Host) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection from here to the other host: both its ends."""
    other.heal()
    with other.entered():
        listening = socket.create_server((other.address, 0))
    with listening:
        here = socket.create_connection(listening.getsockname(), timeout=5)
        there, _ = listening.accept()
    with here, there:
        there.settimeout(5)
        yield here, there
    other.heal()


def silent(end: socket.socket, seconds: float = 0.3) -> bool:
    end.settimeout(seconds)
    try:
        end.recv(1)
    except TimeoutError:
        return True
    finally:
        end.settimeout(5)
    return False


def test_a_dropped_direction_is_silent_and_comes_after_healing(
    other: Host, pair: tuple[socket.socket, socket.socket]
) -> None:
    """TCP sends it again."""
    here, there = pair
    other.drop(IN)
    here.sendall(b"in")
    assert silent(there)
    other.heal()
    assert there.recv(2) == b"in"
    other.drop(OUT)
    there.sendall(b"out")
    assert silent(here)
    other.heal()
    assert here.recv(3) == b"out"


def test_a_reset_ends_the_connection(
    other: Host, pair: tuple[socket.socket, socket.socket]
) -> None:
    """With RST."""
    here, _ = pair
    other.reset(IN)
    here.sendall(b"x")
    with pytest.raises(ConnectionResetError):
        here.recv(1)


def test_lost_packets_are_sent_again(
    other: Host, pair: tuple[socket.socket, socket.socket]
) -> None:
    """A tenth of them: a stream is a stream."""
    here, there = pair
    other.lose(10)
    data = bytes(range(256)) * 400
    here.sendall(data)
    got = b""
    while len(got) < len(data):
        got += there.recv(2**16)
    assert got == data


def test_a_shaped_cable_is_as_slow_as_it_says() -> None:
    """A megabyte at 20 Mbit/s takes 0.4 s."""
    with host() as slow:
        slow.shape(20)
        with slow.entered():
            listening = socket.create_server((slow.address, 0))
        with (
            listening,
            socket.create_connection(listening.getsockname(), timeout=5) as here,
            listening.accept()[0] as there,
        ):
            began = time.monotonic()
            here.setblocking(False)
            sent = got = 0
            while got < 10**6:
                with suppress(BlockingIOError):
                    sent += here.send(bytes(min(2**16, 10**6 - sent))) if sent < 10**6 else 0
                got += len(there.recv(2**16))
            assert time.monotonic() - began > 0.35


def test_a_host_leaves_nothing(other: Host) -> None:
    """Neither its namespace nor its cable."""

    def links() -> str:
        return subprocess.run(["ip", "link"], capture_output=True, text=True, check=True).stdout

    with host() as gone:
        assert gone._cable in links()
    names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert gone.name not in names
    assert other.name in names
    assert eventually(lambda: gone._cable not in links())  # the kernel takes its time


@pytest.fixture(scope="module")
def several() -> Iterator[Network]:
    """Three hosts at a switch, and this one."""
    with network(3, here=True) as made:
        yield made


def reached(host: Host, *, by: Host | None = None) -> socket.socket:
    """A connection to a host that listens, by another one or from here: its end, which has got a
    byte."""
    with host.entered():
        listening = socket.create_server((host.address, 0))
    with listening, by.entered() if by else nullcontext():
        end = socket.create_connection(listening.getsockname(), timeout=5)
        with listening.accept()[0] as there:
            there.sendall(b"x")
            assert end.recv(1) == b"x"
            return end


def test_hosts_at_a_switch_reach_each_other_and_this_one(several: Network) -> None:
    """Each by its own address, and each with a loopback interface of its own."""
    first, second, third = several.hosts
    for host_, by in ((first, second), (second, third), (third, None)):
        with reached(host_, by=by) as end:
            assert end.getsockname()[0] == (by.address if by else several.here)
    with first.entered():
        listening = socket.create_server(("127.0.0.1", 0))
    with listening, second.entered(), pytest.raises(ConnectionRefusedError):
        socket.create_connection(listening.getsockname(), timeout=5)


def test_what_is_done_to_one_host_leaves_the_others(several: Network) -> None:
    """A cut one is silent for everybody, and they hear each other."""
    first, second, third = several.hosts
    first.drop()
    with first.entered():
        listening = socket.create_server((first.address, 0))
    with listening, second.entered(), pytest.raises(TimeoutError):
        socket.create_connection(listening.getsockname(), timeout=0.3)
    reached(third, by=second).close()
    first.heal()
    reached(first, by=second).close()


def test_a_host_without_power_takes_its_processes_along_and_remembers_nothing(
    several: Network,
) -> None:
    """Nobody hears of it; when it is on again it has its address, and resets what was connected."""
    lost, other, _ = several.hosts
    with lost.entered():
        process = subprocess.Popen(["sleep", "60"])
        listening = socket.create_server((lost.address, 0))
    with other.entered():
        end = socket.create_connection(listening.getsockname(), timeout=5)
    with listening, end:
        lost.power_off()
        assert process.wait(5) == -signal.SIGKILL
        assert silent(end)
        lost.power_on()
        end.sendall(b"still there?")
        with pytest.raises(ConnectionResetError):
            end.recv(1)
    reached(lost, by=other).close()


def test_a_network_leaves_nothing() -> None:
    """Neither its namespaces nor our cable, nor what runs in its hosts, also when a test fails."""

    def there() -> str:
        return "".join(
            subprocess.run(["ip", *what], capture_output=True, text=True, check=True).stdout
            for what in (["netns"], ["-o", "addr"])
        )

    processes = []

    def fail() -> None:
        with network(1, here=True) as gone:
            names.extend([gone.hosts[0].name, gone.here])
            assert all(name in there() for name in names)
            with gone.hosts[0].entered():
                processes.append(subprocess.Popen(["sleep", "60"]))
            raise InterruptedError

    names: list[str] = []
    with pytest.raises(InterruptedError):
        fail()
    assert not any(name in there() for name in names)
    assert processes[0].wait(5) == -signal.SIGKILL
