"""The recipes of five documents about ``from_generator``, in our own words, and beside each its
genserver form.

`Recipe.plain` and `Recipe.ours` make a dataset of the same elements. Both spend their time in
`pause`, which sleeps, or does as much pure-Python work.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from genserver.client import from_generator
from genserver.server import Worker, stage

__all__ = ["RECIPES", "Pause", "Recipe", "cutter", "loader"]

#: Spends so many seconds.
Pause = Callable[[float], None]
PLAIN = tf.data.Dataset.from_generator
SLICES = tf.data.Dataset.from_tensor_slices
FILES = 8
_FOLDER = tempfile.TemporaryDirectory()


@dataclass(frozen=True, slots=True)
class Recipe:
    """One recipe and its genserver form."""

    #: Of the documents, in their order.
    document: int
    title: str
    plain: Callable[[Pause], Any]
    ours: Callable[[Pause], Any]
    #: Seconds of a training step.
    step: float
    #: What of the printed recipe does not run, and what is measured in its place.
    note: str = ""


# Document 0, example 1: a generator that takes 0.3 s, behind a step of 0.1 s.


def _named(pause: Pause) -> Callable[[bytes], Any]:
    def generate(name: bytes) -> Any:
        for number in range(10):
            pause(0.3)
            yield f"{name.decode()} yields {number}"

    return generate


def _one_thread(pause: Pause) -> Any:
    return PLAIN(_named(pause), tf.string, args=("Gen_0",)).prefetch(10)


def _one_worker(pause: Pause) -> Any:
    return from_generator(_named(pause), tf.string, args=("Gen_0",))


def _three_threads(pause: Pause) -> Any:
    names = SLICES(["Gen_0", "Gen_1", "Gen_2"])
    return names.interleave(
        lambda name: PLAIN(_named(pause), tf.string, args=(name,)),
        cycle_length=3, block_length=1, num_parallel_calls=3,
    )  # fmt: skip


def _three_workers(pause: Pause) -> Any:
    names = [b"Gen_0", b"Gen_1", b"Gen_2"]
    return from_generator(_named(pause), tf.string, items=names, workers=3)


# Document 0, example 2: a method of a class that counts its objects.


def _counting(pause: Pause) -> Any:
    class Generator:
        counter = 0

        def __init__(self) -> None:
            self.number = Generator.counter
            Generator.counter += 1

        def read(self, name: bytes) -> Any:
            for number in range(5):
                pause(0.3)
                yield f"{name.decode()}_{self.number} yields {number}"

    return Generator


def _objects_in_threads(pause: Pause) -> Any:
    make = _counting(pause)
    return SLICES(["Gen"] * 3).interleave(
        lambda name: PLAIN(lambda n: make().read(n), tf.string, args=(name,)),
        cycle_length=3, block_length=1, num_parallel_calls=3,
    )  # fmt: skip


def _objects_in_workers(pause: Pause) -> Any:
    # Of a class inside a function only an object can say which class it is.
    make = _counting(pause)
    objects = [make() for _ in range(3)]
    return from_generator(
        lambda worker: objects[worker.index].read(b"Gen"), tf.string, workers=3
    )  # fmt: skip


# Document 0, example 3: a volume takes 1.5 s, each of its five cubes 0.3 s.


def _cubes(pause: Pause) -> Callable[..., Any]:
    def generate(number: int) -> Any:
        for _ in range(3):
            volume = np.arange(number * 10, (number + 1) * 10)
            pause(1.5)
            for cube in range(5):
                pause(0.3)
                yield volume[cube * 2 : (cube + 1) * 2]

    return generate


def _volumes_in_threads(pause: Pause) -> Any:
    return SLICES([0, 1, 2]).interleave(
        lambda number: PLAIN(_cubes(pause), tf.float32, args=(number,)),
        cycle_length=3, block_length=1, num_parallel_calls=3,
    )  # fmt: skip


def _volumes_in_workers(pause: Pause) -> Any:
    return from_generator(_cubes(pause), tf.float32, items=[0, 1, 2], workers=3)


# The same in two stages: three that load, three that cut, for ever or so many volumes.


def loader(pause: Pause, volumes: int | None = None) -> Callable[[Worker], Any]:
    """Volumes of the first stage, 1.5 s each: so many in all, or for ever."""

    def load(worker: Worker) -> Any:
        for number in itertools.count(worker.index, worker.count):
            if volumes is not None and number >= volumes:
                return
            pause(1.5)
            yield np.arange(number * 10, (number + 1) * 10)

    return load


def cutter(pause: Pause) -> Callable[[Any], Any]:
    """Five cubes of a volume, 0.3 s each."""

    def cut(volume: Any) -> Any:
        for cube in range(5):
            pause(0.3)
            yield volume[cube * 2 : (cube + 1) * 2]

    return cut


def _stages_in_threads(pause: Pause) -> Any:
    loads = loader(pause, 9)
    volumes = SLICES([0, 1, 2]).interleave(
        lambda number: PLAIN(lambda n: loads(Worker(int(n), 3)), tf.int64, args=(number,)),
        cycle_length=3, block_length=1, num_parallel_calls=3,
    )  # fmt: skip
    return volumes.prefetch(1).interleave(
        lambda volume: PLAIN(cutter(pause), tf.int64, args=(volume,)),
        cycle_length=3, block_length=1, num_parallel_calls=3,
    )  # fmt: skip


def _stages_in_workers(pause: Pause) -> Any:
    return from_generator(stage(loader(pause, 9), workers=3).then(cutter(pause), workers=3))


# Document 1: 100 images with masks, 0.1 s each.


def _pair(pause: Pause) -> Callable[[int], Any]:
    def load(number: int) -> Any:
        pause(0.1)
        rng = np.random.default_rng(int(number))
        return rng.random((64, 64, 3), np.float32), rng.integers(0, 2, (64, 64, 1), np.uint8)

    return load


def _pairs_in_threads(pause: Pause) -> Any:
    load = _pair(pause)
    return tf.data.Dataset.range(100).interleave(
        lambda number: PLAIN(lambda n: iter([load(n)]), (tf.float32, tf.uint8), args=(number,)),
        num_parallel_calls=2,
    )


def _pairs_in_workers(pause: Pause) -> Any:
    return from_generator(_pair(pause), (tf.float32, tf.uint8), items=range(100), workers=2)


# Document 2: a slow generator, a thread with a queue, an async generator.


def _small(number: int) -> tuple[Any, int]:
    return np.full((10, 10), number, np.float64), number


def _queued(pause: Pause) -> Any:
    def fill(waiting: Any) -> None:
        for number in range(20):
            pause(0.1)
            waiting.put(_small(number))
        waiting.put(None)

    def read() -> Any:
        waiting: Any = queue.Queue(10)
        threading.Thread(target=fill, args=(waiting,), daemon=True).start()
        yield from iter(waiting.get, None)

    return PLAIN(read, (tf.float64, tf.int32))


def _slow(pause: Pause) -> Any:
    def read() -> Any:
        for number in range(20):
            pause(0.1)
            yield _small(number)

    return from_generator(read, (tf.float64, tf.int32))


def _asynchronous(pause: Pause) -> Callable[[], Any]:
    async def read() -> Any:
        for number in range(20):
            await asyncio.sleep(0)
            pause(0.1)
            yield _small(number)

    return read


def _turned_by_hand(pause: Pause) -> Any:
    def read() -> Any:
        loop = asyncio.new_event_loop()
        elements = _asynchronous(pause)()
        try:
            while True:
                yield loop.run_until_complete(anext(elements))
        except StopAsyncIteration:
            loop.close()

    return PLAIN(read, (tf.float64, tf.int32))


def _served_async(pause: Pause) -> Any:
    return from_generator(_asynchronous(pause), (tf.float64, tf.int32))


# Document 3: files, one after the other and side by side; batches that are made by the generator.


def _files() -> list[str]:
    folder = Path(_FOLDER.name)
    for number in range(FILES):
        np.save(folder / f"{number}.npy", np.full((10, 10), number, np.float32))
    return [str(folder / f"{number}.npy") for number in range(FILES)]


def _rows(pause: Pause) -> Callable[[Any], Any]:
    def read(path: Any) -> Any:
        pause(0.3)
        yield from np.load(path if isinstance(path, str) else path.decode())

    return read


def _files_in_threads(pause: Pause) -> Any:
    return SLICES(_files()).interleave(
        lambda path: PLAIN(_rows(pause), tf.float32, args=(path,)),
        cycle_length=4, num_parallel_calls=tf.data.AUTOTUNE,
    )  # fmt: skip


def _files_in_workers(pause: Pause) -> Any:
    return from_generator(_rows(pause), tf.float32, items=_files(), workers=4)


def _batches(pause: Pause) -> Callable[[], Any]:
    def read() -> Any:
        for number in range(10):
            pause(0.2)
            yield np.full((32, 28, 28, 3), number, np.float32)

    return read


# Document 4: images by name, 0.1 s each, in batches of two.


def _images(pause: Pause) -> Callable[[str], Any]:
    def load(name: str) -> Any:
        pause(0.1)
        return np.full((64, 64, 3), len(name), np.float32), np.int32(len(name) % 2)

    return load


NAMES = ["a" * length for length in range(1, 21)]


def _preloaded(pause: Pause) -> Any:
    def fill(waiting: Any) -> None:
        for name in NAMES:
            waiting.put(_images(pause)(name))
        waiting.put(None)

    def read() -> Any:
        waiting: Any = queue.Queue(10)
        threading.Thread(target=fill, args=(waiting,), daemon=True).start()
        yield from iter(waiting.get, None)

    return PLAIN(read, (tf.float32, tf.int32)).batch(2).prefetch(tf.data.AUTOTUNE)


def _images_in_workers(pause: Pause) -> Any:
    dataset = from_generator(
        _images(pause), (tf.float32, tf.int32), items=NAMES, workers=2, deterministic=True
    )
    return dataset.batch(2)


_SESSION = "printed for TensorFlow 1 (make_one_shot_iterator, Session): as an eager loop here"
_ARGUMENT = "as printed it passes a queue.Queue, or a generator, as args=, which takes tensors only"

RECIPES = [
    Recipe(0, "one generator, prefetched", _one_thread, _one_worker, 0.1, _SESSION),
    Recipe(0, "three generators interleaved", _three_threads, _three_workers, 0.1, _SESSION),
    Recipe(0, "a method of three objects", _objects_in_threads, _objects_in_workers, 0.1, _SESSION),
    Recipe(0, "volumes and their cubes", _volumes_in_threads, _volumes_in_workers, 0.1, _SESSION),
    Recipe(0, "the same in two stages", _stages_in_threads, _stages_in_workers, 0.1, _SESSION),
    Recipe(1, "100 pairs, two at once", _pairs_in_threads, _pairs_in_workers, 0.0),
    Recipe(2, "a thread and a queue", _queued, _slow, 0.0, _ARGUMENT),
    Recipe(2, "an async generator", _turned_by_hand, _served_async, 0.0, _ARGUMENT),
    Recipe(
        3, "files interleaved", _files_in_threads, _files_in_workers, 0.0,
        "as printed the files are read while the graph is traced, where a path has no .decode",
    ),
    Recipe(
        3, "a generator of batches",
        lambda pause: PLAIN(_batches(pause), tf.float32).prefetch(2),
        lambda pause: from_generator(_batches(pause), tf.float32), 0.1,
    ),
    Recipe(4, "a thread that loads ahead", _preloaded, _images_in_workers, 0.05),
]  # fmt: skip
