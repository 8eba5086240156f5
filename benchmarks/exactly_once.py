"""Exactly once, drilled: a million elements under kills and cuts, and each fault at 50 moments.

Question: does a pass lose or repeat an element when its workers, its links or its server die?
What is measured:
* ``million``: 1,000,000 elements of 3 workers over tcp; 200 SIGKILLs of workers and 20 cuts of all
  connections, each some random milliseconds after a random element was consumed.
* ``kill``, ``stop``, ``hang``, ``memory``, ``server``: a worker is killed, stopped and continued,
  hangs in C with the interpreter's lock held (``--item-timeout``), is killed for its memory (a
  cgroup's limit, or as the kernel does it where there is none), the supervisor is killed and
  started again: each at 50 random moments of one long pass.
* ``recovery``: from a worker's death to the next element of that worker, 30 times; beside it how
  long the generator's module takes to import.
All generators seek (`worker.start`), and every element is judged by tests/support/checker.py.
Caveat: the moments are random elements of the trainer and random delays; a worker is ahead of the
trainer by what may wait there, in the drills by a few hundred elements. What hangs or takes memory
does so at the worker's next element. ``lives`` are the processes that elements came from; ``harms``
are those that found their process, and orders to hang or swell that were carried out. Figures are
printed of passes that came exactly once and in order; any other is BROKEN.

    python benchmarks/exactly_once.py [--only NAME ...] [--seed N] [--scale 1.0]

Exit code 1 when a promise was broken. Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent))

from genserver.client import Client

from tests.support.checker import Checker, consume, limited
from tests.support.hashed import share
from tests.support.processes import SUPPORT, eventually
from tests.support.proxy import Proxy
from tests.support.server_process import ServerProcess, supports

WORKERS = 3
#: What no pass of this program takes: then it hangs.
HUNG_SECONDS = 1800.0
#: What may wait in the trainer, so that workers are a few hundred elements ahead at most.
BUDGET = 100_000
#: The longest a harm waits after its element, in seconds.
DELAY = 0.05
#: What a worker may use, where a cgroup says so, in bytes.
MEMORY_LIMIT = 512 * 2**20
_CGROUPS = Path("/sys/fs/cgroup/memory")

Figures = dict[str, Any]
Harm = Callable[["Pass"], None]


@dataclass(slots=True)
class Pass:
    """One pass under attack, and what harms need."""

    server: ServerProcess
    proxy: Proxy
    checker: Checker
    chance: random.Random
    orders: Path
    #: Harms that were done, by name.
    harms: Counter[str] = field(default_factory=Counter)
    #: Processes that the kernel killed for their memory.
    oom_kills: int = 0

    def worker(self, *, proven: bool = False) -> tuple[int, int]:
        """(index, pid) of a worker that lives, and of which elements are still to come.

        A ``proven`` one has given some: three deaths while one element is made would be that
        element's fault, and rightly the end.
        """
        found: list[tuple[int, int]] = []

        def look() -> bool:
            alive = self.server.worker_pids().items()
            found[:] = [pair for pair in alive if not self.checker.is_over(pair[0])]
            if proven:
                last = {index: self.checker.lives(index)[-1:] for index, _ in found}
                found[:] = [(i, pid) for i, pid in found if [x.pid for x in last[i]] == [pid]]
            return bool(found)

        if not eventually(look):
            raise RuntimeError("no worker lives")
        return self.chance.choice(found)


def kill(target: Pass) -> None:
    with suppress(ProcessLookupError):
        os.kill(target.worker()[1], signal.SIGKILL)
        target.harms["kill"] += 1


def stop(target: Pass) -> None:
    _, pid = target.worker()
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(target.chance.uniform(0, 0.5))  # the fault
        os.kill(pid, signal.SIGCONT)
        target.harms["stop"] += 1


def cut(target: Pass) -> None:
    target.harms["cut"] += target.proxy.cut() > 0


def hang(target: Pass) -> None:
    _, pid = target.worker(proven=True)
    (target.orders / f"hang-{pid}").touch()  # at the next element that it makes
    target.harms["hang"] += 1


def swell(target: Pass) -> None:
    """The worker takes more memory than it may, or the kernel's answer to that."""
    _, pid = target.worker(proven=True)
    group = _CGROUPS / f"genserver-{os.getpid()}-{pid}"
    try:
        group.mkdir(exist_ok=True)
        (group / "memory.limit_in_bytes").write_text(str(MEMORY_LIMIT))
        (group / "cgroup.procs").write_text(str(pid))
    except OSError:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            target.harms["kill"] += 1
        return
    (target.orders / f"swell-{pid}").touch()  # at the next element that it makes
    target.harms["swell"] += 1


def restart(target: Pass) -> None:
    target.server.kill()
    target.server.start()
    target.harms["restart"] += 1


@contextmanager
def attacked(
    options: argparse.Namespace,
    n: int,
    pause: float,
    words: Sequence[str] = (),
    *,
    budget: int | None = None,
) -> Iterator[tuple[Pass, Iterator[Any]]]:
    """A pass of ``n`` elements over tcp through a proxy, and what may be done to it."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = {"n": n, "pause": pause, "orders": folder}
        server = ServerProcess(
            "hashed:seeking", workers=WORKERS, arguments=arguments, options=words
        )
        checker = Checker([share(worker, WORKERS, n) for worker in range(WORKERS)])
        with (
            server,
            Proxy(server.ports) as proxy,
            Client(
                proxy.endpoint(server.ports[0]), transport="tcp", seed=1, memory_budget=budget
            ) as client,
            limited(client, HUNG_SECONDS),
        ):
            target = Pass(server, proxy, checker, random.Random(options.seed), Path(folder))
            try:
                yield target, iter(client)
            except AssertionError:
                print(server.said()[-4000:])
                raise
            for order in target.orders.iterdir():
                target.harms[order.name.partition("-")[0]] -= 1  # nobody came to carry it out
        for group in _CGROUPS.glob(f"genserver-{os.getpid()}-*"):
            *_, kills = (group / "memory.oom_control").read_text().split()
            target.oom_kills += int(kills)
            group.rmdir()


def drill(
    options: argparse.Namespace,
    harms: Sequence[Harm],
    n: int,
    pause: float,
    *words: str,
    budget: int | None = None,
) -> Figures:
    """One pass with a harm at each of as many random elements, in random order."""
    began = time.monotonic()
    many = ("--max-restarts", "1000") if supports("--max-restarts") else ()
    with attacked(options, n, pause, [*words, *many], budget=budget) as (target, elements):
        # The last part of the pass is left to those who come late.
        moments = sorted(target.chance.sample(range(1, n * 9 // 10), len(harms)))
        for moment, harm in zip(moments, target.chance.sample(harms, len(harms)), strict=True):
            _take(target, elements, moment)
            time.sleep(target.chance.uniform(0, DELAY))  # a moment that no element decides
            harm(target)
        _take(target, elements, None)
        target.checker.check()
    lives = [len(target.checker.lives(worker)) for worker in range(WORKERS)]
    return {
        "elements": target.checker.taken, "harms": dict(target.harms), "lives": lives,
        "oom_kills": target.oom_kills, "connections": target.proxy.accepted,
        "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def _take(target: Pass, elements: Iterator[Any], limit: int | None) -> None:
    """Elements up to ``limit``, or to the end, which must come without an error."""
    end = consume(elements, target.checker, limit=limit)
    target.checker.check(end, whole=limit is None)
    assert end is None, repr(end)


def million(options: argparse.Namespace) -> Figures:
    """1,000,000 elements, 200 kills, 20 cuts."""
    kills = [kill] * options.count(200) if supports("--max-restarts") else []
    harms = [*kills, *[cut] * options.count(20)]
    return drill(options, harms, options.count(1_000_000), 0.0)


def _at_50_moments(harm: Harm, *words: str) -> Callable[[argparse.Namespace], Figures]:
    def run(options: argparse.Namespace) -> Figures:
        return drill(
            options, [harm] * options.count(50), options.count(60_000), 0.0005, *words,
            budget=BUDGET,
        )  # fmt: skip

    return run


def recovery(options: argparse.Namespace) -> Figures:
    """Seconds from a worker's SIGKILL to the next element that another process made.

    Each worker is killed once: the second restart within a minute would be delayed on purpose. The
    elements come so slowly that none of the dead process waits at the trainer.
    """
    found: list[float] = []
    while len(found) < options.count(30):
        with attacked(options, 10**6, 0.01) as (target, elements):
            for index in range(WORKERS):
                _take(target, elements, target.checker.taken + 200)
                found.append(_until_next(target, elements, index))
    module = _import_seconds()
    figures = {
        "median": statistics.median(found), "p90": sorted(found)[len(found) * 9 // 10],
        "max": max(found), "import of the module": module,
    }  # fmt: skip
    return {name: round(value, 3) for name, value in figures.items()} | {"kills": len(found)}


def _until_next(target: Pass, elements: Iterator[Any], index: int) -> float:
    """Kill a worker, and take elements until one of its next process comes; the seconds."""
    pid = target.server.worker_pids()[index]
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    while target.checker.lives(index)[-1].pid == pid:
        _take(target, elements, target.checker.taken + 1)
    return target.checker.lives(index)[-1].at - began


def _import_seconds() -> float:
    """What the generator's module takes beyond what a worker has loaded anyway; median of 5."""
    code = (
        "import time, genserver.server.worker_main, genserver.server.source; "
        "began = time.perf_counter(); import hashed; print(time.perf_counter() - began)"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=SUPPORT, capture_output=True, text=True, check=True,
            timeout=60,
        ).stdout
        for _ in range(5)
    ]  # fmt: skip
    return statistics.median(map(float, runs))


@dataclass(frozen=True, slots=True)
class Drill:
    """A part of this program, and the option of ``serve`` without which it cannot run."""

    run: Callable[[argparse.Namespace], Figures]
    needs: str = ""


_SUPERVISED, _TIMED = "--max-restarts", "--item-timeout"
DRILLS = {
    "million": Drill(million),
    "kill": Drill(_at_50_moments(kill), _SUPERVISED),
    "stop": Drill(_at_50_moments(stop)),
    "hang": Drill(_at_50_moments(hang, _TIMED, "0.5"), _TIMED),
    "memory": Drill(_at_50_moments(swell), _SUPERVISED),
    "server": Drill(_at_50_moments(restart), _SUPERVISED),
    "recovery": Drill(recovery, _SUPERVISED),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Exactly once, under kills and cuts.")
    parser.add_argument("--only", nargs="+", choices=DRILLS, default=list(DRILLS))
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    parser.add_argument("--scale", type=float, default=1.0, help="of all counts, to try it out")
    options = parser.parse_args()
    options.count = lambda whole: max(1, round(whole * options.scale))
    print(f"seed {options.seed}", flush=True)
    broken = False
    for name in options.only:
        needs = DRILLS[name].needs
        if needs and not supports(needs):
            print(f"{name}: this build's serve has no {needs}", flush=True)
            continue
        try:
            print(f"{name}: {json.dumps(DRILLS[name].run(options))}", flush=True)
        except (AssertionError, RuntimeError) as error:
            broken = True
            print(f"{name}: BROKEN: {error}", flush=True)
    sys.exit(broken)


if __name__ == "__main__":
    main()
