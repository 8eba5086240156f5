"""What safety costs: keys over tcp beside none, and an honest trainer beside a hostile one.

Question 1: how much slower are elements over tcp with CURVE?
Method: two servers of one worker, one with keys, both read over tcp on loopback, by turns of equal
length in the order A B B A ...; a round's figure is with / without.
Question 2: what does a trainer lose while a peer sends the server everything that
tests/security/test_hostile.py has, again and again?
Method: turns in the same order, in which the peer sends it to the server and to somebody who
throws it away: the peer's own work, which would be on another host, is in both. It gets the
processor only where nobody else wants it.
Caveat: everything shares two cores, and encrypts and decrypts on them.

    python benchmarks/security.py [--rounds 5] [--seconds 3]    needs the packages of `make test`
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from _figures import spread
from _spin import calibrate
from _workloads import WORKLOADS
from genserver.client import Client
from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.transport.connection import connect
from genserver.protocol.transport.key_files import make_keys
from genserver.server import Server

FOLDER = Path(__file__).parent
WARM_UP = 1.0
HARM = "--harm"
#: Seconds for which the hostile peer listens to what it is told.
LISTENS = 0.05


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each workload's figures."""
    options = _parse(arguments)
    if options.harm:
        _harm(options.harm)
    for name in options.workloads:
        _keys(name, options)
    for name in options.workloads:
        _hostile(name, options)


def _keys(name: str, options: argparse.Namespace) -> None:
    workload = WORKLOADS[name]
    with tempfile.TemporaryDirectory() as keys, _served(name) as plain:
        make_keys(keys)
        with (
            _served(name, keys=keys) as guarded,
            Client(plain.endpoint, transport="tcp") as one,
            Client(guarded.endpoint, transport="tcp", keys=keys) as other,
        ):
            without, with_keys = _turns(iter(one), iter(other), options)
    _say(f"{workload.title}, CURVE / none", without, with_keys, workload.nbytes)


def _hostile(name: str, options: argparse.Namespace) -> None:
    workload = WORKLOADS[name]
    with _served(name) as server, Client(server.endpoint, transport="tcp") as client:
        elements = iter(client)
        ports = _ports(server.endpoint)
        spared, harmed = _turns(elements, elements, options, peers=((), ports))
    _say(f"{workload.title}, with a hostile peer / spared", spared, harmed, workload.nbytes)


@contextmanager
def _served(name: str, **options: Any) -> Iterator[Server]:
    workload = WORKLOADS[name]
    given = workload.arguments(calibrate()) if workload.milliseconds else None
    with Server(
        workload.target, workers=1, arguments=given, cwd=str(FOLDER), quiet=True, **options
    ) as server:
        yield server


def _turns(
    first: Iterator[Any], second: Iterator[Any], options: argparse.Namespace,
    peers: Sequence[Sequence[int]] | None = None,
) -> tuple[list[float], list[float]]:  # fmt: skip
    """Elements per second of each turn, of the first way and of the second, round by round; beside
    a peer that harms these ports."""
    rates: tuple[list[float], list[float]] = ([], [])
    for number in range(options.rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            with nullcontext() if peers is None else _peer(peers[which]):
                rates[which].append(_rate((first, second)[which], options.seconds))
    return rates


def _rate(elements: Iterator[Any], seconds: float) -> float:
    count, start = 0, time.perf_counter()
    begin = start + WARM_UP
    while time.perf_counter() < begin:
        next(elements)
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        next(elements)
        count += 1
    return count / (time.perf_counter() - began)


def _say(what: str, first: list[float], second: list[float], nbytes: int) -> None:
    ratio = spread([b / a for a, b in zip(first, second, strict=True)])
    one, two = spread(first).median, spread(second).median
    print(
        f"{what}: {one:.0f} and {two:.0f} elements/s ({one * nbytes / 1e9:.2f} and "
        f"{two * nbytes / 1e9:.2f} GB/s), ratio {ratio.median:.3f} "
        f"({ratio.low:.3f} to {ratio.high:.3f})", flush=True,
    )  # fmt: skip


def _ports(endpoint: str) -> list[int]:
    connection = connect(parse_endpoint(endpoint))
    try:
        status = connection.wait(lambda status: status.state == "ready", 10.0)
    finally:
        connection.release()
    assert status is not None
    return [parse_endpoint(endpoint).port, *(worker.port for worker in status.workers)]


@contextmanager
def _peer(ports: Sequence[int]) -> Iterator[None]:
    """It is at work when the block begins; without ports it harms nobody."""
    process = subprocess.Popen(
        [sys.executable, __file__, HARM, *map(str, ports or (0, 0))], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def _harm(ports: list[int]) -> None:
    """In the hostile process: for ever."""
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    sys.path.insert(0, str(FOLDER.parent))
    from tests.security.test_hostile import STREAMS, TO_SERVERS
    from tests.support.hostile import DEALER, ByHand

    if not any(ports):
        listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        greeting = DEALER.replace(b"DEALER", b"ROUTER")
        threading.Thread(target=_throw_away, args=(listening, greeting), daemon=True).start()
        ports = [listening.getsockname()[1]] * len(ports)
    print("at work", flush=True)
    while True:
        for name, (send, _) in TO_SERVERS.items():
            for port in ports[1:] if name in STREAMS else ports:
                peer = ByHand(port)
                try:
                    send(peer)
                    peer.hear(LISTENS)
                finally:
                    peer.close()


def _throw_away(listening: socket.socket, greeting: bytes) -> None:
    while True:
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            connection.settimeout(LISTENS)
            connection.sendall(greeting)
            while connection.recv(2**16):
                pass


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What safety costs.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument(
        "--workloads", nargs="+", choices=sorted(WORKLOADS), default=["small", "image", "volume"]
    )
    parser.add_argument(HARM, nargs="+", type=int, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
