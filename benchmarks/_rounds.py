"""Contestants in turn, several rounds: every one sees the machine's better and worse times."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from _case import PRODUCERS, Case
from _figures import Slice
from _process import Process, ProcessFailed

#: Seconds that a process may take to import what it measures.
START_SECONDS = 60.0

#: (seconds of warm-up, seconds that count) -> what they showed, or why there is nothing.
Measure = Callable[[float, float], "Slice | str"]


@dataclass(slots=True)
class Outcome:
    """Of one contestant: a slice per round, or the reason why there is none."""

    slices: list[Slice] = field(default_factory=list)
    reason: str = ""

    @property
    def rates(self) -> list[float]:
        return [one.rate for one in self.slices]


@dataclass(frozen=True, slots=True)
class Contestant:
    """A name, and how it is opened."""

    name: str
    open: Callable[[], AbstractContextManager[Measure]]
    #: Closed after each of its slices, because it holds too much memory.
    alone: bool = False


def contestant(case: Case) -> Contestant:
    """A way in a process of its own."""

    @contextmanager
    def opened() -> Iterator[Measure]:
        with Process("_way_process.py", case.to_text()) as process:
            answer = process.answer(START_SECONDS)
            if "refused" in answer:
                raise ProcessFailed(answer["refused"])

            def measure(warm_up: float, seconds: float) -> Slice | str:
                process.tell({"warm_up": warm_up, "seconds": seconds})
                answer = process.answer(warm_up + seconds)
                return answer["refused"] if "refused" in answer else Slice(**answer)

            yield measure

    return Contestant(case.name, opened, alone=case.workload.alone)


def reference(name: str, *arguments: str, processes: int = PRODUCERS, numbered: bool = False,
              alone: bool = False) -> Contestant:  # fmt: skip
    """Processes of `_bare.py` that work at the same time, summed up."""

    @contextmanager
    def opened() -> Iterator[Measure]:
        with ExitStack() as stack:
            started = [
                stack.enter_context(
                    Process("_bare.py", *arguments, *([str(i), str(processes)] if numbered else []))
                )
                for i in range(processes)
            ]
            for process in started:
                process.answer(START_SECONDS)
            yield lambda warm_up, seconds: _together(started, warm_up, seconds)

    return Contestant(name, opened, alone)


def _together(processes: Sequence[Process], warm_up: float, seconds: float) -> Slice:
    begin = time.monotonic() + warm_up
    for process in processes:
        process.tell([begin, begin + seconds])
    return Slice(sum(process.answer(warm_up + seconds)["rate"] for process in processes))


def alternate(
    contestants: Sequence[Contestant], rounds: int, warm_up: float, seconds: float
) -> dict[str, Outcome]:
    """One slice of each in turn, ``rounds`` times; one that fails is closed at once, and out."""
    places = [_Place(one) for one in contestants]
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(place)
            if not place.contestant.alone:
                place.open()
        for number in range(rounds):
            for place in places:
                progress(f"round {number + 1} of {rounds}: {place.contestant.name}")
                place.take_turn(warm_up, seconds)
    return {place.contestant.name: place.outcome for place in places}


class _Place:
    """A contestant, whether open or not, and what it showed so far."""

    def __init__(self, contestant: Contestant) -> None:
        self.contestant = contestant
        self.outcome = Outcome()
        self._stack = ExitStack()
        self._measure: Measure | None = None

    def open(self) -> None:
        try:
            self._measure = self._stack.enter_context(self.contestant.open())
        except ProcessFailed as reason:
            self.outcome.reason = str(reason)

    def take_turn(self, warm_up: float, seconds: float) -> None:
        """A slice, or nothing when it is out."""
        if self._measure is None and not self.outcome.reason:
            self.open()
        if self._measure is None:
            return
        try:
            result = self._measure(warm_up, seconds)
        except ProcessFailed as failure:
            result = str(failure)
        if isinstance(result, str):
            self.outcome.reason = result
        else:
            self.outcome.slices.append(result)
        if self.outcome.reason or self.contestant.alone:
            self.close()

    def __enter__(self) -> None:
        """Opens nothing yet."""

    def close(self) -> None:
        self.__exit__(None, None, None)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """A process that learns of Ctrl-C is not waited for as long."""
        self._measure = None
        self._stack.__exit__(kind, error, trace)


def progress(text: Any) -> None:
    """What is being done, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
