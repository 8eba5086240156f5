"""What measuring costs: CPU per element with it and without, as pairs of `against.py`.

What is measured is always on, and there is no option that turns it off. So "off" is the last
commit before there was any, taken out of git into a temporary folder; nothing but the counters,
the snapshots and their messages came in between.
"On" is with ``--http``, whose ``/metrics`` are asked for once a second, 15 times as often as
Prometheus does; ``--http no`` is without. The CPU time is that of the trainer, the supervisor and
the workers. Twice 20 pairs:

* of images and masks, 1 MB elements of two workers, read one by one. Nearly all of their cost is
  copying, which differs by some percent from start to start, so that this says little of one;
* of numbers that come as fast as the images do, one by one, too: what is measured costs them the
  same, and little else happens. What they cost more, beside what an image costs, is the share.
  They leave the machine half idle, so both builds run at the same time.

Wanted: at most 1 % more. `telemetry_callback` costs extra: see the README of this folder.

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
from statistics import median
from urllib.error import URLError
from urllib.request import urlopen

import against
from _workloads import WORKLOADS

ROOT = Path(__file__).parent.parent
#: The last commit without, and the packages of one that has been taken out.
BEFORE, PACKAGES = "c2ce638", ("client", "protocol", "server")
WANTED = 0.01
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
        print("images and masks")
        images = against.pairs(old, IMAGES, options.pairs, options.seconds, http=http)
        print("numbers as fast as these")
        numbers = against.pairs(
            old, "_paced:numbers", options.pairs, options.seconds, http=http, together=True
        )
    if http and not sizes:
        sys.exit(f"nobody answered at http://{HTTP}/metrics")
    if http:
        print(f"/metrics was asked for {len(sizes)} times, {max(sizes, default=0)} bytes")
    against.say([new / old for old, new in images])
    image = median(old for old, _ in images)
    more = [new - old for old, new in numbers]
    share, (low, high) = median(more) / image, [value / image for value in against.interval(more)]
    print(
        f"what measuring adds to an element: {median(more):.2f} us, of the {image:.0f} us of an "
        f"image {share:.2%} (95 %: {low:.2%} to {high:.2%})"
    )
    print(f"wanted: at most {WANTED:.0%}: {'met' if share <= WANTED else 'not met'}")
    return int(share > WANTED)


if __name__ == "__main__":
    sys.exit(main())
