"""What safety costs: keys over tcp beside none, and an honest trainer beside a hostile one.

Question 1: how much slower are elements over tcp with CURVE?
Method: two servers of one worker, one with keys, both read over tcp on loopback, by turns of equal
length in the order A B B A ...; a round's figure is with / without.
Question 2: what does a trainer lose while a peer sends the server everything that
tests/security/test_hostile.py has, again and again?
Method: turns with and without that peer, in the same order. The peer is a process that gets the
processor only where nobody else wants it, as if it were on another host; the server's work for it
counts.
Caveat: everything shares two cores, and encrypts and decrypts on them.

    python benchmarks/security.py [--rounds 5] [--seconds 3]    needs the packages of `make test`
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _figures import spread
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
        alone, beside = _turns(elements, elements, options, second=lambda: _peer(ports))
    _say(f"{workload.title}, beside a hostile peer / alone", alone, beside, workload.nbytes)


@contextmanager
def _served(name: str, **options: Any) -> Iterator[Server]:
    workload = WORKLOADS[name]
    given = {"loops": 100_000} if workload.milliseconds else None
    with Server(
        workload.target, workers=1, arguments=given, cwd=str(FOLDER), quiet=True, **options
    ) as server:
        yield server


def _turns(
    first: Iterator[Any], second_elements: Iterator[Any], options: argparse.Namespace,
    second: Callable[[], Any] | None = None,
) -> tuple[list[float], list[float]]:  # fmt: skip
    """Elements per second of each turn, of the first way and of the second, round by round."""
    rates: tuple[list[float], list[float]] = ([], [])
    for number in range(options.rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            if which and second is not None:
                with second():
                    rates[1].append(_rate(second_elements, options.seconds))
            else:
                rates[which].append(_rate((first, second_elements)[which], options.seconds))
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
def _peer(ports: list[int]) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, __file__, HARM, *map(str, ports)])
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
    from tests.support.hostile import ByHand

    while True:
        for name, (send, _) in TO_SERVERS.items():
            for port in ports[1:] if name in STREAMS else ports:
                peer = ByHand(port)
                try:
                    send(peer)
                    peer.hear(LISTENS)
                finally:
                    peer.close()


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
