"""What a change costs: CPU per element of this build against another one, in pairs.

Question: what does the present build add to the fault-free running of an older one?
Method: a measuring process serves a workload with two workers and reads single elements eagerly;
the CPU time of all its threads, of the supervisor and of the workers is divided by the elements.
For each pair both builds are started, and then take turns of a second, A B B A A B B A, so that
what drifts falls on both alike; the other one's workers wait without credit meanwhile. A pair's
figure is new / old of all its turns; shown are the median and its 95 % interval (the ranks of the
sign test). A shared machine's speed changes by a third within seconds, for all threads alike. So
there is a second figure, "at one speed": what all threads took beside what the reading loop took in
the same moments, which is TensorFlow's own code in both builds.
Caveat: CPU time also grows when others use the caches and the memory; nothing else may run.

    python benchmarks/against.py --old PYTHON [--workload image] [--pairs 20]

``PYTHON`` is the interpreter of an environment with the older build. Linux.
"""

from __future__ import annotations

import argparse
import math
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from _workloads import WORKLOADS

#: What a measuring process may take to start, and for a turn or its end, in seconds.
START_SECONDS, HUNG_SECONDS = 120.0, 30.0
WARM_UP = 1.0
#: Of each turn, before it counts: what lay ready is used up.
LEAD = 0.3
TURNS = "ABBAABBA"
MEASURE = "--measure"
Measuring = subprocess.Popen[str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each pair's figure and what they say together."""
    options = _parse(arguments)
    target = WORKLOADS[options.workload].target
    found = pairs(options.old, target, options.pairs, options.seconds)
    say(found)


def pairs(
    old: str, target: str, count: int, seconds: float, *, http: str = ""
) -> list[tuple[float, float]]:
    """New / old as it was measured, and with the machine's speed taken out; of this interpreter's
    build and that of the interpreter ``old``, printed.

    ``seconds`` are those of each turn; ``http`` is where the new build's server has its metrics,
    for somebody to ask for them.
    """
    found: list[tuple[float, float]] = []
    for pair in range(count):
        with (
            _measuring(sys.executable, target, http) as new,
            _measuring(old, target, "") as before,
        ):
            builds = {"A": new, "B": before} if pair % 2 else {"A": before, "B": new}
            spent = {build: Spent() for build in builds.values()}
            for name in TURNS:
                spent[builds[name]].add(_turn(builds[name], seconds))
        one, other = spent[new], spent[before]
        found.append((one.element / other.element, one.beside / other.beside))
        print(
            f"pair {pair + 1}: old {other.element:.1f} us, new {one.element:.1f} us, "
            f"ratio {found[-1][0]:.3f}, at one speed {found[-1][1]:.3f}", flush=True,
        )  # fmt: skip
    return found


@dataclass(slots=True)
class Spent:
    """Of some turns: seconds of CPU, of all and of the thread that reads; elements."""

    total: float = 0.0
    reader: float = 0.0
    elements: float = 0.0

    def add(self, other: Spent) -> None:
        self.total += other.total
        self.reader += other.reader
        self.elements += other.elements

    @property
    def element(self) -> float:
        """Microseconds."""
        return 1e6 * self.total / self.elements

    @property
    def beside(self) -> float:
        """Beside what TensorFlow's own loop took in the same moments."""
        return self.total / self.reader


def say(found: Sequence[tuple[float, float]]) -> float:
    """Print what the pairs say together; the median as measured."""
    for title, ratios in zip(("new / old", "at one speed"), zip(*found, strict=True), strict=True):
        low, high = interval(ratios)
        print(f"CPU per element, {title}: {median(ratios):.3f} (95 %: {low:.3f} to {high:.3f})")
    return median(ratio for ratio, _ in found)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Two values of the sample between which its median lies with at least 95 %.

    For fewer than 6 values, the least and the greatest, which are less certain.
    """
    ordered, n = sorted(values), len(values)
    tail, rank = 0.0, 0
    for k in range(n // 2):
        tail += math.comb(n, k) / 2**n
        if tail > 0.025:
            break
        rank = k
    return ordered[rank], ordered[n - 1 - rank]


@contextmanager
def _measuring(python: str, target: str, http: str) -> Iterator[Measuring]:
    """A process that takes turns."""
    words = ["--target", target, "--http", http]
    with (
        tempfile.TemporaryFile() as said,
        subprocess.Popen(
            [python, __file__, MEASURE, *words], text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
        ) as process,
    ):  # fmt: skip
        try:
            if not _line(process, START_SECONDS):
                said.seek(0)
                sys.exit(f"{python}: {said.read()[-2000:].decode()}")
            yield process
            assert process.stdin is not None  # it is a pipe
            process.stdin.close()
            process.wait(HUNG_SECONDS)
        finally:
            process.kill()


def _turn(process: Measuring, seconds: float) -> Spent:
    assert process.stdin is not None  # it is a pipe
    process.stdin.write(f"{seconds}\n")
    return Spent(*map(float, _line(process, HUNG_SECONDS + seconds).split()))


def _line(process: Measuring, seconds: float) -> str:
    """Its next line, which is written whole; "" where there is none in time."""
    assert process.stdout is not None  # it is a pipe
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return process.stdout.readline() if ready else ""


def _measure(options: argparse.Namespace) -> None:
    """In the measuring process: a turn for each line."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from genserver.client import from_server
    from genserver.server import Server

    folder = str(Path(__file__).parent)
    more = {"http": options.http} if options.http else {}  # the old build may know of none
    with Server(options.target, workers=2, cwd=folder, quiet=True, **more) as server:
        elements = iter(from_server(server.endpoint))
        _read(elements, WARM_UP)
        print("ready", flush=True)
        for line in sys.stdin:
            _read(elements, LEAD)
            began, reader = _cpu_seconds(), time.thread_time()
            count = _read(elements, float(line))
            print(_cpu_seconds() - began, time.thread_time() - reader, count, flush=True)
        del elements


def _read(elements: Iterator[object], seconds: float) -> int:
    count, deadline = 0, time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        next(elements)
        count += 1
    return count


def _cpu_seconds() -> float:
    """Of this process and all its descendants, to the nanosecond."""
    parents = {int(entry.name): _parent(entry) for entry in Path("/proc").glob("[0-9]*")}
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    spent = 0
    for pid in ours:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            spent += int((thread / "schedstat").read_text().split()[0])
    return spent / 1e9


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it ended just now
        return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU per element against another build.")
    parser.add_argument("--old", metavar="PYTHON", help="the interpreter of the other build")
    parser.add_argument("--workload", choices=sorted(WORKLOADS), default="image")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    parser.add_argument("--target", help=argparse.SUPPRESS)
    parser.add_argument("--http", default="", help=argparse.SUPPRESS)
    parser.add_argument(MEASURE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        _measure(options)
        sys.exit()
    if options.old is None or options.pairs < 1:
        parser.error("--old PYTHON and at least one pair are needed")
    return options


if __name__ == "__main__":
    main()
