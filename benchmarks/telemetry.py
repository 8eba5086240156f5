"""What measuring costs: CPU per element with it and without, as pairs of `against.py`.

What is measured is always on, and there is no option that turns it off. So "off" is the last
commit before there was any, taken out of git into a temporary folder; nothing but the counters,
the snapshots and their messages came in between.
"On" is with ``--http``, whose ``/metrics`` are asked for once a second, 15 times as often as
Prometheus does; ``--http no`` is without. The workload is that of images and masks: 1 MB elements
of two workers, read one by one; the CPU time is that of the trainer, the supervisor and the
workers. Wanted: at most 1 % more in the median of 20 pairs.
`telemetry_callback` costs extra: see the README of this folder.

    python benchmarks/telemetry.py [--pairs 20] [--seconds 1] [--http no]

Exit code 1 when it is more. Linux, git; nothing else may run meanwhile.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import tarfile
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import against
from _workloads import WORKLOADS

ROOT = Path(__file__).parent.parent
#: The last commit without, and the packages of one that has been taken out.
BEFORE, PACKAGES = "c2ce638", ("client", "protocol", "server")
WANTED = 1.01
IMAGES = WORKLOADS["image"].target
#: Where the metrics are, and how often they are asked for, in seconds.
HTTP, ASK_EVERY, ANSWER_SECONDS = "127.0.0.1:9559", 1.0, 5.0


@contextmanager
def checkout(commit: str) -> Iterator[str]:
    """An interpreter that imports the packages as they were then."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["git", "-C", str(ROOT), "archive", commit, *PACKAGES], capture_output=True, check=True
        )
        package = Path(folder, "genserver")
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(package, filter="data")
        python = Path(folder, "python")
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" "$@"\n')
        python.chmod(0o700)
        yield str(python)


@contextmanager
def asked() -> Iterator[list[int]]:
    """Somebody asks for the metrics whenever there is a server; the bytes of each answer."""
    over, sizes = threading.Event(), []

    def ask() -> None:
        while not over.wait(ASK_EVERY):
            # Between two servers nobody is there, and one that ends may not answer to the end.
            with (
                suppress(URLError, HTTPException, ConnectionError, TimeoutError),
                urlopen(f"http://{HTTP}/metrics", timeout=ANSWER_SECONDS) as answer,
            ):
                sizes.append(len(answer.read()))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield sizes
    finally:
        over.set()
        thread.join()


def main() -> int:
    """Print each pair and what they say; 1 when it is too much."""
    parser = argparse.ArgumentParser(description="CPU per element, measured and not.")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    parser.add_argument("--http", choices=["yes", "no"], default="yes", help="with /metrics")
    options = parser.parse_args()
    http = HTTP if options.http == "yes" else ""
    with checkout(BEFORE) as old, asked() if http else nullcontext([]) as sizes:
        found = against.pairs(old, IMAGES, options.pairs, options.seconds, http=http)
    if http and not sizes:
        sys.exit(f"nobody answered at http://{HTTP}/metrics")
    if http:
        print(f"/metrics was asked for {len(sizes)} times, {max(sizes, default=0)} bytes")
    middle = against.say(found)
    print(f"wanted: at most {WANTED}: {'met' if middle <= WANTED else 'not met'}")
    return int(middle > WANTED)


if __name__ == "__main__":
    sys.exit(main())
