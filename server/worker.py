"""`Worker`: what a generator learns about its part of the job. Public."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
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
        self.rng = np.random.default_rng(self._sequence(0))
        #: Where `empty` gets its memory; the runner sets it for the generator's turn.
        self._lend: Lend | None = None
        #: The items that are this worker's, of a function that is called for each; see items.py.
        self._share: Share | None = None

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
