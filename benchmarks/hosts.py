"""Several hosts: how the rate grows with them, what a lost one costs, and how full a line gets.

Hosts are network namespaces at a switch (tests/support/namespaces.py) on this machine: their
packets go through the kernel's TCP and a veth cable each. Servers are real ``genserver serve``
processes with keys; the trainer, the numpy `Client` in this process, is in a namespace of its own.

* ``scale``: 1, 2 and 3 hosts with a server of one worker each, whose generator sleeps 50 ms for
  each element. Elements a second, in turn 1 2 3, 3 2 1, ...; a figure is the ratio within a round.
* ``cut``: two hosts, numbered and hashed elements that sleep 50 ms; after 5 s one host's packets
  vanish for 30 s. Elements that never came or came again, what the judge of the tests found
  (tests/support/checker.py), seconds from healing to the next element of that host, and how
  long the trainer waited at most for any element meanwhile.
* ``line``: one host whose cable takes so many Mbit/s (tc's tbf), read by turns: elements with
  keys, without, and a bare TCP stream from the same host. MB of payload a second. The
  limit counts whole packets: 1448 of 1514 bytes of a full one are payload.

Caveat: hosts share this machine's cores, so ``scale`` is about waiting and not about computing,
and in ``line`` sender, encryption and receiver have two cores together.

    python benchmarks/hosts.py [--only NAME ...] [--rounds 5] [--seconds 10]    as root

Exit code 1 when a figure is below what is wanted. Linux, iproute2, nftables; `make hosts`.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))

from _figures import ratios, spread
from _lines import HEADINGS, Verdict, cells, verdict
from _report import columns, describe_host, host_lines
from _rounds import progress
from _workloads import WORKLOADS
from genserver.client import Client
from genserver.protocol.transport.key_files import make_keys

from tests.support.checker import Checker, consume, limited
from tests.support.hashed import share
from tests.support.namespaces import Host, network, why_not
from tests.support.server_process import ServerProcess

HERE = Path(__file__).parent
Measure = Callable[[], float]
BARE = "bare TCP"
NAP = 0.05
#: Of `scale`: hosts at most, and how many times one host's rate they must reach together.
HOSTS, WANTED = 3, 2.9
PORT = 5555
#: Seconds before a slice counts, those of `cut` before its fault and after it, and its bound.
WARM_UP, BEFORE, AFTER, HUNG = 1.0, 5.0, 15.0, 200.0
#: Seconds of waiting for an element that was not there yet.
WAITED = 0.002
#: A line is quiet when so few bytes come in so many seconds; it must be within so many.
QUIET_BYTES, QUIET_SECONDS, QUIET_WITHIN = 20_000, 0.3, 60.0


class Site:
    """Hosts with servers, seen from a trainer's host, in which this thread is."""

    def __init__(self, hosts: Sequence[Host], keys: str, stack: ExitStack) -> None:
        self.hosts = hosts
        self._keys = keys
        self._stack = stack

    def serve(
        self, host: Host, target: str, arguments: dict[str, Any], *, port: int = PORT,
        keys: bool = True,
    ) -> str:  # fmt: skip
        """Start a server of one worker on a host; its endpoint."""
        words = ("--keys", f"{self._keys}/server") if keys else ("--insecure-network",)
        server = ServerProcess(
            target, workers=1, bind=f"tcp://0.0.0.0:{port}", arguments=arguments, options=words
        )
        with host.entered():
            self._stack.enter_context(server)
        return f"tcp://{host.address}:{port}"

    def client(self, endpoints: Sequence[str], *, keys: bool = True) -> Client:
        """One machine has one shared memory, whatever its namespaces: hence tcp."""
        given: dict[str, Any] = (
            {"keys": f"{self._keys}/trainer"} if keys else {"insecure_network": True}
        )
        return Client(list(endpoints), transport="tcp", seed=1, **given)

    def read(
        self, endpoints: Sequence[str], seconds: float, *, keys: bool = True, each: float = 1.0
    ) -> float:
        """Elements a second of a pass of its own, or so many times that."""
        with self.client(endpoints, keys=keys) as client:
            return each * rate(iter(client), seconds)


@contextmanager
def site(count: int) -> Iterator[Site]:
    """So many hosts for servers, and this thread on another one."""
    with ExitStack() as stack:
        keys = stack.enter_context(tempfile.TemporaryDirectory())
        make_keys(keys)
        *hosts, trainer = stack.enter_context(network(count + 1)).hosts
        stack.enter_context(trainer.entered())
        yield Site(hosts, keys, stack)


def in_turn(ways: Mapping[str, Measure], rounds: int) -> dict[str, list[float]]:
    """What each showed in each round, in the order A B C, C B A, ..."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways) if number % 2 == 0 else reversed(list(ways)):
            progress(f"round {number + 1} of {rounds}: {name}")
            quiet()
            found[name].append(ways[name]())
    progress("")
    return found


def scale(options: argparse.Namespace) -> list[Verdict]:
    """Elements a second from 1, 2 and 3 hosts."""
    with site(HOSTS) as made:
        target = f"{HERE / '_hosts.py'}:naps"
        endpoints = [made.serve(host, target, {"seconds": NAP}) for host in made.hosts]
        counts = {str(count): count for count in range(1, HOSTS + 1)}
        ways = {
            name: partial(made.read, endpoints[:count], options.seconds)
            for name, count in counts.items()
        }
        found = in_turn(ways, options.rounds)
    for name, count in counts.items():
        one = spread(found[name])
        print(f"hosts: {name}, elements/s: {one.median:.2f} ({one.low:.2f} to {one.high:.2f}), "
              f"{one.median / count * NAP:.3f} of what sleeping allows")  # fmt: skip
    text = f"{HOSTS} hosts over one, {1000 * NAP:.0f} ms of sleep an element: times the rate"
    times = ratios(found[str(HOSTS)], found["1"])
    return [verdict(text, f"at least {WANTED}", times, WANTED, at_most=False)]


def rate(elements: Iterator[Any], seconds: float) -> float:
    """Elements a second, from one chunk's arrival to another's: the first element of each is waited
    for, and the others are there with it."""
    next(elements)
    begin = time.monotonic() + WARM_UP
    first: tuple[float, int] | None = None
    count, chunk = 0, 0.0
    while True:
        asked = time.monotonic()
        next(elements)
        now = time.monotonic()
        # A trainer that is slower than its servers waits for nothing.
        if now - asked > WAITED or now > begin + 2 * seconds:
            if first is None and chunk >= begin:
                first = chunk, count
            elif first is not None and chunk >= first[0] + seconds:
                return (count - first[1]) / (chunk - first[0])
            chunk = now
        count += 1


def cut(options: argparse.Namespace) -> list[Verdict]:
    """One of two hosts cut off and healed: what is lost and repeated."""
    lost, repeated, faults = [], [], []
    for number in range(options.cuts):
        progress(f"cut {number + 1} of {options.cuts}")
        seen, checker, said = _one_cut(options.cut_seconds)
        expected = sum(checker.got(worker) for worker in range(2))
        lost.append(expected - len(set(seen)))
        repeated.append(len(seen) - len(set(seen)))
        faults.append(len(checker.judge()))
        progress("")
        print(said, *map(str, checker.judge()), sep="\n", flush=True)
    text = f"a host cut off for {options.cut_seconds:g} s and healed:"
    return [
        verdict(f"{text} {what}", "at most 0", values, 0)
        for what, values in (("elements lost", lost), ("repeated", repeated), ("faults", faults))
    ]


def _one_cut(seconds: float) -> tuple[list[tuple[int, int]], Checker, str]:
    """(worker, number) of all that came, their judge, and what it took."""
    seen: list[tuple[int, int]] = []
    waits: list[float] = []
    n = 2 * int((BEFORE + seconds + AFTER) / NAP)
    checker = Checker([share(worker, 2, n) for worker in range(2)])
    with site(2) as made:
        endpoints = [made.serve(h, "hashed:seeking", {"n": n, "pause": NAP}) for h in made.hosts]
        with made.client(endpoints) as client, limited(client, HUNG + seconds):
            elements = iter(client)

            def take_until(done: Callable[[], bool]) -> None:
                while not done():
                    asked = time.monotonic()
                    assert consume(noted(elements, seen), checker, limit=len(seen) + 1) is None
                    waits.append(time.monotonic() - asked)

            began = time.monotonic()
            take_until(lambda: time.monotonic() > began + BEFORE)
            made.hosts[1].drop()
            waits.clear()
            take_until(lambda: time.monotonic() > began + BEFORE + seconds)
            longest, at_healing, late = max(waits), checker.got(1), time.monotonic()
            made.hosts[1].heal()
            take_until(lambda: checker.got(1) > at_healing)
            again = time.monotonic() - late
            end = consume(noted(elements, seen), checker)
            took = time.monotonic() - began
            assert end is None, repr(end)
    said = (
        f"{len(seen)} of {n} elements; the cut one's came again {again:.2f} s after healing, the "
        f"longest wait for an element during the cut was {1000 * longest:.0f} ms, the pass took "
        f"{took:.1f} s, {n / 2 * NAP:.1f} s of it are sleep"
    )
    return seen, checker, said


def noted(elements: Iterator[Any], seen: list[tuple[int, int]]) -> Iterator[Any]:
    """The same, written down."""
    for element in elements:
        worker, _, number, _ = element[0].tolist()
        seen.append((worker, number))
        yield element


def line(options: argparse.Namespace) -> list[Verdict]:
    """Payload over a shaped cable, beside a bare TCP stream: a table for each cable."""
    for mbit in options.mbit:
        with site(1) as made:
            ways = _over_the_line(made, options.seconds)
            made.hosts[0].shape(mbit)
            found = in_turn(ways, options.rounds)
        rows = []
        for name, values in found.items():
            one, of_bare = spread(values), spread(ratios(values, found[BARE]))
            rows.append((
                name, f"{one.median:.1f}", f"{one.low:.1f} - {one.high:.1f}",
                f"{one.median / (mbit / 8):.3f}",
                f"{of_bare.median:.3f} ({of_bare.low:.3f} - {of_bare.high:.3f})",
            ))  # fmt: skip
        limit = f"{mbit} Mbit/s, {mbit / 8:g} MB/s"
        print(columns((limit, "MB/s", "min - max", "of the limit", "of bare"), rows), flush=True)
    return []


def _over_the_line(made: Site, seconds: float) -> dict[str, Measure]:
    """MB of payload a second in each way, from servers that are started."""
    (host,) = made.hosts
    ways: dict[str, Measure] = {BARE: partial(bare, host, seconds)}
    port = PORT
    for workload in (WORKLOADS["volume"], WORKLOADS["image"]):
        for keys in (True, False):
            target = f"{HERE / '_workloads.py'}:{workload.generator.__name__}"
            endpoint = made.serve(host, target, {}, port=port, keys=keys)
            name = f"{workload.title}, {'keys' if keys else 'insecure_network'}"
            each = workload.nbytes / 1e6
            ways[name] = partial(made.read, [endpoint], seconds, keys=keys, each=each)
            port += 10
    return ways


def bare(host: Host, seconds: float) -> float:
    """MB a second of one TCP stream from a host that only sends."""
    with host.entered():
        listening = socket.create_server((host.address, 0))
    buffer = bytearray(2**20)
    with listening, socket.create_connection(listening.getsockname(), timeout=30) as end:
        sending = threading.Thread(target=_send, args=(listening.accept()[0],), name="bare")
        sending.start()
        begin = time.monotonic() + WARM_UP
        while time.monotonic() < begin:
            end.recv_into(buffer)
        began, got = time.monotonic(), 0
        while (now := time.monotonic()) < began + seconds:
            got += end.recv_into(buffer)
    sending.join()
    return got / (now - began) / 1e6


def _send(connection: socket.socket) -> None:
    """Until nobody reads."""
    with connection, suppress(BrokenPipeError, ConnectionResetError):
        while True:
            connection.sendall(bytes(2**20))


def quiet() -> None:
    """Wait until nothing of the slice before is under way."""
    deadline, before = time.monotonic() + QUIET_WITHIN, _received()
    while True:
        time.sleep(QUIET_SECONDS)  # an interval to count in
        now = _received()
        if now - before < QUIET_BYTES:
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the line is not quiet after {QUIET_WITHIN:.0f} s")
        before = now


def _received() -> int:
    """Bytes that came over this host's cable so far."""
    for row in Path("/proc/thread-self/net/dev").read_text().splitlines():
        name, _, figures = row.partition(":")
        if name.strip() == "eth0":
            return int(figures.split()[0])
    raise RuntimeError("this host has no cable")


PARTS = {"scale": scale, "cut": cut, "line": line}


def main() -> int:
    """Measure, and print what was found; the number of lines that are not met."""
    parser = argparse.ArgumentParser(description="Several hosts, in network namespaces.")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a slice")
    parser.add_argument("--cuts", type=int, default=3)
    parser.add_argument("--cut-seconds", type=float, default=30.0)
    parser.add_argument("--mbit", type=int, nargs="+", default=[200, 1000])
    options = parser.parse_args()
    if why_not():
        sys.exit(f"there can be no other hosts here: {why_not()}")
    print(host_lines(describe_host()), flush=True)
    verdicts = [one for name in options.only for one in PARTS[name](options)]
    if verdicts:
        print(f"\n{columns(HEADINGS, [cells(one) for one in verdicts])}")
    return sum(not one.met for one in verdicts)


if __name__ == "__main__":
    sys.exit(min(main(), 1))
