"""Does the verdict name the slow one, and the number of workers that would match?

Jobs whose bottleneck is known, because it is a sleep or a cable:

* ``generator``: one worker sleeps 50 ms for each element, a training step 12 ms: producer-bound.
* ``trainer``: one worker sleeps 5 ms, a step 12 ms: trainer-bound.
* ``line``: elements of 1 MB from another host, whose cable takes 200 Mbit/s: wire-bound. Hosts are
  network namespaces (tests/support/namespaces.py); needs root, iproute2 and nftables.

Each with the numpy `Client`, the first two with Keras' ``fit`` and `telemetry_callback` as well:
there ``generator`` takes twice as long, element and step, of which 3 ms more are Keras' own.
Each run is a new server and a new trainer of 10 s. It is right when at least one verdict came in
these 10 s, and none that came was another one: what a user sees may never be wrong. For
``generator`` a sweep over 1 to 8 workers finds the best number: the smallest whose rate is within
3 % of the best rate, the better one of two. The number that the last verdict of each run names may
differ by one.

    python benchmarks/verdicts.py [--only JOB ...] [--runs 10] [--seconds 10] [--sweeps 2]

Exit code 1 when something is not met. Linux; `make verdicts`.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))

from _report import columns, describe_host, host_lines
from _rounds import progress
from _staged import Look, Trainer, with_client, with_keras
from genserver.client import telemetry
from genserver.protocol.verdict import Bottleneck
from hosts import site

from tests.support.namespaces import why_not
from tests.support.server_process import ServerProcess

HERE = Path(__file__).parent
SLOW, QUICK, STEP, MBIT = 0.05, 0.005, 0.012, 200
#: Of ten runs; workers of the sweep; the part of the best rate that is as good.
WANTED, MOST, AS_GOOD = 0.9, 8, 0.97
#: Seconds between two looks at the verdict, and before a rate of the sweep counts.
EVERY, WARM_UP = 0.2, 1.5
#: A job may take so many times what its sleeps take.
HUNG = 6.0

#: (workers) -> a block in which a server is at this endpoint.
Serving = Callable[[int], Any]


@dataclass(slots=True)
class Watch:
    """What the verdicts of one run were."""

    seconds: float
    #: (seconds since the first step, bottleneck, workers, sentence) whenever it changed.
    said: list[tuple[float, str, int | None, str]] = field(default_factory=list)
    _began: float = 0.0
    _looked: float = 0.0

    def look(self, number: int) -> bool:
        """After a step."""
        now = time.monotonic()
        self._began = self._began or now
        # What a trainer that was left keeps for a moment has nobody who reads: unknown.
        if now - self._looked >= EVERY or number == 1:
            self._looked = now
            for server in telemetry():
                self._note(now - self._began, server.verdict)
        return now - self._began < self.seconds

    def _note(self, since: float, verdict: Any) -> None:
        if verdict.bottleneck is Bottleneck.UNKNOWN:
            return
        last = self.said[-1] if self.said else None
        if last is None or last[1:3] != (verdict.bottleneck.value, verdict.workers):
            self.said.append((since, verdict.bottleneck.value, verdict.workers, verdict.sentence))


@dataclass(slots=True)
class Count:
    """Steps a second of one run, its beginning left out."""

    seconds: float
    _begun: float = 0.0
    _first: tuple[float, int] | None = None
    rate: float = 0.0

    def look(self, number: int) -> bool:
        """After a step."""
        now = time.monotonic()
        self._begun = self._begun or now
        if now < self._begun + WARM_UP:
            return True
        if self._first is None:
            self._first = now, number
            return True
        began, before = self._first
        self.rate = (number - before) / (now - began)
        return now < began + self.seconds


@contextmanager
def here(seconds: float, workers: int) -> Iterator[str]:
    """A server of `naps` on this host."""
    target = f"{HERE / '_staged.py'}:naps"
    with ServerProcess(target, workers=workers, arguments={"seconds": seconds}) as server:
        yield server.endpoint


def runs(serving: Serving, trainer: Trainer, step: float, options: argparse.Namespace) -> Any:
    """What was said in each run."""
    found = []
    for number in range(options.runs):
        progress(f"run {number + 1} of {options.runs}")
        watch = Watch(options.seconds)
        with serving(1) as endpoint:
            trainer(endpoint, step, watch.look)
            gc.collect()  # where an epoch is left in its middle, Keras keeps its iterator
        found.append(watch.said)
    return found


def sweep(
    serving: Serving, trainer: Trainer, step: float, options: argparse.Namespace
) -> dict[int, float]:
    """Steps a second with each number of workers: the best of some turns, for what disturbs only
    slows."""
    best = dict.fromkeys(range(1, MOST + 1), 0.0)
    for turn in range(options.sweeps):
        for workers in best:
            progress(f"sweep {turn + 1} of {options.sweeps}: {workers} workers")
            count = Count(options.sweep_seconds)
            with serving(workers) as endpoint:
                trainer(endpoint, step, count.look)
                gc.collect()
            best[workers] = max(best[workers], count.rate)
    return best


def slow_generator(trainer: Trainer, times: int, options: argparse.Namespace) -> dict[str, Any]:
    serving, step = partial(here, times * SLOW), times * STEP
    rates = sweep(serving, trainer, step, options)
    return {"said": runs(serving, trainer, step, options), "rates": rates}


def slow_trainer(trainer: Trainer, options: argparse.Namespace) -> dict[str, Any]:
    return {"said": runs(partial(here, QUICK), trainer, STEP, options)}


def slow_line(options: argparse.Namespace) -> dict[str, Any]:
    with site(1) as made:
        target = f"{HERE / '_workloads.py'}:segments"
        ports = iter(range(5555, 5555 + 10 * options.runs, 10))
        (host,) = made.hosts
        host.shape(MBIT)

        @contextmanager
        def serving(workers: int) -> Iterator[str]:
            del workers  # one
            yield made.serve(host, target, {}, port=next(ports), keys=False)

        def trainer(endpoint: str, step: float, look: Look) -> None:
            with_client(endpoint, step, look, transport="tcp", insecure_network=True)

        return {"said": runs(serving, trainer, 0.0, options)}


JOBS: dict[str, tuple[Bottleneck, Callable[[argparse.Namespace], dict[str, Any]]]] = {
    "generator": (Bottleneck.PRODUCER, partial(slow_generator, with_client, 1)),
    "generator-keras": (Bottleneck.PRODUCER, partial(slow_generator, with_keras, 2)),
    "trainer": (Bottleneck.TRAINER, partial(slow_trainer, with_client)),
    "trainer-keras": (Bottleneck.TRAINER, partial(slow_trainer, with_keras)),
    "line": (Bottleneck.WIRE, slow_line),
}


def apart(job: str, options: argparse.Namespace) -> dict[str, Any]:
    """A job in a process of its own: sockets belong to the host that they were made in."""
    words = [f"--runs={options.runs}", f"--seconds={options.seconds}",
             f"--sweep-seconds={options.sweep_seconds}", f"--sweeps={options.sweeps}"]  # fmt: skip
    least = options.runs * options.seconds + options.sweeps * MOST * options.sweep_seconds
    done = subprocess.run(
        [sys.executable, __file__, "--apart", job, *words], check=False,
        stdout=subprocess.PIPE, text=True, timeout=60 + HUNG * least,
    )  # fmt: skip
    if done.returncode:
        sys.exit(f"{job} failed")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(job: str, found: dict[str, Any], *, every: bool) -> tuple[tuple[str, ...], bool]:
    """A row, and whether what is wanted is met."""
    wanted = JOBS[job][0].value
    said = found["said"]
    right = [run for run in said if run and all(one[1] == wanted for one in run)]
    met = len(right) >= WANTED * len(said)
    for number, run in enumerate(said, 1):
        if every or run not in right:
            lines = [f"  {since:.1f} s: {sentence}" for since, _, _, sentence in run]
            print(f"{job}, run {number}:", *(lines or ["  no verdict"]), sep="\n", flush=True)
    times = [run[0][0] for run in said if run]
    when = f"{median(times):.1f} ({min(times):.1f} - {max(times):.1f})" if times else "never"
    best = named = ""
    if "rates" in found:
        rates = {int(workers): value for workers, value in found["rates"].items()}
        number = min(w for w, value in rates.items() if value >= AS_GOOD * max(rates.values()))
        print(f"{job}, steps/s:", *(f"{w}: {value:.1f}" for w, value in rates.items()), sep="  ")
        counts = [run[-1][2] for run in said if run]
        within = [count for count in counts if count is not None and abs(count - number) <= 1]
        met = met and len(within) >= WANTED * len(said)
        best = str(number)
        named = ", ".join(f"{one} in {counts.count(one)}" for one in dict.fromkeys(counts))
    row = (job, wanted, f"{len(right)} of {len(said)}", when, named, best, "yes" if met else "no")
    return row, met


def main() -> int:
    """Run the jobs; 1 when something is not met."""
    parser = argparse.ArgumentParser(description="Verdicts about jobs of known bottlenecks.")
    parser.add_argument("--only", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a run")
    parser.add_argument("--sweep-seconds", type=float, default=3.0, help="of each number")
    parser.add_argument("--sweeps", type=int, default=2)
    parser.add_argument("--every", action="store_true", help="print the verdicts of every run")
    parser.add_argument("--apart", choices=JOBS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.apart:
        print(json.dumps(JOBS[options.apart][1](options)))
        return 0
    if "line" in options.only and why_not():
        sys.exit(f"there can be no other host here: {why_not()}")
    print(host_lines(describe_host()), flush=True)
    reports = [report(job, apart(job, options), every=options.every) for job in options.only]
    headings = ("job", "bound by", "right", "seconds until", "workers named", "best", "met")
    print(columns(headings, [row for row, _ in reports]))
    return int(not all(met for _, met in reports))


if __name__ == "__main__":
    sys.exit(main())
