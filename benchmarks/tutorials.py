"""The recipes of five documents about ``from_generator``, beside their genserver form.

Question: what does a reader of these documents gain by the one changed line?
What is measured: each recipe of _recipes.py, plain and with `genserver.client.from_generator`: the
time of one pass from ``iter(dataset)`` on, the longest wait for an element after the first, and
whether the elements are the same, in whatever order. Once with sleeps, where threads do as well as
processes, and once with as much pure-Python work, where they cannot. The servers are up before the
clock starts; their start takes 0.4 s.
Caveat: with work there are only as many processes at once as the machine has cores.

    python benchmarks/tutorials.py [--only TEXT ...] [--work sleep spin] [--json FILE]
    python benchmarks/tutorials.py --must-show [--repeats 5]

The last result is in README.md of this folder.
"""

from __future__ import annotations

import argparse
import functools
import heapq
import json
import os
import random
import signal
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from _recipes import PLAIN, RECIPES, Pause, Recipe, cutter, loader
from _spin import calibrate, spin
from genserver.client import from_generator
from genserver.server import stage

Figures = dict[str, Any]


def sleep(seconds: float) -> None:
    """Waits, as for a disk or a network."""
    time.sleep(seconds)


def work(loops: float, seconds: float) -> None:
    """Pure Python for as long as ``loops`` iterations a second take."""
    spin(int(loops * seconds))


def one_pass(dataset: Any, step: float) -> tuple[float, float, list[Any]]:
    """(seconds, longest wait after the first element, the elements as sorted bytes)."""
    waits, elements = [], []
    began = time.perf_counter()
    iterator = iter(dataset)
    while True:
        asked = time.perf_counter()
        element = next(iterator, None)
        if element is None:
            break
        waits.append(time.perf_counter() - asked)
        elements.append(element)
        time.sleep(step)
    seconds = time.perf_counter() - began
    return seconds, max(waits[1:]), sorted(map(key_of, elements))


def key_of(element: Any) -> bytes:
    """What two equal elements have in common."""
    parts = (part.numpy() for part in tf.nest.flatten(element))
    return b"".join(part if isinstance(part, bytes) else part.tobytes() for part in parts)


def compare(recipe: Recipe, pause: Pause) -> Figures:
    """One recipe, plain and with genserver."""
    plain_s, plain_wait, expected = one_pass(recipe.plain(pause), recipe.step)
    ours_s, ours_wait, got = one_pass(recipe.ours(pause), recipe.step)
    return {
        "plain_s": plain_s, "plain_wait_s": plain_wait, "ours_s": ours_s, "ours_wait_s": ours_wait,
        "same_elements": got == expected,
    }  # fmt: skip


# What the issue promises.


def pairs(workers: int) -> float:
    """100 pairs at 0.1 s each: seconds from iter(dataset) on, the server up."""

    def load(number: int) -> Any:
        time.sleep(0.1)
        return np.full((256, 256, 3), number, np.float32), np.full((256, 256, 1), 1, np.uint8)

    types = (tf.float32, tf.uint8)
    return one_pass(from_generator(load, types, items=range(100), workers=workers), 0.0)[0]


def speedup(loops: float, *, seconds: float = 0.02, count: int = 100) -> Figures:
    """Elements of pure Python: how many times one process two workers are, two threads of an
    interleave, and two bare loops at once."""
    spun = functools.partial(work, loops)

    def load(number: int) -> int:
        spun(seconds)
        return int(number)

    def threads(number: Any) -> Any:
        return PLAIN(lambda n: iter([load(n)]), tf.int64, args=(number,))

    numbers = tf.data.Dataset.range(count)
    one, two = (
        one_pass(from_generator(load, tf.int64, items=range(count), workers=workers), 0.0)[0]
        for workers in (1, 2)
    )
    alone = one_pass(PLAIN(lambda: map(load, range(count)), tf.int64), 0.0)[0]
    at_once = one_pass(numbers.interleave(threads, num_parallel_calls=2), 0.0)[0]
    return {
        "workers_2_over_1": one / two, "workers_2_over_plain": alone / two,
        "threads_over_plain": alone / at_once, "bare_loops": bare(loops, seconds * count),
    }  # fmt: skip


def bare(loops: float, seconds: float) -> float:
    """How many times the speed of one bare loop two at once have."""
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(work, [loops] * 2, [0.05] * 2))  # both are up
        began = time.perf_counter()
        list(pool.map(work, [loops], [seconds]))
        alone = time.perf_counter() - began
        began = time.perf_counter()
        list(pool.map(work, [loops] * 2, [seconds / 2] * 2))
        return alone / (time.perf_counter() - began)


def waiting_at_once(*, concurrency: int = 20, count: int = 1000) -> float:
    """Items a second of one worker whose async calls wait 50 ms each."""

    async def load(number: int) -> int:
        import asyncio

        await asyncio.sleep(0.05)
        return number

    dataset = from_generator(load, tf.int64, items=range(count), concurrency=concurrency)
    return count / one_pass(dataset, 0.0)[0]


def stages(volumes: int | None, cubes: int) -> float:
    """Three loaders of 1.5 s, three cutters of 0.3 s, five cubes a volume, a step of 0.1 s: the
    longest wait in ms after the first of so many cubes."""
    dataset = from_generator(
        stage(loader(sleep, volumes), workers=3).then(cutter(sleep), workers=3)
    )
    waits = []
    iterator = iter(dataset)
    for _ in range(cubes):
        asked = time.perf_counter()
        next(iterator)
        waits.append(time.perf_counter() - asked)
        time.sleep(0.1)
    return 1000 * max(waits[1:])


def uneven(workers: int, kills: int = 0) -> float:
    """200 items of 1 to 100 ms in random order: how many times as long as the ideal schedule, in
    which whoever is free takes the next and nothing else takes time.

    With ``kills`` so many workers are killed on the way, and each item must come once.
    """

    def load(number: int, seconds: float) -> tuple[int, int]:
        time.sleep(seconds)
        return number, os.getpid()

    durations = [0.001 + 0.099 * number / 199 for number in range(200)]
    items = list(enumerate(random.Random(5).sample(durations, 200)))
    dataset = from_generator(
        load, (tf.int64, tf.int64), items=items, workers=workers, max_restarts=100
    )
    free = [0.0] * workers
    for _, seconds in items:
        heapq.heapreplace(free, free[0] + seconds)
    got, killed = [], set()
    began = time.perf_counter()
    for number, pid in dataset.as_numpy_iterator():
        got.append(int(number))
        if len(killed) < kills and len(got) % (200 // (kills + 1)) == 0 and pid not in killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
    seconds = time.perf_counter() - began
    assert sorted(got) == list(range(200)), "an item is lost, or came twice"
    assert len(killed) >= kills - 2, "too few were killed"
    return seconds / max(free)


def must_show(repeats: int) -> Figures:
    """Medians of so many runs, and all values."""
    loops = 1000 * calibrate()
    runs: dict[str, list[float]] = {}
    for _ in range(repeats):
        found = {
            "pairs, 2 workers, s (wanted 5.2)": pairs(2),
            "pairs, 10 workers, s (wanted 1.2)": pairs(10),
            "async, items/s (wanted 350)": waiting_at_once(),
            "two stages, endless, wait in ms (20)": stages(None, 60),
            "two stages, 10 volumes, ms (205)": stages(10, 50),
            "dealt, of the ideal (1.05)": uneven(4),
            "dealt, 20 kills, each once": uneven(4, kills=20),
            **speedup(loops),
        }
        for name, value in found.items():
            runs.setdefault(name, []).append(value)
    return {name: {"median": median(values), "all": values} for name, values in runs.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", nargs="*", default=[""], help="part of a recipe's title")
    parser.add_argument("--work", nargs="*", choices=("sleep", "spin"), default=("sleep", "spin"))
    parser.add_argument("--must-show", action="store_true")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.must_show:
        result: Figures = must_show(options.repeats)
        for name, found in result.items():
            values = ", ".join(f"{value:.2f}" for value in found["all"])
            print(f"{name:36} {found['median']:8.2f}   ({values})")
    else:
        result = run(options.only, options.work)
    if options.json is not None:
        options.json.write_text(json.dumps(result, indent=2))


def run(only: list[str], kinds: list[str]) -> Figures:
    """Every recipe whose title has one of the texts."""
    pauses: dict[str, Pause] = {"sleep": sleep, "spin": functools.partial(work, 1000 * calibrate())}
    result: Figures = {}
    print(f"{'recipe':42} {'':6} {'plain s':>8} {'wait ms':>8} {'ours s':>8} {'wait ms':>8}  same")
    for recipe in RECIPES:
        if not any(text in recipe.title for text in only):
            continue
        for kind in kinds:
            found = result[f"{recipe.title}, {kind}"] = compare(recipe, pauses[kind])
            print(
                f"{recipe.document}: {recipe.title:39} {kind:6} {found['plain_s']:8.2f} "
                f"{1000 * found['plain_wait_s']:8.1f} {found['ours_s']:8.2f} "
                f"{1000 * found['ours_wait_s']:8.1f}  {'yes' if found['same_elements'] else 'NO'}",
                flush=True,
            )
        if recipe.note:
            print(f"   ({recipe.note})")
    return result


if __name__ == "__main__":
    main()
