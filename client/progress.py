"""How far training has used a dataset, so that another run can go on there.

Owns one lock: lanes say what they hand on, the training loop what it has used.
"""

from __future__ import annotations

import operator
import threading
from collections import deque
from dataclasses import replace

from .passes import Finished, Pass
from .state import State, StateError, Terms

__all__ = ["STARTING", "Progress"]

#: Passes that may have begun while training is in an earlier one.
PASSES = 1024
#: Passes that have begun, and whose lanes may not have yet: of several iterators.
STARTING = 16


class Progress:
    """Counts what training uses of one dataset or client, and makes another run go on there.

    Give it as ``resume=`` and call `advance` with what each training step used; `state` then says
    where training is, for a checkpoint. A dataset runs ahead of training, so nobody but the
    training loop can count.

    With ``deterministic=True`` a run that goes on has exactly the elements of an unbroken one, in
    the same order, as long as nothing behind the dataset changes the order, as ``shuffle`` does. In
    the default order no element is lost, and none comes again unless ``cycle_length=`` asks for
    several lanes: then `State.repeats` of them do.

    The dataset's passes are those of training, one after the other: a validation takes a dataset of
    its own. Any thread.
    """

    def __init__(self) -> None:
        """For a new training run; `from_state` is for one that goes on."""
        self._changed = threading.Condition()
        self._claimed = False
        self._terms: Terms | None = None
        self._seed_is_free = True
        self._pinned: int | None = None
        self._resumed: State | None = None
        #: Where the next pass starts, if not at the beginning of its epoch.
        self._start: State | None = None
        self._next_epoch = 0
        #: What has begun, from the pass on that training is in.
        self._passes: deque[Pass] = deque()
        self._used = 0  # of that pass
        #: The passes that began last, by number.
        self._starting: dict[int, Pass] = {}
        self._begun = 0
        self._uncounted = False

    @classmethod
    def from_state(cls, state: State) -> Progress:
        """For a run that goes on where ``state`` was taken."""
        progress = cls()
        progress.restore(state)
        return progress

    def restore(self, state: State | None) -> None:
        """Training goes on with the next pass that begins, where ``state`` was taken; with None, at
        that pass's beginning, and what was used so far does not count.

        `StateError` when the state belongs to other data.
        """
        with self._changed:
            if state is not None:
                if self._terms is not None:
                    if self._seed_is_free:
                        self._terms = replace(self._terms, seed=state.seed)
                    self._check(state, self._terms)
                self._resumed = state
                self._next_epoch = state.epoch
            self._start = state
            self._passes.clear()
            self._used = 0
            self._uncounted = False

    def advance(self, elements: int = 1) -> None:
        """Training has used so many more elements of the dataset: of a batch that was made behind
        it, as many as are in it. What is more than a pass has is of the next one."""
        count = operator.index(elements)  # of numpy's and TensorFlow's integers too
        if count < 0:
            raise ValueError(f"training cannot have used {count} elements")
        with self._changed:
            self._used += count
            self._settle()

    def end_pass(self) -> None:
        """Training is through with its pass, whatever is left of it: the next element that it uses
        is the first one of the next pass. Without it a pass that is left early goes on."""
        with self._changed:
            self._used = 0
            if self._passes:
                self._passes.popleft()

    def state(self) -> State:
        """Where training is; behind the last element of a pass, at the beginning of the next.

        `StateError` when more was used than there was, which is a wrong count.
        """
        with self._changed:
            terms = self._terms
            if terms is None:
                raise StateError("give this Progress to from_server or Client as resume= first")
            self._settle()
            self._check_count()
            first = (0,) * terms.workers
            if self._passes and self._passes[0].size != self._used:
                current = self._passes[0]
                used = sum(current.taken) + self._used
                taken, turn = current.after(self._used)
                return _state(terms, current.epoch, used, taken, turn, current.finished)
            if len(self._passes) > 1:
                return _state(terms, self._passes[1].epoch, 0, first, 0)
            if not self._passes and self._start is not None:
                return self._start
            return _state(terms, self._next_epoch, 0, first, 0)

    @property
    def seed(self) -> int | None:
        """The seed of all passes, unless the options say one; None as long as any will do."""
        with self._changed:
            if self._terms is not None:
                return self._terms.seed
            return self._resumed.seed if self._resumed is not None else None

    def claim(self) -> None:
        """A dataset or client is made with it: the only one."""
        with self._changed:
            if self._claimed:
                raise StateError(
                    "a Progress belongs to one dataset or client: for another one, "
                    "Progress.from_state(progress.state())"
                )
            self._claimed = True

    def agree(self, terms: Terms, *, seed_is_free: bool, epoch: int | None) -> None:
        """What the servers and the options say now; ``epoch`` is the pinned one. `StateError` when
        it is not what the state, or an earlier pass, was made under."""
        with self._changed:
            if self._terms is not None and terms != self._terms:
                raise StateError(f"the data changed under training: {terms}, was {self._terms}")
            self._seed_is_free, self._pinned = seed_is_free, epoch
            if self._terms is None:
                if self._resumed is not None:
                    self._check(self._resumed, terms)
                elif epoch is not None:
                    self._next_epoch = epoch
            self._terms = terms

    def begin(self, lanes: int) -> tuple[int, Pass]:
        """A pass begins; its lanes can have it by its number."""
        with self._changed:
            terms, start = self._terms, self._start
            assert terms is not None  # the source agreed when it was made
            taken = start.taken if start is not None else (0,) * terms.workers
            begun = Pass(
                self._next_epoch, taken, turn=start.turn if start is not None else 0, lanes=lanes,
                deterministic=terms.deterministic, again=start.repeats if start is not None else 0,
                finished=(start.finished if start is not None else ()) if terms.dealt else None,
            )  # fmt: skip
            self._start = None
            if self._pinned is None:
                self._next_epoch += 1
            if len(self._passes) < PASSES:
                self._passes.append(begun)
            else:
                self._uncounted = True
            number, self._begun = self._begun, self._begun + 1
            self._starting[number] = begun
            self._starting.pop(number - STARTING, None)
            return number, begun

    def begun(self, number: int) -> Pass:
        """The pass of that number, for a lane that begins."""
        with self._changed:
            return self._starting[number]

    def hand(self, begun: Pass, lane: int, workers: tuple[int, ...], rows: int) -> None:
        """See `Pass.hand`."""
        with self._changed:
            begun.hand(lane, workers, rows)
            self._changed.notify_all()

    def finish(self, begun: Pass, worker: int, space: int, item: int, count: int) -> None:
        """See `Pass.finish`; here ``count`` is the generator's own. The rest of a batch in which an
        item ends is needed for it, too."""
        with self._changed:
            assert self._terms is not None  # the source agreed when it was made
            begun.finish(worker, space, item, -(-count // max(1, self._terms.batch)))

    def end(self, begun: Pass, worker: int, length: int) -> None:
        """See `Pass.end`."""
        with self._changed:
            begun.end(worker, length)
            self._changed.notify_all()

    def wait(self, begun: Pass, seconds: float) -> None:
        """Until the first element of a pass was handed on, or its end is known, or ``seconds``."""
        with self._changed:
            self._changed.wait_for(lambda: begun.handed or begun.size is not None, seconds)

    def _check(self, state: State, terms: Terms) -> None:
        terms.check(state)
        if self._pinned not in (None, state.epoch):
            raise StateError(f"epoch={self._pinned} was given, and the state is of {state.epoch}")

    def _settle(self) -> None:
        """Leave the passes that training is beyond."""
        while self._passes:
            size = self._passes[0].size
            if size is None or self._used <= size:
                break
            self._used -= size
            self._passes.popleft()

    def _check_count(self) -> None:
        handed = self._passes[0].handed if self._passes else 0
        if self._uncounted:
            raise StateError(f"{PASSES} passes began, and advance() was not told that any was used")
        if len(self._passes) > 1 and self._passes[0].left:
            raise StateError(
                "a pass was left before its end and another has begun: call end_pass() in between, "
                "or nobody knows which of them was used"
            )
        if self._used > handed:
            raise StateError(
                f"advance() was told of {self._used} elements of a pass that has given {handed}: "
                "it counts the elements of the dataset itself"
            )


def _state(
    terms: Terms, epoch: int, elements: int, taken: tuple[int, ...], turn: int,
    finished: Finished = (),
) -> State:  # fmt: skip
    return State(
        epoch=epoch, elements=elements, taken=taken, turn=turn, seed=terms.seed,
        batch=terms.batch, drop_remainder=terms.drop_remainder,
        deterministic=terms.deterministic,
        finished=tuple(map(tuple, finished)) if terms.dealt else None,
    )  # fmt: skip
