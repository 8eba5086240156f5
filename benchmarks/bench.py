"""How fast do elements of one generator reach a trainer, by every way there is?

Measured, for each workload and each way: elements and bytes per second, the CPU time of the
trainer's process per element (all of its threads), the memory of the trainer and of everything it
started, the time of a single ``next``, and the seconds to the first element. Not measured:
training, disks, other hosts, GPUs.

Ways, each with the same generator and two producers where it can have any:

* plain: `from_generator(...).prefetch(2)`, one thread of the trainer. The baseline.
* threads: an `interleave` over two of them with `num_parallel_calls=2`.
* torch, grain, datasets, keras: the other multi-process loaders; the idiom of each is in the
  docstring of its file in `ways/`. torch and datasets deliver torch tensors and grain numpy arrays,
  both less work than TensorFlow's 0.05 ms for an eager ``next``.
* memory, ipc, tcp: `from_server(endpoint, transport=...)` with all other defaults.

Where a workload is in batches, "batch=N" was stacked by the workers and ".batch(N)" by the
trainer; torch, grain and datasets without either deliver single elements.

Workloads (`_workloads.py`): generators that hand out arrays made before, so that the transport is
what is measured, and pure Python of 6 and 50 ms, a count of loop iterations fixed by one
calibration at the start. Beside those, bare-2 is two processes that do only the work.

Method: each way has a process of its own, which idles, with no pass open, while the others are
measured. A round goes once through all ways: a new pass, its first element, a warm-up and a slice
of fixed length. A row has the median of the rounds and their range; ratios are taken within a
round. Memory is looked at after the slice, while reading goes on. "first" counts from the opening
of the loader, its libraries imported, "again" from the start of each later pass.

Caveats:

* Generators that do nothing are the hardest case for every loader and are nobody's: who loads or
  augments is nearer to the last two workloads.
* Memory is the proportional set size: a page that trainer and producer share counts half in each.
* Loaders that start their workers for each pass pay for it in "again", not in the rates.
* Another job on the machine makes every figure worthless: look at the load that is printed.
* The 300 MiB workload has slices of four times the length, and one way open at a time, so both its
  "first" and its "again" count from the opening.

Run, about half an hour on 2 cores; `make bench-peers` installs the other loaders first:

    python benchmarks/bench.py --json bench.json --plot bench.svg
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from _case import BASELINE, WAYS, cases_of
from _report import Row, describe_host, host_lines, make_row, table, write_json
from _rounds import alternate, contestant, progress, reference
from _spin import calibrate
from _workloads import WORKLOADS
from plot import draw

#: Slices are so many times longer where a second holds but a few elements.
FEW = 4
#: Those that are for `limits.py`.
_NOT_HERE = {"filled"}, {"auto", "client-tcp"}
WORKLOAD_NAMES = [name for name in WORKLOADS if name not in _NOT_HERE[0]]
WAY_NAMES = [name for name in WAYS if name not in _NOT_HERE[1]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table for each workload when it is done, and write the files."""
    options = _parse(arguments)
    host = describe_host()
    print(host_lines(host), flush=True)
    loops_per_ms = calibrate()
    rows: list[Row] = []
    for workload in options.workload:
        measured = _measure(workload, loops_per_ms, options)
        progress("")
        print(f"\n{table(WORKLOADS[workload].title, measured)}", flush=True)
        rows += measured
    if options.json is not None:
        write_json(
            options.json, host, rows, seconds=options.seconds, warm_up=options.warm_up,
            repeats=options.repeats, loops_per_ms=loops_per_ms,
        )  # fmt: skip
    if options.plot is not None:
        draw(rows, options.plot)


def _measure(workload: str, loops_per_ms: float, options: argparse.Namespace) -> list[Row]:
    """All ways through one workload, in turn."""
    ways = [BASELINE, *(way for way in options.way if way != BASELINE)]
    cases = cases_of(workload, ways, loops_per_ms)
    contestants = [contestant(case) for case in cases]
    into = {case.name: WAYS[case.way].into for case in cases}
    chosen = WORKLOADS[workload]
    if chosen.milliseconds:
        loops = chosen.arguments(loops_per_ms)["loops"]
        contestants.append(reference("bare-2", "spin", str(loops)))
    seconds = options.seconds * (FEW if chosen.alone else 1)
    outcomes = alternate(contestants, options.repeats, options.warm_up, seconds)
    plain = outcomes[contestants[0].name].slices
    return [
        make_row(
            workload, name, into.get(name, "nothing"), chosen.nbytes, outcome.slices, plain,
            outcome.reason,
        )
        for name, outcome in outcomes.items()
    ]  # fmt: skip


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="genserver beside other loaders: speed, CPU, memory, latency",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--workload", choices=WORKLOAD_NAMES, nargs="+", default=WORKLOAD_NAMES, metavar="NAME",
        help=f"only these of {', '.join(WORKLOAD_NAMES)}",
    )  # fmt: skip
    parser.add_argument(
        "--way", choices=WAY_NAMES, nargs="+", default=WAY_NAMES, metavar="NAME",
        help=f"only these of {', '.join(WAY_NAMES)}, and plain",
    )  # fmt: skip
    add_conditions(parser, seconds=1.5, warm_up=0.7, repeats=3)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a picture: .svg or .png")
    return parser.parse_args(arguments)


def add_conditions(
    parser: argparse.ArgumentParser, *, seconds: float | None, warm_up: float, repeats: int
) -> None:
    """How long and how often, and where the figures go: the same for all that alternates."""
    own = "; by default each line's own" if seconds is None else ""
    parser.add_argument(
        "--seconds", type=_positive, default=seconds, help=f"length of a slice that counts{own}"
    )
    parser.add_argument(
        "--warm-up", type=_positive, default=warm_up, help="seconds in front of each slice"
    )
    parser.add_argument("--repeats", type=int, choices=range(1, 100), metavar="N", default=repeats)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted; every process has ended")
