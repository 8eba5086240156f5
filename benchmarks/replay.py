"""Does `--replay` show what a trainer can take at most?

A generator that naps for 50 ms before each element, replayed, beside one that makes the same
elements in no time, not replayed: both are read by a numpy `Client`, in turn. Replayed elements
cost the worker a step in a circle; so the two should be as fast as each other, and the generator's
own 20 elements a second are the wrong figure by orders of magnitude.

    python benchmarks/replay.py [--rounds 5] [--seconds 2]

Caveat: a few processes, so other work on the machine counts.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from genserver.client import Client
from genserver.server import Server

KEPT = 16
HERE = str(Path(__file__).parent)


def rate(seconds: float, **options: Any) -> float:
    """Elements a second of one server with one worker, after the elements are kept."""
    with (
        Server("_replayed:pictures", workers=1, quiet=True, cwd=HERE, **options) as server,
        Client(server.endpoint) as client,
    ):
        count, began = 0, 0.0
        for number, _ in enumerate(client):
            if number == 4 * KEPT:
                began = time.monotonic()
            if began:
                count += 1
                if time.monotonic() - began >= seconds:
                    break
        return count / (time.monotonic() - began)


def main() -> int:
    """Print each round and what they say."""
    parser = argparse.ArgumentParser(description="Replayed elements beside trivial ones.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    ratios = []
    for _ in range(options.rounds):
        trivial = rate(options.seconds)
        replayed = rate(options.seconds, replay=KEPT, arguments={"nap": 0.05})
        ratios.append(replayed / trivial)
        print(f"trivial {trivial:9,.0f}/s   replayed {replayed:9,.0f}/s   {ratios[-1]:.2f}")
    print(f"replayed / trivial: median {statistics.median(ratios):.2f}, "
          f"{min(ratios):.2f} to {max(ratios):.2f}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
