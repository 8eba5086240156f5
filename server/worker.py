"""`Worker`: what a generator learns about its part of the job. Public."""

from __future__ import annotations

import hashlib
import operator
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from genserver.protocol.transport.dealt import Gate

    from .items import Share

__all__ = ["Worker", "random_states", "set_random_states"]

#: (shape, dtype) -> memory of that shape that an element will be sent from, or None.
Lend = Callable[[tuple[int, ...], np.dtype[Any]], np.ndarray[Any, Any] | None]


class Worker:
    """Passed to a generator that has a parameter named ``worker`` or annotated `Worker`.

    * ``index``, ``count``: over all workers of all servers of a trainer, so that
      ``items[worker.index :: worker.count]`` divides the work; 0 and 1 with ``--sharding off``.
    * ``epoch``: counts the trainer's passes from 0.
    * ``seed``: the trainer's, or the server's.
    * ``rng``: a ``numpy.random.Generator`` seeded by (seed, worker, epoch); so are the global
      states of `random` and `numpy.random`. Another in each worker, also with ``--sharding off``.
      A function that is called for items has it seeded anew, by (seed, item, epoch), for each.

    Make one yourself to run such a generator without a server: ``cubes(Worker())``. Belongs to the
    thread that runs the generator.
    """

    def __init__(
        self, index: int = 0, count: int = 1, epoch: int = 0, seed: int = 0, start: int = 0,
        *, stream: int | None = None, afresh: bool = False,
    ) -> None:  # fmt: skip
        """``stream`` seeds instead of ``index`` where the workers do not divide the work; with
        ``afresh`` a ``start`` above 0 seeds as well, so that no random element comes twice.

        genserver fills in everything.
        """
        self.index = index
        self.count = count
        self.epoch = epoch
        self.seed = seed
        self._start = start
        #: Its number among all workers, also where each runs the generator whole.
        self._stream = index if stream is None else stream
        self._goes_on = (start,) if afresh and start else ()
        self.seeks = False
        self._rng: np.random.Generator | None = None
        #: The item that is worked on, of a function that is called for each.
        self._item: int | None = None
        #: What the streams of this pass have in common, and which workers of the stage before this
        #: one it has; see `Open`.
        self._group = 0
        self._upstream = (0, 0)
        #: How many elements of the stream its trainer has used.
        self._acked: Callable[[], int] = lambda: 0
        #: Where the generator waits for what it needs.
        self._gate: Gate | None = None
        #: Where `empty` gets its memory; the runner sets it for the generator's turn.
        self._lend: Lend | None = None
        #: The items that are this worker's, of a function that is called for each; see items.py.
        self._share: Share | None = None

    @property
    def rng(self) -> np.random.Generator:
        """A ``numpy.random.Generator`` of this worker's own, or of the item that it works on."""
        if self._rng is None:
            self._rng = np.random.default_rng(self._sequence(0))
        return self._rng

    def _begin(self, item: int) -> None:
        """Work on an item begins: its random numbers are the same whoever does it, and when."""
        self._item, self._rng = item, None
        seeds = hashlib.blake2b(
            b"%d,%d,%d" % (self.seed, self.epoch, item), digest_size=12
        ).digest()  # numpy's own way takes ten times as long
        random.seed(int.from_bytes(seeds[:8], "little"))
        np.random.seed(int.from_bytes(seeds[8:], "little"))

    @property
    def start(self) -> int:
        """The element to begin with, above 0 when a lost connection or worker is made up for.

        A generator that reads it before its first ``yield`` must begin there; any other is run
        from its beginning, and the first elements are dropped.
        """
        self.seeks = True
        return self._start

    def empty(self, shape: int | Sequence[int], dtype: Any = "float32") -> np.ndarray[Any, Any]:
        """An array to fill and to yield, its contents undefined, like ``numpy.empty``.

        If the element spec has an array of this shape and dtype, this is the memory that it is sent
        from, and yielding it copies nothing. Ask for each array of an element once, in the
        generator itself, before the ``yield`` that gives it away; after that ``yield`` the array is
        read-only. Any other is copied when it is yielded, as ever.
        """
        sizes = (shape,) if isinstance(shape, int) else tuple(map(operator.index, shape))
        lent = self._lend(sizes, np.dtype(dtype)) if self._lend is not None else None
        return np.empty(sizes, dtype) if lent is None else lent

    def _sequence(self, purpose: int) -> np.random.SeedSequence:
        if self._item is not None:
            entropy = (self.seed, self._item, self.epoch)
            return np.random.SeedSequence(entropy, spawn_key=(purpose, 1))
        entropy = (self.seed, self._stream, self.epoch, *self._goes_on)
        return np.random.SeedSequence(entropy, spawn_key=(purpose,))

    def seed_globals(self) -> None:
        """Set the states of `random` and `numpy.random`, which belong to the whole process.

        genserver does so before the generator starts.
        """
        random.seed(int.from_bytes(self._sequence(1).generate_state(8).tobytes(), "little"))
        np.random.set_state(np.random.RandomState(np.random.MT19937(self._sequence(2))).get_state())

    def __repr__(self) -> str:
        return (
            f"Worker(index={self.index}, count={self.count}, epoch={self.epoch}, "
            f"seed={self.seed}, start={self._start})"
        )


def random_states() -> tuple[Any, Any]:
    """The global states of `random` and `numpy.random`."""
    return random.getstate(), np.random.get_state()


def set_random_states(states: tuple[Any, Any]) -> None:
    """Put back what `random_states` gave."""
    random.setstate(states[0])
    np.random.set_state(states[1])
