"""Statistics of elements, array by array of their structure. Pure.

One pass over each array in blocks, so that a large volume is never copied; sums in float64. What is
kept of an array does not grow with it: counts, few values, a sample for a histogram.
"""

from __future__ import annotations

import collections
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from genserver.protocol.dtypes import TEXT
from genserver.protocol.spec import ArraySpec
from genserver.protocol.text import clean, fit

__all__ = ["Array", "LABELS", "Number", "Statistics", "Tally", "blocks", "is_integer"]

Array = np.ndarray[Any, np.dtype[Any]]
Number = int | float

#: Values that are looked at together: 2 MiB as float64.
BLOCK = 2**18
#: An array with more distinct values than that has many.
FEW = 256
#: As many different integers make labels.
LABELS = 32
#: Values, of all elements together, that a histogram is drawn of.
SAMPLE = 2**16
#: Texts that are counted, shown, and how much of one is.
TEXTS, SHOWN, LENGTH = 1000, 4, 24
#: Bytes of an element's digest. Of 100 000 different elements (peek's most) two share one in less
#: than one look of a thousand million; with four bytes that is so in most looks.
DIGEST = 8
#: The most frequent values that are named.
COMMON = 12


@dataclass(frozen=True, slots=True)
class Statistics:
    """Of one array of all elements that were seen. What does not apply is None."""

    path: str
    dtype: str
    #: The smallest and the largest size of each dimension.
    smallest: tuple[int, ...]
    largest: tuple[int, ...]
    elements: int
    #: Elements in which it has no values.
    empty: int
    #: Values in all elements, and of those: not a number, infinite, zero.
    values: int
    nan: int
    inf: int
    zeros: int
    #: Of the finite values; of complex numbers their magnitude, of texts their length.
    low: Number | None
    high: Number | None
    mean: float | None
    std: float | None
    #: How many different values; None for many.
    distinct: int | None
    #: The most frequent ones with their share, where there are few.
    common: tuple[tuple[Number | str, float], ...]
    #: How many different elements, of those that are not empty.
    different: int
    #: Finite values of all elements, for a histogram.
    sample: tuple[float, ...]

    @property
    def text(self) -> bool:
        """Whether it holds texts or bytes."""
        return self.dtype in TEXT

    @property
    def telling(self) -> bool:
        """Whether it has so few different values that each of them tells something."""
        return self.distinct is not None and 0 < 2 * self.distinct <= self.values

    @property
    def few(self) -> bool:
        """Whether it may be labels or a mask."""
        return self.distinct is not None and self.distinct <= LABELS

    @property
    def finite(self) -> int:
        """Values that are numbers."""
        return self.values - self.nan - self.inf

    @property
    def filled(self) -> int:
        """Elements in which it has values."""
        return self.elements - self.empty


def is_integer(dtype: str) -> bool:
    """Whether values of it are counted exactly: integers and bools."""
    return dtype == "bool" or dtype.startswith(("int", "uint"))


def blocks(array: Array) -> Iterator[Array]:
    """All values as flat arrays of at most `BLOCK`; views wherever that is possible."""
    if array.size <= BLOCK or array.flags.c_contiguous:
        flat = array.reshape(-1)
        for start in range(0, flat.size, BLOCK):
            yield flat[start : start + BLOCK]
    else:
        for row in array:
            yield from blocks(row)


class Tally:
    """Collects the statistics of one array. One thread."""

    def __init__(self, path: str, spec: ArraySpec, elements: int) -> None:
        """``elements``: how many there will be at most."""
        self._path, self._spec = path, spec
        self._share = max(1, SAMPLE // max(1, elements))
        self._text = spec.dtype in TEXT
        self._elements = self._empty = self._values = 0
        self._nan = self._inf = self._zeros = 0
        self._low: Number | None = None
        self._high: Number | None = None
        self._moments = (0, 0.0, 0.0)  # count, mean, sum of squared differences from it
        self._counts: collections.Counter[Any] | None = collections.Counter()
        self._sample: list[float] = []
        self._shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
        self._seen: set[bytes] = set()

    def add(self, value: Any) -> None:
        """The array, number or text of the next element."""
        array = np.asarray(value, object) if self._text else np.asarray(value)
        self._elements += 1
        self._empty += array.size == 0
        self._values += array.size
        low, high = self._shapes or (array.shape, array.shape)
        self._shapes = tuple(map(min, low, array.shape)), tuple(map(max, high, array.shape))
        with np.errstate(all="ignore"):
            digest = self._add_texts(array.reshape(-1)) if self._text else self._add_numbers(array)
        if array.size:  # that two have no values is no repetition
            self._seen.add(digest)

    @property
    def statistics(self) -> Statistics:
        """Of what was added so far."""
        count, mean, squares = self._moments
        smallest, largest = self._shapes or ((), ())
        return Statistics(
            path=self._path, dtype=self._spec.dtype, smallest=smallest, largest=largest,
            elements=self._elements, empty=self._empty, values=self._values,
            nan=self._nan, inf=self._inf, zeros=self._zeros, low=self._low, high=self._high,
            mean=mean if count else None, std=float(np.sqrt(squares / count)) if count else None,
            distinct=None if self._counts is None else len(self._counts),
            common=self._common(), different=len(self._seen), sample=tuple(self._sample),
        )  # fmt: skip

    def _common(self) -> tuple[tuple[Number | str, float], ...]:
        if self._counts is None:
            return ()
        shown = SHOWN if self._text else COMMON
        return tuple(
            (value, count / self._values) for value, count in self._counts.most_common(shown)
        )

    def _add_texts(self, texts: Iterable[Any]) -> bytes:
        digest = hashlib.blake2b(digest_size=DIGEST)
        for text in texts:
            digest.update(text if isinstance(text, bytes) else text.encode("utf-8"))
            self._spread(len(text), len(text))
            self._merge(np.array([len(text)], np.float64))
            self._zeros += not text
            if self._counts is not None:
                self._counts[_example(text)] += 1
                if len(self._counts) > TEXTS:
                    self._counts = None
        return digest.digest()

    def _add_numbers(self, array: Array) -> bytes:
        digest, step = hashlib.blake2b(digest_size=DIGEST), max(1, -(-array.size // self._share))
        at = 0
        for block in blocks(array):
            digest.update(np.ascontiguousarray(block).view(np.uint8).data)
            self._add_block(block, -at % step, step)
            at += block.size
        return digest.digest()

    def _add_block(self, block: Array, first: int, step: int) -> None:
        """``first``, ``step``: which of its values go into the sample."""
        if block.dtype.kind == "b":
            block = block.view(np.uint8)
        real = np.abs(block) if block.dtype.kind == "c" else block
        picked = real[first::step].astype(np.float64)
        self._sample += picked[np.isfinite(picked)].tolist()
        if block.dtype == np.uint8:  # how often each value occurs says it all
            self._add_counted(np.bincount(block, minlength=256))
            return
        numbers = real.astype(np.float64)
        self._zeros += int(numbers.size - np.count_nonzero(numbers))
        if block.dtype.kind not in "iu":
            good = np.isfinite(numbers)
            if not good.all():
                nan = int(np.count_nonzero(np.isnan(numbers)))
                self._nan += nan
                self._inf += int(good.size - np.count_nonzero(good)) - nan
                numbers = numbers[good]
        if numbers.size:
            exact = block if block.dtype.kind in "iu" else numbers
            low, high = exact.min().item(), exact.max().item()
            self._spread(low, high)
            self._merge(numbers)
            if low == high:
                self._count(np.array([low], exact.dtype), np.array([exact.size]))
            # Seen of a part without sorting all of it.
            elif self._counts is None or len(np.unique(exact[: 2 * FEW])) > FEW:
                self._counts = None
            else:
                self._count(*np.unique(exact, return_counts=True))

    def _add_counted(self, counts: Array) -> None:
        """Of bytes: how often there is each from 0 to 255."""
        self._zeros += int(counts[0])
        values = np.flatnonzero(counts)
        counts = counts[values]
        self._spread(int(values[0]), int(values[-1]))
        count = int(counts.sum())
        mean = float(values @ counts) / count
        self._put(count, mean, float(np.square(values - mean) @ counts))
        self._count(values, counts)

    def _spread(self, low: Number, high: Number) -> None:
        self._low = low if self._low is None else min(self._low, low)
        self._high = high if self._high is None else max(self._high, high)

    def _merge(self, numbers: Array) -> None:
        mean = float(numbers.mean())
        self._put(numbers.size, mean, float(np.square(numbers - mean).sum()))

    def _put(self, more: int, theirs: float, their_squares: float) -> None:
        """Of two parts, each with its mean: no large sums are subtracted from each other."""
        count, mean, squares = self._moments
        difference, total = theirs - mean, count + more
        squares += their_squares
        squares += difference * difference * (count / total) * more if count else 0.0
        self._moments = total, mean + difference * (more / total), squares

    def _count(self, values: Array, counts: Array) -> None:
        if self._counts is not None:
            self._counts.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
            if len(self._counts) > FEW:
                self._counts = None


def _example(text: str | bytes) -> str:
    """As it is written in Python, without anything that a terminal would obey."""
    return fit(clean(repr(text[: 2 * LENGTH])), LENGTH)
