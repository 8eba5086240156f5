"""One pass as training uses it: which elements of which workers are the first so many. Pure.

TensorFlow holds elements that were handed on and not used, so the count of what was used must be
turned into a count for each worker. In deterministic order the workers' lengths decide that, as far
as they are known, and they are known before any other worker takes a turn too many. In the default
order what was handed on is written down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from .ranges import Ranges

__all__ = ["Finished", "Pass", "in_turn"]

#: Items that are done, as pairs (first, end): of each numbering of items that there is.
Finished = Sequence[Sequence[tuple[int, int]]]

#: Runs of a lane that are written down; what came before counts as if it might come again.
RUNS = 1024


def in_turn(count: int, left: Sequence[int | None], turn: int) -> tuple[list[int], int]:
    """How many of the next ``count`` elements each worker gives, and whose turn is then.

    ``turn`` is whose turn is now, ``left`` how many elements each worker has, None for enough.
    """
    given = [0] * len(left)
    order = [(turn + step) % len(left) for step in range(len(left))]
    live = [worker for worker in order if left[worker] != 0]
    rounds = 0
    while live and count >= len(live):
        until = [known - rounds for w in live if (known := left[w]) is not None]
        more = min([count // len(live), *until])
        rounds += more
        count -= more * len(live)
        for worker in live:
            given[worker] = rounds
        live = [worker for worker in live if left[worker] != rounds]
    for worker in live[:count]:
        given[worker] += 1
    return given, live[count] if live else 0


class _Log:
    """What one lane handed on, in its order."""

    def __init__(self) -> None:
        self.handed = 0
        self._before: dict[int, int] = {}
        self._first = 0  # how many elements that is
        self._runs: deque[tuple[tuple[int, ...], int]] = deque()

    def add(self, workers: tuple[int, ...], rows: int) -> None:
        self.handed += len(workers) * rows
        self._runs.append((workers, rows))
        if len(self._runs) > RUNS:
            workers, rows = self._runs.popleft()
            self._first += len(workers) * rows
            for worker in workers:
                self._before[worker] = self._before.get(worker, 0) + rows

    def at(self, position: int) -> dict[int, int]:
        """How many elements of each worker are among the first ``position``; where that is no
        longer known, as many as there are at least."""
        short = max(0, self._first - position)
        counts = {worker: max(0, count - short) for worker, count in self._before.items()}
        left = position - self._first
        for workers, rows in self._runs:
            if left <= 0:
                break
            taken = min(left, len(workers) * rows)
            left -= taken
            for place, worker in enumerate(workers):
                mine = taken // len(workers) + (place < taken % len(workers))
                counts[worker] = counts.get(worker, 0) + mine
        return counts


class Pass:
    """From its start, which may lie behind the epoch's, until training is through with it."""

    def __init__(
        self, epoch: int, taken: Sequence[int], *, turn: int = 0, lanes: int = 1,
        deterministic: bool, again: int = 0, finished: Finished | None = None,
    ) -> None:  # fmt: skip
        """``taken`` is where each worker starts, ``turn`` who is first in deterministic order,
        ``again`` how many elements training has had already.

        Where items are dealt, ``finished`` are those that are done, and ``taken`` only counts what
        they had: each worker begins with items that are not.
        """
        self.epoch = epoch
        self.taken = tuple(taken)
        self.turn = turn
        self.again = again
        #: Whether its iterator was left before its end. Set without a lock, maybe by a finalizer.
        self.left = False
        self._deterministic = deterministic
        self._lengths: list[int | None] = [None] * len(self.taken)
        self._logs = [_Log() for _ in range(lanes)]
        #: Elements that were handed on.
        self.handed = 0
        self._finished = None if finished is None else [Ranges(pairs) for pairs in finished]
        #: By worker: (elements that it then had made, space, item) of the items that ended.
        self._ends: list[deque[tuple[int, int, int]]] = [deque() for _ in self.taken]
        #: By worker: its elements that belong to items in `_finished`.
        self._whole = [0] * len(self.taken)

    @property
    def finished(self) -> Finished:
        """The items that were done when it began, or `after` found since."""
        return tuple(ranges.pairs for ranges in self._finished or ())

    def finish(self, worker: int, space: int, item: int, count: int) -> None:
        """A worker was done with an item when it had made ``count`` elements; said once of each."""
        self._ends[worker].append((count, space, item))

    @property
    def size(self) -> int | None:
        """Elements from the start to the end; None until every worker's end is known."""
        lengths = [length for length in self._lengths if length is not None]
        if len(lengths) < len(self._lengths):
            return None
        return sum(lengths) - (sum(self.taken) if self._finished is None else 0)

    def hand(self, lane: int, workers: tuple[int, ...], rows: int) -> None:
        """A lane handed on so many elements of each of these workers: the first of each, the second
        of each, and so on."""
        self.handed += len(workers) * rows
        if not self._deterministic:
            self._logs[lane].add(workers, rows)

    def end(self, worker: int, length: int) -> None:
        """A worker's stream ended: the whole pass has so many of its elements."""
        self._lengths[worker] = length

    def after(self, used: int) -> tuple[tuple[int, ...], int]:
        """Where each worker goes on, and whose turn is, when ``used`` elements were used.

        ``used`` never falls.
        """
        if self._finished is not None:
            given, turn = self._whole_items(self._finished, self._at_least(used)), 0
        elif self._deterministic:
            left = [
                None if length is None else length - taken
                for length, taken in zip(self._lengths, self.taken, strict=True)
            ]
            given, turn = in_turn(used, left, self.turn)
        else:
            given, turn = self._at_least(used), 0
        return tuple(map(int.__add__, self.taken, given)), turn

    def _whole_items(self, finished: list[Ranges], given: Sequence[int]) -> list[int]:
        """How many of each worker's elements belong to items that are used to their end."""
        for worker, ends in enumerate(self._ends):
            while ends and ends[0][0] <= given[worker]:
                count, space, item = ends.popleft()
                while len(finished) <= space:
                    finished.append(Ranges())
                finished[space].add(item)
                self._whole[worker] = count
        return self._whole

    def _at_least(self, used: int) -> list[int]:
        """How many of each worker are surely used. What waits behind several lanes may be of any of
        them: only with one lane is the order known."""
        given = [0] * len(self.taken)
        waiting = self.handed - used
        for log in self._logs:
            for worker, count in log.at(max(0, log.handed - waiting)).items():
                given[worker] = count
        return given
