"""Elements as they are looked at: counted, and of the first ones what a picture shows. Pure.

Keeps statistics and small copies, never an element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from genserver.protocol.dtypes import TEXT, numpy_dtype
from genserver.protocol.spec import ElementSpec
from genserver.protocol.text import clean, fit

from .samples import Array, Statistics, Tally, is_integer
from .sights import Cut, Facts, Group, cuts_of, facts_of, grouped, is_batched

__all__ = ["UNDRAWABLE", "Album", "Column", "Warned", "short", "why_undrawn"]

_NAME = re.compile(r"element(?:\.|\[')(\w+)(?:'\])?")
#: What is probably wrong, the worst first.
KINDS = (
    "all_zero", "nan", "inf", "constant", "repeated", "empty", "not_normalised", "empty_texts",
    "channels_first",
)  # fmt: skip
#: What numpy and matplotlib raise where something cannot be drawn: for values and sizes that nobody
#: thought of, in a version that lacks what is called here, where memory is short. It must not cost
#: the table, which is made already.
UNDRAWABLE = (
    ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError,
)  # fmt: skip
#: Elements, and groups of arrays, that are drawn.
COLUMNS, GROUPS = 8, 4
#: Single values that stand above an element.
TITLES = 4
#: An element of more values is no label: two that are alike are worth a word.
LARGE = 64
#: Float images beyond that have not been brought to the range of a network's weights.
RANGE = 50.0


@dataclass(frozen=True, slots=True)
class Column:
    """One element, or one row of a batch."""

    title: str
    #: Its single values, as text.
    values: tuple[str, ...]
    #: What is drawn of each group.
    cuts: tuple[tuple[Cut, ...], ...]


@dataclass(frozen=True, slots=True)
class Warned:
    """What is probably wrong with an array; ``kind`` is for programs."""

    path: str
    kind: str
    text: str


def short(path: str) -> str:
    """A path without what all paths begin with; a name alone where that is all."""
    one = _NAME.fullmatch(path)
    return one[1] if one else path.removeprefix("element") or "element"


def why_undrawn(error: BaseException) -> str:
    """Its kind and its first words, in a line."""
    text = " ".join(clean(str(error)).split())
    return fit(f"{type(error).__name__}: {text}" if text else type(error).__name__, 200)


class Album:
    """Collects elements of one spec. One thread."""

    def __init__(self, spec: ElementSpec, elements: int, *, pictures: bool) -> None:
        """``elements``: how many there will be at most; ``pictures``: whether any will be drawn."""
        self._spec, self._pictures = spec, pictures
        self.leaves = spec.leaves()
        self._tallies = [Tally(path, leaf, elements) for path, leaf in self.leaves]
        self.elements = 0
        #: Whether the generator yields batches.
        self.batched = False
        self.groups: list[Group] = []
        #: Groups that there is no room for.
        self.left_out = 0
        #: The arrays that are no pictures.
        self.others: list[int] = []
        self.columns: list[Column] = []
        #: Why there are no more of them, or "". Its traceback would keep an element.
        self.undrawn = ""
        #: Of the first element.
        self.facts: list[Facts] = []

    def add(self, values: Sequence[Any]) -> None:
        """The next element's arrays, in flattening order."""
        arrays = [
            np.asarray(value, numpy_dtype(leaf.dtype))
            for value, (_, leaf) in zip(values, self.leaves, strict=True)
        ]
        for tally, array in zip(self._tallies, arrays, strict=True):
            tally.add(array)
        if self.elements == 0:
            self._decide(arrays)
        self.elements += 1
        for title, row in self._rows(arrays):
            if len(self.columns) == COLUMNS or not self._pictures or self.undrawn:
                break
            try:
                self._draw(title, row)
            except UNDRAWABLE as error:
                self.undrawn = why_undrawn(error)

    @property
    def statistics(self) -> list[Statistics]:
        """Of each array."""
        return [tally.statistics for tally in self._tallies]

    def warnings(self) -> list[Warned]:
        """What is probably wrong, the worst first."""
        images = {group.base for group in self.groups}
        found: list[Warned] = []
        for number, one in enumerate(self.statistics):
            found += [
                Warned(one.path, kind, text)
                for kind, text in _wrong(one, image=number in images, batched=self.batched)
            ]
        for group in self.groups:
            facts = self.facts[group.first]
            # Elsewhere the first of three may be a slice.
            if group.form.channels == "first" and group.form.space == 2 and facts.shape[-3] == 3:
                path = self.leaves[group.first][0]
                text = (
                    f"{_times(facts.shape)}: the channels come first; TensorFlow expects them last"
                )
                found.append(Warned(path, "channels_first", text))
        return sorted(found, key=lambda warned: KINDS.index(warned.kind))

    def _decide(self, arrays: list[Array]) -> None:
        """By the first element."""
        self.batched = is_batched(self._spec, [array.shape for array in arrays])
        first = [array[0] for array in arrays] if self.batched and len(arrays[0]) else arrays
        self.facts = [
            facts_of(leaf.dtype, np.asarray(array, numpy_dtype(leaf.dtype)))
            for array, (_, leaf) in zip(first, self.leaves, strict=True)
        ]
        groups, self.others = grouped(self.facts)
        self.groups, self.left_out = groups[:GROUPS], len(groups[GROUPS:])

    def _rows(self, arrays: list[Array]) -> Iterator[tuple[str, list[Array]]]:
        """What is a column of its own: the element, or each row of the batch."""
        number = self.elements - 1
        if not self.batched:
            yield f"element {number}", arrays
            return
        for row in range(min(map(len, arrays))):
            yield (
                f"batch {number}, row {row}",
                [np.asarray(array[row], array.dtype) for array in arrays],
            )

    def _draw(self, title: str, row: list[Array]) -> None:
        cuts = tuple(tuple(cuts_of(group, self.facts, row)) for group in self.groups)
        single = [number for number in self.others if row[number].size == 1][:TITLES]
        values = tuple(
            f"{short(self.leaves[number][0])} {_written(row[number].reshape(-1)[0])}"
            for number in single
        )
        self.columns.append(Column(title, values, cuts))


def _written(value: Any) -> str:
    """One value as a title has it."""
    if isinstance(value, str | bytes):
        return fit(clean(repr(value[:40])), 16)
    if isinstance(value, np.bool_ | bool):
        return str(bool(value))
    if isinstance(value, np.integer):
        return str(int(value))
    return f"{value:.4g}" if isinstance(value, np.complexfloating) else f"{float(value):.4g}"


def _times(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _wrong(one: Statistics, *, image: bool, batched: bool) -> Iterator[tuple[str, str]]:
    """What is usually a bug in a generator: kind, and words."""
    if not one.elements:
        return
    if not one.values:
        yield "empty", "empty: it has no values"
        return
    if one.nan:
        yield "nan", f"NaN: {_part(one.nan, one.values)} of its values"
    if one.inf:
        yield "inf", f"infinite: {_part(one.inf, one.values)} of its values"
    if one.dtype in TEXT:
        if one.zeros == one.values:
            yield "empty_texts", "every text is empty"
        return
    if one.finite == one.values > 1 and one.low == one.high:
        value = "all zero" if one.low == 0 else f"constant: always {one.low:.6g}"
        yield "all_zero" if one.low == 0 else "constant", value
    elif one.values >= LARGE * one.filled and not batched:
        which = f" of the {one.filled} that are not empty" if one.empty else ""
        if one.different == 1 < one.filled:
            yield "repeated", f"every element{which} is the same"
        elif one.different < one.filled and not one.few:  # several empty masks are no news
            whole = which or f" of {one.filled} elements"
            yield "repeated", f"only {one.different}{whole} differ"
    large = max(abs(one.low or 0), abs(one.high or 0)) > RANGE
    if image and large and not is_integer(one.dtype):
        yield (
            "not_normalised",
            (
                f"not normalised: an image of {one.dtype} with values from {one.low:.4g} to "
                f"{one.high:.4g}"
            ),
        )


def _part(count: int, whole: int) -> str:
    """A share that is never rounded to nothing or to all."""
    if count == whole:
        return "all"
    share = 100 * count / whole
    return "under 0.1%" if share < 0.1 else "over 99.9%" if share > 99.9 else f"{share:.1f}%"
