"""Who is measured when, and that nothing is left behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from _case import WAYS, Case, cases_of
from _figures import Slice
from _memory import descendants
from _process import HERE, Process, ProcessFailed
from _rounds import Contestant, Measure, alternate
from _workloads import WORKLOADS


class Diary:
    """Contestants that write down what happens to them."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def contestant(self, name: str, *, alone: bool = False, fails_in: int = -1) -> Contestant:
        rounds = iter(range(100))

        def measure(warm_up: float, seconds: float) -> Slice | str:
            self.entries.append(name)
            return "refused" if next(rounds) == fails_in else Slice(1.0)

        @contextmanager
        def opened() -> Iterator[Measure]:
            self.entries.append(f"open {name}")
            yield measure
            self.entries.append(f"close {name}")

        return Contestant(name, opened, alone)


def test_everyone_is_measured_once_in_each_round() -> None:
    """In turn, and opened once, so that all see the machine's better and worse times."""
    diary = Diary()
    outcomes = alternate([diary.contestant("a"), diary.contestant("b")], 2, 0.1, 0.1)
    assert diary.entries == ["open a", "open b", "a", "b", "a", "b", "close b", "close a"]
    assert {name: len(one.slices) for name, one in outcomes.items()} == {"a": 2, "b": 2}


def test_who_needs_the_memory_alone_is_open_only_while_it_is_measured() -> None:
    """No two that are so large are open at a time."""
    diary = Diary()
    alternate([diary.contestant("a", alone=True), diary.contestant("b", alone=True)], 1, 0.1, 0.1)
    assert diary.entries == ["open a", "a", "close a", "open b", "b", "close b"]


def test_who_fails_is_out_and_the_others_go_on() -> None:
    """With the reason in place of figures."""
    diary = Diary()
    failing = diary.contestant("a", fails_in=1)
    outcomes = alternate([failing, diary.contestant("b")], 3, 0.1, 0.1)
    assert outcomes["a"].reason == "refused"
    assert diary.entries.count("a") == 2
    assert len(outcomes["b"].slices) == 3


def test_a_process_answers_and_is_gone_after_the_block() -> None:
    """Also when the block ends by an exception such as Ctrl-C."""
    started = []

    def interrupted() -> None:
        with Process("_bare.py", "spin", "10") as process:
            started.append(process.pid)
            assert process.answer(30) == {"ready": True}
            assert process.pid in descendants(os.getpid())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not Path(f"/proc/{started[0]}").exists()


def test_a_process_that_fails_says_why() -> None:
    """The last line of its standard error is the reason."""
    with (
        Process("_bare.py", "knitting") as process,
        pytest.raises(ProcessFailed, match="knitting"),
    ):
        process.answer(30)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_case_survives_the_way_to_its_process(workload: str) -> None:
    """Every case of every workload is the same after it was text, and is called once."""
    cases = cases_of(workload, list(WAYS), 1000.0)
    assert [Case.from_text(case.to_text()) for case in cases] == cases
    assert len({case.name for case in cases}) == len(cases)


@pytest.mark.parametrize("way", WAYS.values(), ids=lambda way: way.name)
def test_every_way_has_its_file(way) -> None:  # type: ignore[no-untyped-def]
    """The module that a measuring process imports."""
    assert (HERE / "ways" / f"{way.module}.py").exists()
