"""`Replay`: the first elements of a worker's generator, kept and handed out in a circle.

For ``--replay``, which finds out how fast a trainer is by itself. Owns the generator until it has
given what is wanted, its random states, and the elements, which are copies: nothing of the
generator's can change them. All passes of all trainers share them. Belongs to the thread that runs
generators.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice, repeat
from typing import Any

import numpy as np
from genserver.protocol.errors import ElementError
from genserver.protocol.values import to_leaf

from .config import ConfigError
from .figures import size
from .items import NOTHING
from .kinds import Make
from .source import Source
from .worker import Worker, random_states, set_random_states

__all__ = ["Replay", "TooMuchToReplay", "owned", "replaying", "room_for", "weight"]

logger = logging.getLogger("genserver")

#: What all workers of a server may keep together is the memory divided by this.
SHARE_OF_MEMORY = 4
#: What an object of Python's weighs about, beside its text.
OBJECT = 50
_END = object()


class TooMuchToReplay(Exception):
    """The elements are too large, or too many, to be kept."""


def replaying(source: Source, count: int, *, target: str, length: int | None, room: int) -> Source:
    """``source`` with ``count`` elements of all its workers in the place of its own.

    A pass is as long as it was, by ``length`` where that is given; endless where nobody knows.
    A worker keeps ``room`` bytes at most. `ConfigError` for what cannot be replayed.
    """
    if source.upstream is not None:
        raise ConfigError(
            f"{target} is a pipeline, and --replay is for one stage: serve a function that makes "
            "the last stage's elements by itself"
        )
    known = source.length if length is None else length
    kept = Replay(source.make, count, length=known, room=room)
    endless = -1 if known < 0 else known
    # What is kept is nobody's item any more: each worker has its own circle.
    return replace(source, make=kept, length=endless, items=None, ahead=0, kept=(kept,))


def room_for(workers: int | None, *, memory: int, cores: int) -> int:
    """The bytes that one worker may keep, where ``workers`` are asked for, or None is said."""
    return memory // SHARE_OF_MEMORY // (max(1, cores - 1) if workers is None else max(1, workers))


class Replay:
    """Is called like a generator function, for each pass of each trainer."""

    def __init__(self, make: Make, count: int, *, length: int, room: int) -> None:
        """``count`` and ``length`` are those of all workers; a negative length is endless."""
        self._make = make
        self._count = count
        self._length = length
        self._room = room
        self._generator: Iterator[Any] | None = None
        self._states: Any = None
        self._kept: list[Any] = []
        self._whole = False
        self._wanted = 0
        self._nbytes = 0

    def __call__(self, worker: Worker) -> Iterator[Any]:
        """The elements of one pass: number i is kept element i, modulo how many there are.

        `NOTHING` while one that comes first is made.
        """
        place = worker.start
        end = None if self._length < 0 else _part(self._length, worker)
        while not self._whole and (end is None or place < end):
            if place < len(self._kept):
                yield self._kept[place]
                place += 1
            elif not self._advance(worker) or not (self._whole or place < len(self._kept)):
                yield NOTHING  # others may have a turn on the way to a place further on
        if self._kept and (end is None or place < end):
            first = place % len(self._kept)
            stop = None if end is None else first + end - place
            yield from islice(chain.from_iterable(repeat(self._kept)), first, stop)

    def close(self) -> None:
        """Run the finally blocks of a generator that is not used up; idempotent."""
        generator, self._generator = self._generator, None
        close = getattr(generator, "close", None)
        if close is not None:
            close()

    def _advance(self, worker: Worker) -> bool:
        """Keep one element more, or find that there is none; False when it must be waited for.

        Raises what the generator raises; then the next pass that wants elements begins anew.
        """
        outer = random_states()
        try:
            generator = self._begin(worker) if self._generator is None else self._generator
            set_random_states(self._states)
            element = next(generator, _END)
            self._states = random_states()
            if element is NOTHING:
                return False
            if element is not _END:
                self._keep(element)
            if element is _END or len(self._kept) == self._wanted:
                self._complete()
        except BaseException:
            self._generator, self._kept, self._nbytes = None, [], 0
            raise
        finally:
            set_random_states(outer)
        return True

    def _begin(self, worker: Worker) -> Iterator[Any]:
        """A pass of the generator from its beginning, which is nobody's but this one's."""
        own = Worker(worker.index, worker.count, worker.epoch, worker.seed, stream=worker._stream)
        own.seed_globals()
        self._states = random_states()
        self._wanted = max(1, _part(self._count, worker))
        self._generator = self._make(own)
        return self._generator

    def _keep(self, element: Any) -> None:
        kept = owned(element)
        nbytes = weight(kept)
        self._nbytes += nbytes
        self._kept.append(kept)
        expected = max(self._nbytes, nbytes * self._wanted if len(self._kept) == 1 else 0)
        if expected > self._room:
            raise TooMuchToReplay(
                f"{self._wanted} elements of {size(nbytes)} are more than the "
                f"{size(self._room)} that each worker may keep for --replay, together a "
                "quarter of the memory: replay fewer, or with fewer workers"
            )

    def _complete(self) -> None:
        self._whole = True
        kept = len(self._kept)
        early = " (the generator ended)" if kept < self._wanted else ""
        logger.warning(
            "replays %d kept element%s%s, %s, from here on: for measuring, not for training",
            kept, "s" * (kept != 1), early, size(self._nbytes),
        )  # fmt: skip
        try:
            self.close()
        except Exception:
            logger.exception("the generator raised while it was being closed")


def _part(total: int, worker: Worker) -> int:
    """How many of ``total`` are this worker's."""
    return total // worker.count + (worker.index < total % worker.count)


def owned(value: Any) -> Any:
    """A copy of an element that shares no memory with whoever made it.

    What cannot travel stays as it is: it is refused where it is sent, and named there.
    """
    if isinstance(value, dict):
        return {key: owned(part) for key, part in value.items()}
    if isinstance(value, tuple):
        parts = [owned(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, list):
        return [owned(part) for part in value]
    if isinstance(value, np.ndarray):
        return value.copy()
    if value is None or isinstance(value, str | bytes | bool | int | float | complex | np.generic):
        return value
    try:
        _, leaf, _ = to_leaf(value, "element")  # a tensor, a picture, a view of bytes
    except ElementError:
        return value
    if isinstance(leaf, np.ndarray):
        return leaf.copy()
    return np.array(value, dtype=object) if leaf.shape else leaf.items[0]


def weight(value: Any) -> int:
    """The bytes that a copy of an element takes, about."""
    if isinstance(value, dict):
        return OBJECT + sum(map(weight, value.values()))
    if isinstance(value, tuple | list):
        return OBJECT + sum(map(weight, value))
    if isinstance(value, np.ndarray):
        texts = sum(map(weight, value.flat)) if value.dtype.hasobject else 0
        return OBJECT + int(value.nbytes) + texts
    return OBJECT + (len(value) if isinstance(value, str | bytes) else 0)
