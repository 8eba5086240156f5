"""The second half of the progress page: what is measured of a worker, whoever looks.

Words of 64 bits that only grow, but for levels. The runner's thread writes what the generator
does, the I/O thread what it sends; nobody writes what another writes, so that a plain store is
enough. The supervisor reads. Over all lives of a worker, as the page, which owns the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["FIRST", "LAST", "Counts", "Meter", "percentile"]

#: The words of the page that are the meter's.
FIRST, LAST = 64, 448
_BLOCKED, _REPLAYED, _SENT, _KEPT, _ROOM = range(FIRST, FIRST + 5)
#: A text, as its length and so many bytes.
_ERROR, _ERROR_BYTES = FIRST + 8, 120
#: How many elements took how long: eight steps to each doubling, from a microsecond on, so that a
#: time is known within 7 %. The last takes all that lasted longer than half an hour.
_TIMES, BUCKETS = FIRST + 32, 320
_SHORTEST_BITS = 10


@dataclass(frozen=True, slots=True)
class Counts:
    """The meter at one moment: nanoseconds, elements, bytes."""

    blocked: int
    replayed: int
    sent: int
    kept: int
    room: int
    times: tuple[int, ...]
    error: str


class Meter:
    """Each method belongs to the thread that it names."""

    def __init__(self, words: memoryview) -> None:
        """``words`` are the whole page's."""
        self._words = words

    def took(self, elements: int, nanoseconds: int) -> None:
        """The runner: so many elements took so long together."""
        if elements > 0:
            self._words[_TIMES + bucket(nanoseconds // elements)] += elements

    def blocked(self, nanoseconds: int) -> None:
        """The runner: it had streams, and no credit."""
        self._words[_BLOCKED] += nanoseconds

    def replayed(self, elements: int) -> None:
        """The runner: an earlier life had made these already."""
        self._words[_REPLAYED] += elements

    def failed(self, text: str) -> None:
        """The runner: the generator raised."""
        data = text.encode(errors="replace")[:_ERROR_BYTES]
        place = self._words[_ERROR + 1 : _ERROR + 1 + _ERROR_BYTES // 8].cast("B")
        place[: len(data)] = data
        self._words[_ERROR] = len(data)

    def sent(self, nbytes: int) -> None:
        """The I/O thread: elements of so many bytes went out."""
        self._words[_SENT] += nbytes

    def keeps(self, nbytes: int, room: int) -> None:
        """The I/O thread: so much was made and is not used yet, and so much may be."""
        self._words[_KEPT], self._words[_ROOM] = nbytes, room

    def read(self) -> Counts:
        """Any process that has the page."""
        words = self._words
        length = min(words[_ERROR], _ERROR_BYTES)
        text = words[_ERROR + 1 : _ERROR + 1 + _ERROR_BYTES // 8].tobytes()[:length]
        return Counts(
            words[_BLOCKED], words[_REPLAYED], words[_SENT], words[_KEPT], words[_ROOM],
            tuple(words[_TIMES : _TIMES + BUCKETS].tolist()), text.decode(errors="ignore"),
        )  # fmt: skip


def bucket(nanoseconds: int) -> int:
    """Where a time is counted."""
    bits = nanoseconds.bit_length()
    if bits <= _SHORTEST_BITS:
        return 0
    step = (nanoseconds >> (bits - 4)) & 7
    return min(BUCKETS - 1, (bits - _SHORTEST_BITS - 1) * 8 + step + 1)


def middle(index: int) -> float:
    """The time, in nanoseconds, that a bucket stands for."""
    if index == 0:
        return 2.0 ** (_SHORTEST_BITS - 1)
    octave, step = divmod(index - 1, 8)
    return 2.0 ** (octave + _SHORTEST_BITS) * (1 + (step + 0.5) / 8)


def percentile(times: Sequence[int], part: float) -> float | None:
    """The time in nanoseconds that ``part`` (from 0 to 1) of the counted elements did not exceed,
    within 7 %; None where none was counted."""
    wanted = part * sum(times)
    if wanted <= 0:
        return None
    reached = 0
    for index, count in enumerate(times):
        reached += count
        if reached >= wanted:
            return middle(index)
    raise AssertionError("the parts are less than the sum")
