"""What a change costs: CPU per element of this build against another one, in pairs.

Question: what does the present build add to the fault-free running of an older one?
Method: a measuring process serves a workload with two workers and reads single elements eagerly;
the CPU time of all its threads, of the supervisor and of the workers is divided by the elements.
The two builds take turns as A B B A A B B A ..., so that what drifts falls on both alike. A pair's
figure is new / old; shown are the median and its 95 % interval (the ranks of the sign test).
Caveat: CPU time also grows when others use the caches and the memory; nothing else may run.

    python benchmarks/against.py --old PYTHON [--workload image] [--pairs 20]

``PYTHON`` is the interpreter of an environment with the older build. Linux.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from _workloads import WORKLOADS

#: What one measuring process may take, in seconds.
HUNG_SECONDS = 120.0
WARM_UP = 1.0
MEASURE = "--measure"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each pair's figure and what they say together."""
    options = _parse(arguments)
    say(pairs(options.old, options.workload, options.pairs, options.seconds))


def pairs(old: str, workload: str, count: int, seconds: float, *, http: str = "") -> list[float]:
    """New / old, of this interpreter's build and that of the interpreter ``old``, printed.

    ``http`` is where the new build's server has its metrics, for somebody to ask for them.
    """
    ratios: list[float] = []
    builds = {"new": sys.executable, "old": old}
    for pair in range(count):
        order = ["new", "old"] if pair % 2 else ["old", "new"]
        cpu = {
            name: _measured(builds[name], workload, seconds, http if name == "new" else "")
            for name in order
        }
        ratios.append(cpu["new"] / cpu["old"])
        print(
            f"pair {pair + 1}: old {cpu['old']:.1f} us, new {cpu['new']:.1f} us, "
            f"ratio {ratios[-1]:.3f}", flush=True,
        )  # fmt: skip
    return ratios


def say(ratios: Sequence[float]) -> float:
    """Print what they say together; their median."""
    low, high = interval(ratios)
    print(f"CPU per element, new / old: {median(ratios):.3f} (95 %: {low:.3f} to {high:.3f})")
    return median(ratios)


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


def _measured(python: str, workload: str, seconds: float, http: str) -> float:
    """Microseconds of CPU per element, in a process of its own."""
    words = ["--workload", workload, "--seconds", str(seconds), "--http", http]
    done = subprocess.run(
        [python, __file__, MEASURE, *words],
        capture_output=True, text=True, timeout=HUNG_SECONDS, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{python}: {done.stderr[-2000:]}")
    return float(done.stdout.split()[-1])


def _measure(options: argparse.Namespace) -> float:
    """In the measuring process."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from genserver.client import from_server
    from genserver.server import Server

    folder = str(Path(__file__).parent)
    target = WORKLOADS[options.workload].target
    more = {"http": options.http} if options.http else {}  # the old build may know of none
    with Server(target, workers=2, cwd=folder, quiet=True, **more) as server:
        elements = iter(from_server(server.endpoint))
        deadline = time.perf_counter() + WARM_UP
        while time.perf_counter() < deadline:
            next(elements)
        count, began, deadline = 0, _cpu_seconds(), time.perf_counter() + options.seconds
        while time.perf_counter() < deadline:
            next(elements)
            count += 1
        spent = _cpu_seconds() - began
        del elements
    return 1e6 * spent / count


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
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--http", default="", help=argparse.SUPPRESS)
    parser.add_argument(MEASURE, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        print(_measure(options))
        sys.exit()
    if options.old is None or options.pairs < 1:
        parser.error("--old PYTHON and at least one pair are needed")
    return options


if __name__ == "__main__":
    main()
