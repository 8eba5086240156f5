"""What --http costs the supervisor: its CPU with a scraper and without, and how long the text is.

A server of 8 workers with 4 trainers that read all the time. The supervisor's CPU time is what
/proc says of its process, over turns of a few seconds that take turns: nobody asks, /metrics is
asked for every 0.1 s (a text is made once a second, so that one in ten makes it and the others get
the same), and once in 1.1 s (each makes it). What one scrape costs is the difference by the number
of scrapes, as the median of the turns. A second server without --http shows what the look at the
workers costs that happens once a second, whether anybody asks or not.

    python benchmarks/scrape.py [--turns 5] [--seconds 11]

Linux. Nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from urllib.request import urlopen

from genserver.server import Server

WORKERS, TRAINERS = 8, 4
PATIENCE = 30.0
#: Seconds between two scrapes: often, and as rarely as that each has a new text.
OFTEN, RARELY = 0.1, 1.1

JOB = """
import time


def naps(worker):
    while True:
        time.sleep(0.02)
        yield worker.index
"""

TRAINER = """
import sys
from genserver.client import Client

with Client(sys.argv[1]) as client:
    for number, _ in enumerate(client):
        if number == 20:
            print("reads", flush=True)
"""


def cpu_of(pid: int) -> float:
    """Seconds of a core that the threads of a process have used, to the nanosecond."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


@contextmanager
def busy(server: Server) -> Iterator[None]:
    """Trainers read from it."""
    with ExitStack() as stack:
        for _ in range(TRAINERS):
            trainer = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", TRAINER, server.endpoint], stdout=subprocess.PIPE
                )
            )
            stack.callback(trainer.kill)
            assert trainer.stdout is not None
            assert trainer.stdout.readline() == b"reads\n"
        yield


def turn(server: Server, seconds: float, url: str = "", every: float = 1.0) -> tuple[float, int]:
    """(CPU of the supervisor, scrapes) of so many seconds."""
    before, begun, scrapes = cpu_of(server.pid), time.monotonic(), 0
    while (now := time.monotonic()) < begun + seconds:
        if url:
            with urlopen(url, timeout=PATIENCE) as answer:
                answer.read()
            scrapes += 1
        time.sleep(max(0.0, min(begun + seconds, now + every) - time.monotonic()))
    return cpu_of(server.pid) - before, scrapes


def url_of(said: StringIO) -> str:
    """Where the figures are, as the server's own lines say a moment after it is ready."""
    deadline = time.monotonic() + PATIENCE
    while "  metrics at " not in said.getvalue():
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not say where its figures are")
        time.sleep(0.05)
    return said.getvalue().partition("  metrics at ")[2].splitlines()[0]


def measure(folder: str, turns: int, seconds: float) -> None:
    """Print what was found."""
    said = StringIO()
    with redirect_stdout(said):
        server = Server("job:naps", workers=WORKERS, cwd=folder, http="127.0.0.1:0")
        url = url_of(said)
    plain = Server("job:naps", workers=WORKERS, cwd=folder, quiet=True)
    alone, often, rarely, without = [], [], [], []
    with server, plain, busy(server), busy(plain):
        for _ in range(turns):
            idle, _ = turn(server, seconds)
            alone.append(1000 * idle / seconds)
            without.append(1000 * turn(plain, seconds)[0] / seconds)
            for found, every in ((often, OFTEN), (rarely, RARELY)):
                cpu, scrapes = turn(server, seconds, url, every)
                found.append(1000 * (cpu - idle) / scrapes)
        with urlopen(url, timeout=PATIENCE) as answer:
            size = len(answer.read())
    print(f"{WORKERS} workers, {TRAINERS} trainers, {turns} turns of {seconds:.0f} s, medians")
    print(f"a scrape that makes the text     {statistics.median(rarely):7.2f} ms of CPU")
    print(f"one of ten in a second           {statistics.median(often):7.2f} ms of CPU")
    print(f"the supervisor, nobody asks      {statistics.median(alone):7.2f} ms of CPU a second")
    print(f"the same without --http          {statistics.median(without):7.2f} ms of CPU a second")
    print(f"the text                         {size:7d} bytes")


def main() -> None:
    """As the command line says."""
    parser = argparse.ArgumentParser(description="What --http costs the supervisor.")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=11.0, help="of each turn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "job.py").write_text(JOB)
        measure(folder, options.turns, options.seconds)


if __name__ == "__main__":
    main()
