"""Random faults against one server and one trainer, for as long as you like.

Question: is there a moment at which a fault loses, repeats, reorders or damages an element, leaves
a trainer without a word, or leaves something behind?
What is done: passes over numbered, hashed elements, in turn through a proxy over tcp and directly
through shared memory, while a thread picks faults from a table (tests/support/nemesis.py) with a
seed that is printed. Every pass must be exactly once and in order per worker. Then the slopes of
memory, descriptors and threads, from a straight line through one look a second, without the first
fifth of the time, in which caches fill.
Caveats: the seed repeats the faults, not the machine's timing. The server's columns are sums over
processes that the faults kill and replace, so that what one of them leaks is gone with it: a slope
shows the trainer's leaks alone.

    python benchmarks/soak_faults.py [--minutes 2] [--seed N] [--faults NAME ...]

Exit code 1 when a promise was broken. Linux.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))

import numpy as np
from _memory import MIB, descendants, pss
from genserver.client import Client
from genserver.protocol.transport.process import acquire_loop, release_loop

from tests.support.checker import Checker, consume
from tests.support.hashed import share
from tests.support.nemesis import FAULTS, Fault, Nemesis, Target, possible, resting
from tests.support.proxy import Proxy
from tests.support.remains import Remains
from tests.support.server_process import ServerProcess, supports

#: Seconds without an element after which a pass has hung: above the 120 s of giving up.
HUNG_SECONDS = 150.0
#: The part of the looks at the beginning that the slopes leave out: caches fill.
WARM_UP = 0.2
#: Options that let a server live on for as long as this runs, where the build has them.
OPTIONS = {"--max-restarts": "100000", "--item-timeout": "2"}

Look = tuple[float, ...]
COLUMNS = ("trainer MiB", "trainer descriptors", "trainer threads",
           "server MiB", "server descriptors", "server threads")  # fmt: skip


class Watch:
    """Looks at both sides once a second, and closes a client that hangs. A thread of its own."""

    def __init__(self, server: ServerProcess) -> None:
        self.looks: list[Look] = []
        self.hung = False
        self._server = server
        self._client: Client | None = None
        self._checker: Checker | None = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch")
        self._thread.start()

    def follow(self, client: Client, checker: Checker) -> None:
        """The pass to watch from now on."""
        self._client, self._checker = client, checker

    def close(self) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        began = moved = time.monotonic()
        before: tuple[Checker | None, int] = (None, 0)
        while not self._end.wait(1.0):
            now = time.monotonic()
            self.looks.append((now - began, *_look(self._server)))
            checker = self._checker
            present = (checker, checker.taken if checker is not None else 0)
            if present != before:
                before, moved = present, now
            if now - moved > HUNG_SECONDS and self._client is not None:
                self.hung = True
                self._client.close()


def _look(server: ServerProcess) -> Iterator[float]:
    """What both sides hold at the moment: see COLUMNS."""
    for pids in ([os.getpid()], [server.pid, *descendants(server.pid)]):
        memory = descriptors = threads = 0
        for pid in pids:
            try:
                memory += pss(pid)
                descriptors += len(os.listdir(f"/proc/{pid}/fd"))
                threads += len(os.listdir(f"/proc/{pid}/task"))
            except (OSError, RuntimeError):
                continue  # killed between two looks
        yield from (memory / MIB, descriptors, threads)


def slopes(looks: Sequence[Look]) -> list[tuple[str, float, float, float]]:
    """(what, median of the first tenth, of the last, slope per hour) of each column."""
    table = np.array(looks[int(len(looks) * WARM_UP) :])
    tenth = max(1, len(table) // 10)
    hours = table[:, 0] / 3600
    return [
        (
            name,
            float(np.median(column[:tenth])),
            float(np.median(column[-tenth:])),
            float(np.polyfit(hours, column, 1)[0]),
        )
        for name, column in zip(COLUMNS, table.T[1:], strict=True)
    ]


def soak(options: argparse.Namespace, faults: Sequence[Fault]) -> list[str]:
    """Run it; what was found, nothing at best."""
    acquire_loop()  # what the I/O loop keeps for the life of the process is no remains
    release_loop()
    remains = Remains()
    with tempfile.TemporaryDirectory() as orders:
        arguments = {"n": options.elements, "nbytes": options.nbytes, "pause": options.pause}
        words = [
            word for name, value in OPTIONS.items() if supports(name) for word in (name, value)
        ]
        server = ServerProcess(
            "hashed:seeking", workers=options.workers, arguments={**arguments, "orders": orders},
            options=words,
        )  # fmt: skip
        with server, Proxy(server.ports) as proxy:
            watch = Watch(server)
            nemesis = Nemesis(Target(server, proxy, orders), faults, options.seed, options.every)
            try:
                with nemesis:
                    findings = _passes(options, nemesis, watch)
            finally:
                watch.close()
            if nemesis.failure:
                findings.append(nemesis.failure)
            if findings:
                print(server.said()[-4000:])
        _report(nemesis, watch.looks)
    deadline = time.monotonic() + 10
    while remains.since() and time.monotonic() < deadline:
        time.sleep(0.1)
    left = remains.since()
    return [*findings, *([f"left behind: {left}"] if left else [])]


def _passes(options: argparse.Namespace, nemesis: Nemesis, watch: Watch) -> list[str]:
    """Passes until the time is up, one after the other; the first broken promise ends it."""
    target = nemesis.target
    until = time.monotonic() + options.minutes * 60
    each = [share(w, options.workers, options.elements) for w in range(options.workers)]
    ways = [
        (target.proxy.endpoint(target.server.ports[0]), "tcp"),
        (target.server.endpoint, "auto"),
    ]
    total = number = 0
    while time.monotonic() < until and not nemesis.failure:
        endpoint, transport = ways[number % 2]
        checker = Checker(each, nbytes=options.nbytes, epochs=[number])
        began = time.monotonic()
        with Client(endpoint, transport=transport, seed=1, epoch=number, wait=True) as client:
            watch.follow(client, checker)
            end = consume(resting(client, target), checker)
        findings = [str(fault) for fault in checker.judge(end)]
        if end is not None or findings:
            hung = f", after {HUNG_SECONDS:.0f} s without an element" if watch.hung else ""
            return [f"pass {number} over {transport}: {end!r}{hung}", *findings, nemesis.last(10)]
        total += checker.taken
        rate = checker.taken / (time.monotonic() - began)
        print(f"pass {number} over {transport}: {checker.taken} right, {rate:.0f}/s; "
              f"{len(nemesis.done)} faults so far", flush=True)  # fmt: skip
        number += 1
    print(f"{total} elements in {number} passes: each exactly once and in order per worker")
    return []


def _report(nemesis: Nemesis, looks: Sequence[Look]) -> None:
    print("faults: " + ", ".join(f"{name} {n}" for name, n in nemesis.counts().items()))
    print(f"{'':22}{'first':>10}{'last':>10}{'an hour':>12}")
    for name, first, last, slope in slopes(looks):
        print(f"{name:22}{first:10.1f}{last:10.1f}{slope:+12.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Random faults, judged element by element.")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--faults", nargs="+", choices=[fault.name for fault in FAULTS])
    parser.add_argument("--every", type=float, default=1.5, help="mean seconds between two faults")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--elements", type=int, default=60_000, help="of one pass")
    parser.add_argument("--nbytes", type=int, default=16_384, help="of one element, times 32")
    parser.add_argument("--pause", type=float, default=0.0005, help="seconds to make an element")
    options = parser.parse_args()
    faults = possible(options.faults)
    lacking = [f.name for f in FAULTS if f.needs and not supports(f.needs)]
    print(f"seed {options.seed}; faults: {', '.join(fault.name for fault in faults)}")
    print(f"this build is not to survive: {', '.join(lacking) or 'none'}", flush=True)
    findings = soak(options, faults)
    print("\n".join(findings) or "every promise was kept")
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
