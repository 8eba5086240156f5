"""The promises of the README that take minutes to measure, each with its figure.

Question: does genserver keep them on this machine?
What is measured: see the docstring of each measurement; all go through real servers, processes and
TensorFlow. Rates are in limits.py.
Caveat: other work on the machine counts against genserver: run it when nothing else does.

    python benchmarks/must_show.py [--only NAME ...] [--json FILE]

The last result is in README.md of this folder.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
from _memory import MIB, children, pss
from genserver.client import Client, from_server
from genserver.server import Server

HERE = Path(__file__).parent

Figures = dict[str, Any]


@contextmanager
def serving(target: str, workers: int, **arguments: Any) -> Iterator[str]:
    """A server of `_slow`; its endpoint."""
    with Server(f"_slow:{target}", workers=workers, arguments=arguments, cwd=str(HERE)) as server:
        yield server.endpoint


def epochs() -> Figures:
    """10,000 numbered elements over 3 workers, 5 epochs; then leaving after 0, 1, 7, n - 1."""
    n, workers = 10_000, 3
    first_ms: dict[str, float] = {}
    with serving("numbered", workers, n=n) as endpoint:
        dataset = from_server(endpoint)
        for epoch in range(5):
            _check_epoch([(int(a), int(b)) for a, b in dataset], n, workers, epoch)
        epoch = 5
        for leave_after in (0, 1, 7, n - 1):
            iterator = iter(dataset)
            seen = {int(e) for _, e in islice(iterator, leave_after)}
            assert seen <= {epoch}, seen
            epoch += 1 if leave_after else 0
            del iterator
            began = time.monotonic()
            following = iter(dataset)
            _, got = next(following)
            first_ms[str(leave_after)] = (time.monotonic() - began) * 1000
            assert int(got) == epoch, (int(got), epoch)
            rest = {int(e) for _, e in following}
            assert rest == {epoch}, rest
            epoch += 1
    return {"each_once_in_order": True, "first_element_after_leaving_ms": first_ms}


def _check_epoch(got: list[tuple[int, int]], n: int, workers: int, epoch: int) -> None:
    assert {e for _, e in got} == {epoch}
    for worker in range(workers):
        mine = [number for number, _ in got if number % workers == worker]
        assert mine == list(range(worker, n, workers))


def unread() -> Figures:
    """Endless 1 MB elements and a trainer that reads nothing for 120 s, over ipc and tcp.

    The growth of the PSS of supervisor, worker and trainer between second 10 and 120, in MiB; then
    200 elements must come in order.
    """
    figures: Figures = {}
    for transport in ("ipc", "tcp"):
        with Server("_slow:endless", workers=1, cwd=str(HERE)) as server:
            client = Client(server.endpoint, transport=transport)
            iterator = iter(client)
            assert int(next(iterator)[0]) == 0
            pids = {"supervisor": server.pid, "trainer": os.getpid()}
            pids["worker"] = children(server.pid)[0]
            began = time.monotonic()
            time.sleep(10)
            before = {name: pss(pid) for name, pid in pids.items()}
            time.sleep(120 - (time.monotonic() - began))
            growth = {name: (pss(pid) - before[name]) / MIB for name, pid in pids.items()}
            rest = [int(e[0]) for e in islice(iterator, 200)]
            assert rest == list(range(1, 201)), "an element was lost or came out of order"
            client.close()
        figures[transport] = {name: round(mib, 2) for name, mib in growth.items()}
    return figures


def lanes() -> Figures:
    """16 slow workers on few cores, in five compositions: time over ideal, per composition.

    Each worker takes 1.6 s for an element, so 16 give ten elements a second; two datasets of one
    server share its workers, so those compositions use two servers of 16 workers.
    """
    seconds, workers, count = 1.6, 16, 96
    figures: Figures = {}
    with (
        serving("waiting", workers, seconds=seconds) as one,
        serving("waiting", workers, seconds=seconds) as two,
    ):
        for name, make, streams in _compositions(one, two):
            ideal = count / (streams * workers / seconds)
            figures[name] = round(_time_for(make(), count) / ideal, 3)
    return figures


def _compositions(one: str, two: str) -> Iterator[tuple[str, Callable[[], tf.data.Dataset], int]]:
    both = [one, two]

    def pooled() -> tf.data.Dataset:
        options = tf.data.Options()
        options.threading.private_threadpool_size = 1
        return from_server(one).with_options(options)

    yield "alone", lambda: from_server(one), 1
    # An element of the zip is one of each server.
    yield "zip of two", lambda: tf.data.Dataset.zip(tuple(map(from_server, both))), 1
    yield "inside a user's interleave", lambda: _in_interleave(both), 2
    yield "after private_threadpool_size=1", pooled, 1
    yield (
        "sample_from_datasets",
        lambda: tf.data.Dataset.sample_from_datasets(
            list(map(from_server, both)), weights=[0.5, 0.5], seed=1
        ),
        2,
    )


def _in_interleave(endpoints: list[str]) -> tf.data.Dataset:
    """The user's own interleave over two servers."""
    datasets = [from_server(endpoint) for endpoint in endpoints]
    return tf.data.Dataset.range(2).interleave(
        lambda i: tf.data.Dataset.choose_from_datasets(
            datasets, tf.data.Dataset.from_tensors(i).repeat()
        ),
        cycle_length=2,
        num_parallel_calls=2,
        deterministic=False,
    )


def _time_for(dataset: tf.data.Dataset, count: int) -> float:
    """Seconds for ``count`` elements once the first 32 have come."""
    iterator = iter(dataset)
    for _ in range(32):
        next(iterator)
    began = time.monotonic()
    for _ in range(count):
        next(iterator)
    return time.monotonic() - began


MEASUREMENTS: dict[str, Callable[[], Figures]] = {
    "epochs": epochs, "unread": unread, "lanes": lanes,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what genserver promises.")
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS, default=list(MEASUREMENTS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results: Figures = {}
    for name in options.only:
        results[name] = MEASUREMENTS[name]()
        print(f"{name}: {json.dumps(results[name], indent=2)}", flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
