"""Is genserver as fast as it must be? A line per promise: its figure, the wanted one, met or not.

Measured: ratios of rates of the same round of one run, because the machine's speed changes from
hour to hour, and two times. Two producers and the trainer on the same machine; into TensorFlow,
with an eager ``next``, over the path that `from_server` chooses, unless the line says otherwise.

* "plain", and the other loaders, are those of `bench.py`; "the best other" is the loader of
  several processes that comes closest: single elements against single elements, batches made in
  the workers against batches made in the workers.
* "bare copies": two processes that do nothing but copy the workload's own arrays into rotating
  slots of a populated memfd mapping, 8 of 8 MiB or 4 of 300 MiB; nobody reads them.
* "written in place": the generator fills arrays of `Worker.empty` with a byte that tells the
  element's number; the trainer compares one byte per page of every hundredth element.
* "recv_into": one process sends 8 MiB buffers over a loopback socket, another receives each into
  the same buffer.
* "bare loops": two processes that do the pure-Python work and serve nothing.
* "first element": a trainer with TensorFlow imported already retries; seconds from just before the
  process of `genserver serve --workers 2` is started. The median of 5.

A line whose feature this build lacks counts as not met and says so.

Method: as in `bench.py`; a figure is the median of the rounds, with their range.
Caveat: other work on the machine counts against genserver, most of all in the lines on Python.

Run, about 20 minutes on 2 cores; needs the extra "bench" for the lines on other loaders:

    python benchmarks/limits.py --json limits.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from _lines import GROUPS, HEADINGS, Group, Verdict, cells, judge, verdict
from _process import ProcessFailed
from _report import columns, describe_host, host_lines, write_json
from _rounds import alternate, progress
from _spin import calibrate
from _start import seconds_to_first
from bench import add_conditions

#: The line that has no slices.
START, START_TIMES, START_SECONDS = "first", 5, 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and write the file; the number of lines that are not met."""
    options = _parse(arguments)
    host = describe_host()
    print(host_lines(host), flush=True)
    loops_per_ms = calibrate()
    verdicts: list[Verdict] = []
    for group in GROUPS:
        if group.name in options.only:
            verdicts += _measure(group, loops_per_ms, options)
    if START in options.only:
        verdicts.append(_start())
    progress("")
    print(f"\n{columns(HEADINGS, [cells(one) for one in verdicts])}")
    if options.json is not None:
        write_json(options.json, host, verdicts, repeats=options.repeats)
    return sum(not one.met for one in verdicts)


def _measure(group: Group, loops_per_ms: float, options: argparse.Namespace) -> list[Verdict]:
    seconds = options.seconds or group.seconds
    contestants = [entry(loops_per_ms) for entry in group.entries]
    outcomes = alternate(contestants, options.repeats, options.warm_up, seconds)
    return [judge(line, outcomes) for line in group.lines]


def _start() -> Verdict:
    text, wanted = "first element after genserver serve starts: seconds", "at most 0.5"
    try:
        times = []
        for number_ in range(START_TIMES):
            progress(f"start {number_ + 1} of {START_TIMES}")
            times.append(seconds_to_first("_workloads:digits"))
    except ProcessFailed as reason:
        return Verdict(text, wanted, None, None, None, False, str(reason))
    return verdict(text, wanted, times, START_SECONDS)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    names = [*(group.name for group in GROUPS), START]
    parser = argparse.ArgumentParser(description="Measure what genserver must reach.")
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME",
        help=f"only these of {', '.join(names)}",
    )  # fmt: skip
    add_conditions(parser, seconds=None, warm_up=0.7, repeats=5)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    try:
        sys.exit(min(main(), 1))
    except KeyboardInterrupt:
        sys.exit("interrupted; every process has ended")
