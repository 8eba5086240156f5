"""How much faster does a trainer get elements from genserver than from plain `from_generator`?

Measured: elements per second that reach an eager `for element in dataset`, and the CPU time
that the trainer's process spends on each (all of its threads). Not measured: training,
networks, disks, start-up, and what a training step gains when the generator leaves its GIL; the
demo in examples/mri has that.

Ways:

* plain: `from_generator(...).prefetch(2)`. Frozen: do not tune it, figures of other days refer
  to it.
* threads: `interleave` over two `from_generator`s with `num_parallel_calls=2`, in any order,
  `prefetch(2)`.
* served-1, served-2: `from_server(endpoint)` with all defaults, from one or two workers of one
  server.
* bare-2: two processes that run the pure-Python loop and serve nothing: the ideal for two
  workers. On two cores the CPU time of the trainer comes off it.

Workloads (`_workloads.py`): three whose generators only hand out arrays made before, so that
the transport is what is measured, and one of pure-Python work of 6 ms per element: a count of
loop iterations, fixed by one calibration at the start. `.batch(256)` of the first one comes
before `prefetch` in the first two ways and after `from_server` in the others.

Method: servers are started once for each workload, outside the measurement. A repeat goes once
through all ways, each with a new iterator, a warm-up and a slice of fixed length; three
repeats, so that every way sees the machine's better and worse times. A row shows the median of
the repeats and their range; its ratios are taken within a repeat, then their median.

Caveats:

* Generators that do nothing are the hardest case for genserver and are nobody's: who loads or
  augments in the generator is nearer to the fourth workload.
* The servers of the other ways are alive beside the one that is measured, and idle.
* The arrays lie where numpy puts them, not on 64 bytes, so TensorFlow copies them in the first
  two ways, as it does for any generator.
* Another job on the machine makes every figure worthless: look at the load that is printed. It
  shows in wide ranges, and in ways that exceed two processes without any serving.

Run, about 2.5 minutes; the tables come last:

    python benchmarks/plain.py --json plain.json

Last result, 2026-11-21; 2 cores of AMD EPYC, load 1.36 before the start, Python 3.11.7, TensorFlow
2.21.0, numpy 2.4.6, pyzmq 27.3.0; median elements/s (of plain; trainer CPU per element):

    workload                        plain            threads       served-1       served-2
    (28,28) f4 + label, batch 256   3,884 (0.30 ms)  3,701 (0.91)  16,570 (3.95)  13,435 (3.20)
    (256,256,3) f4 + (256,256,1) i4 810 (1.3 ms)     771 (0.86)    565 (0.62)     494 (0.57)
    (128,128,128) f4                153 (6.6 ms)     157 (1.02)    119 (0.82)     113 (0.76)
    pure Python, 6 ms per element   160 (6.3 ms)     162 (0.99)    161 (1.01)     307 (1.92)

(Measured when a stream flushed every 40 ms; it is 20 ms now, which must_show.py was run with.)
served-2 makes 0.87 of what two bare processes make (354) on the last one. Where a generator does
nothing but hand out large arrays, the socket transport costs more than it saves: two thirds of the
trainer's time are page faults of fresh memory, libzmq's and ours. The same-host path is for that.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from _report import Row, describe_host, host_lines, paired, table, write_json
from _spin import calibrate
from _ways import Measure, Slice, ways_of
from _workloads import Workload, make_workloads

BASELINE, IDEAL = "plain", "bare-2"

#: The slices of each way, one per repeat.
Slices = dict[str, list[Slice]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a table per workload, and write the file."""
    loops = calibrate()
    workloads = make_workloads(loops)
    options = _parse(arguments, [workload.name for workload in workloads])
    host = describe_host()
    rows: list[Row] = []
    tables: list[str] = []
    for workload in workloads:
        if workload.name in options.workload:
            measured = _rows(workload, _measure(workload, options))
            tables.append(table(workload.title, measured))
            rows += measured
    print("\n\n".join([host_lines(host), *tables]))
    if options.json is not None:
        write_json(
            options.json, host, rows, seconds=options.seconds, warm_up=options.warm_up,
            repeats=options.repeats, loops=loops,
        )  # fmt: skip


def _parse(arguments: Sequence[str] | None, names: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="genserver beside plain from_generator: elements/s and trainer CPU",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--workload", choices=names, nargs="+", default=names, metavar="NAME",
        help=f"only these of {', '.join(names)}",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=_positive, default=2.0, help="length of a slice that counts"
    )
    parser.add_argument(
        "--warm-up", type=_positive, default=1.0, help="seconds in front of each slice"
    )
    parser.add_argument("--repeats", type=int, choices=range(1, 100), metavar="N", default=3)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here")
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    value = float(text)
    if value <= 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def _measure(workload: Workload, options: argparse.Namespace) -> Slices:
    """All ways in turn, as often as there are repeats."""
    ways = ways_of(workload)
    slices: Slices = {way.name: [] for way in ways}
    with ExitStack() as stack:
        opened: list[tuple[str, Measure]] = [
            (way.name, stack.enter_context(way.open(workload))) for way in ways
        ]
        for _ in range(options.repeats):
            for name, measure in opened:
                slices[name].append(measure(options.warm_up, options.seconds))
    return slices


def _rows(workload: Workload, slices: Slices) -> list[Row]:
    rates = {name: [s.rate for s in of_way] for name, of_way in slices.items()}
    return [
        Row(
            workload.name,
            name,
            rates[name],
            [s.cpu_ms for s in of_way if s.cpu_ms is not None],
            of_plain=paired(rates[name], rates[BASELINE]),
            of_bare=paired(rates[name], rates[IDEAL]) if IDEAL in rates else None,
        )
        for name, of_way in slices.items()
    ]


if __name__ == "__main__":
    main()
