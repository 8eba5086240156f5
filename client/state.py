"""Where a training run is in its data: what goes into its checkpoint. Pure.

A `State` holds for the same data only: `Terms` are what must not change for that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from genserver.protocol.errors import GenserverError

__all__ = ["State", "StateError", "Terms", "VERSION"]

#: The version of what `State.to_dict` gives.
VERSION = 1


class StateError(GenserverError, ValueError):
    """A state cannot be read, belongs to other data, or cannot be told.

    The text says which and why.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What must be the same for a state to mean the same elements."""

    seed: int
    #: Over all servers.
    workers: int
    #: 0 where the elements are single ones.
    batch: int
    drop_remainder: bool
    deterministic: bool
    #: Whether the workers are dealt items; if not, each has a share of its own.
    dealt: bool = False

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in asdict(self).items())

    def check(self, state: State) -> None:
        """`StateError` unless ``state`` was taken under the same terms."""
        for name, ours in asdict(self).items():
            theirs = getattr(state, name)
            if ours != theirs:
                raise StateError(
                    f"the state was taken with {name}={theirs}, this data has {name}={ours}: it "
                    "would not go on with the same elements"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """How far training has used its data: plain numbers, for any checkpoint.

    `Progress.state` makes one, `Progress.from_state` or ``resume=`` goes on there.
    """

    #: The pass that training is in: the generator's ``worker.epoch``.
    epoch: int
    #: How many elements of that pass training has used; batches, with ``batch=``.
    elements: int
    #: Where each worker goes on, by its global index: what it made and training has used.
    taken: tuple[int, ...]
    #: Whose element comes next, in deterministic order.
    turn: int = 0
    seed: int
    batch: int = 0
    drop_remainder: bool = False
    deterministic: bool = False
    #: Where items are dealt, those that training has used to their end, as pairs (first, end), of
    #: each numbering that there is; ``taken`` then counts their elements. Else None.
    finished: tuple[tuple[tuple[int, int], ...], ...] | None = None

    def __post_init__(self) -> None:
        for name, limit in (("epoch", 2**63), ("elements", 2**63), ("seed", 2**64)):
            _check(name, getattr(self, name), limit)
        _check("batch", self.batch, 2**31)
        for name in ("drop_remainder", "deterministic"):
            if not isinstance(getattr(self, name), bool):
                raise StateError(f"a state's {name} is true or false, not {getattr(self, name)!r}")
        if not isinstance(self.taken, tuple) or not self.taken:
            raise StateError(f"a state's taken has a number for each worker, not {self.taken!r}")
        for count in self.taken:
            _check("taken", count, 2**63)
        _check("turn", self.turn, len(self.taken))
        for pairs in self.finished or ():
            _check_pairs(pairs)
        if sum(self.taken) > self.elements or (self.deterministic and self.repeats):
            raise StateError(
                f"a state of {self.elements} elements cannot have {sum(self.taken)} of its workers"
            )

    @property
    def dealt(self) -> bool:
        """Whether items were dealt."""
        return self.finished is not None

    @property
    def workers(self) -> int:
        """How many workers there were, over all servers."""
        return len(self.taken)

    @property
    def repeats(self) -> int:
        """Elements that training has used and that come again: 0 in deterministic order.

        Where items are dealt, those of the items that were not used to their end.
        """
        return self.elements - sum(self.taken)

    def to_dict(self) -> dict[str, Any]:
        """Numbers, booleans and lists of numbers by name."""
        finished = None if self.finished is None else _lists(self.finished)
        return {
            "version": VERSION, **asdict(self), "taken": list(self.taken), "finished": finished
        }  # fmt: skip

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> State:
        """What `to_dict` gave; `StateError` on anything else."""
        if not isinstance(content, Mapping):
            raise StateError(f"a state is a dict, not {type(content).__name__}")
        version = content.get("version")
        if version != VERSION:
            raise StateError(f"a state of version {version!r}: this genserver reads {VERSION}")
        names = set(cls.__dataclass_fields__)
        given = {name: content[name] for name in content if name != "version"}
        if set(given) != names:
            wrong = sorted(map(str, names ^ set(given)))
            raise StateError(f"not the content of a state: {', '.join(wrong)} missing or unknown")
        if isinstance(given["taken"], list | tuple):
            given["taken"] = tuple(given["taken"])
        if given["finished"] is not None:
            given["finished"] = _pairs(given["finished"])
        return cls(**given)

    @classmethod
    def from_json(cls, text: str | bytes) -> State:
        """What `to_json` gave; `StateError` on anything else."""
        try:
            content = json.loads(text)
        except ValueError as error:
            raise StateError(f"not the text of a state: {error}") from None
        return cls.from_dict(content)


def _lists(finished: tuple[tuple[tuple[int, int], ...], ...]) -> list[list[list[int]]]:
    return [[list(pair) for pair in pairs] for pairs in finished]


def _pairs(finished: Any) -> tuple[tuple[tuple[int, int], ...], ...]:
    try:
        return tuple(tuple((first, end) for first, end in pairs) for pairs in finished)
    except (TypeError, ValueError):
        raise StateError(
            f"a state's finished has lists of pairs (first, end), not {finished!r}"
        ) from None


def _check_pairs(pairs: tuple[tuple[int, int], ...]) -> None:
    """`StateError` unless they are what `Ranges.pairs` gives."""
    numbers = [number for pair in pairs for number in pair]
    for number in numbers:
        _check("finished", number, 2**63)
    if any(len(pair) != 2 for pair in pairs) or any(a >= b for a, b in pairwise(numbers)):
        raise StateError(f"a state's finished has rising pairs (first, end), not {pairs!r}")


def _check(name: str, value: object, limit: int) -> None:
    """`StateError` unless ``value`` is a whole number from 0 to below ``limit``."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < limit:
        raise StateError(f"a state's {name} is a whole number from 0 on, not {value!r}")
