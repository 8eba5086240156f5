"""What goes into a checkpoint: a state, as text and back, and what it is refused for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from genserver.client import OptionError, State, StateError
from genserver.client.options import PullOptions
from genserver.client.state import Terms
from hypothesis import given
from hypothesis import strategies as st

STATE = State(
    epoch=2, elements=7, taken=(3, 2, 2), turn=1, seed=5, batch=16, drop_remainder=True,
    deterministic=True,
)  # fmt: skip
TERMS = Terms(seed=5, workers=3, batch=16, drop_remainder=True, deterministic=True)


def paired(numbers: list[int]) -> list[tuple[int, int]]:
    """Rising pairs."""
    return list(zip(numbers[::2], numbers[1::2], strict=False))


_ranges = st.lists(st.integers(0, 2**63 - 1), max_size=8, unique=True).map(
    lambda numbers: tuple(paired(sorted(numbers)))
)


@st.composite
def states(draw: st.DrawFn) -> State:
    taken = tuple(draw(st.lists(st.integers(0, 2**40), min_size=1, max_size=5)))
    deterministic = draw(st.booleans())
    more = 0 if deterministic else draw(st.integers(0, 100))
    dealt = draw(st.none() | st.lists(_ranges, max_size=3).map(tuple))
    return State(
        epoch=draw(st.integers(0, 2**63 - 1)), elements=sum(taken) + more, taken=taken,
        turn=draw(st.integers(0, len(taken) - 1)), seed=draw(st.integers(0, 2**64 - 1)),
        batch=draw(st.integers(0, 2**20)), drop_remainder=draw(st.booleans()),
        deterministic=deterministic, finished=None if deterministic else dealt,
    )  # fmt: skip


@given(states())
def test_a_state_is_the_same_after_text(state: State) -> None:
    """Dict and JSON keep every field, and the largest numbers."""
    assert State.from_json(state.to_json()) == state
    assert State.from_dict(state.to_dict()) == state
    assert State.from_json(state.to_json().encode()) == state


@pytest.mark.parametrize(
    ("change", "match"),
    [({"epoch": -1}, "epoch"), ({"epoch": "1"}, "epoch"), ({"elements": 6}, "7 of its workers"),
     ({"elements": 8}, "7 of its workers"), ({"taken": []}, "taken"), ({"taken": "12"}, "taken"),
     ({"taken": [3, 4.0]}, "taken"), ({"turn": 3}, "turn"), ({"seed": 2**64}, "seed"),
     ({"seed": True}, "seed"), ({"batch": None}, "batch"), ({"deterministic": 1}, "deterministic"),
     ({"drop_remainder": "no"}, "drop_remainder"), ({"version": 2}, "version 2"),
     ({"version": None}, "version None"), ({"color": 1}, "color"),
     ({"finished": 7}, "finished"), ({"finished": [[1, 2]]}, "finished"),
     ({"finished": [[["a", 1]]]}, "finished"), ({"finished": [[[3, 3]]]}, "rising pairs"),
     ({"finished": [[[5, 7], [0, 3]]]}, "rising pairs"), ({"finished": [[[-1, 3]]]}, "finished"),
     ({"finished": [[[0, 3], [3, 4]]]}, "rising pairs"), ({"finished": [[[0, 2.0]]]}, "finished"),
     ({"finished": [[[0, 2**63]]]}, "finished"), ({"finished": [[[1, 2, 3]]]}, "finished")],
)  # fmt: skip
def test_wrong_content_is_refused_by_name(change: dict[str, Any], match: str) -> None:
    """The sentence says which field; nothing is guessed."""
    with pytest.raises(StateError, match=match):
        State.from_dict({**STATE.to_dict(), **change})


@pytest.mark.parametrize("name", STATE.to_dict())
def test_missing_content_is_refused(name: str) -> None:
    """Every field is needed."""
    content = STATE.to_dict()
    del content[name]
    with pytest.raises(StateError, match=name):
        State.from_dict(content)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", b"\xff"])
def test_what_is_no_state_is_refused(text: str | bytes) -> None:
    """Other files, cut ones, empty ones."""
    with pytest.raises(StateError):
        State.from_json(text)


@pytest.mark.parametrize(
    "other",
    [{"seed": 6}, {"workers": 2}, {"batch": 0}, {"drop_remainder": False},
     {"deterministic": False}, {"dealt": True}],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_a_state_of_other_data_is_refused(other: dict[str, Any]) -> None:
    """One sentence with both values."""
    TERMS.check(STATE)
    with pytest.raises(StateError, match=f"{next(iter(other))}=.* would not go on"):
        replace(TERMS, **other).check(STATE)


def test_items_that_are_dealt_no_more() -> None:
    """A state that counts items is refused where each worker has a share of its own."""
    dealt = replace(STATE, turn=0, deterministic=False, elements=9, finished=(((0, 4), (6, 7)),))
    with_items = replace(TERMS, deterministic=False, dealt=True)
    with_items.check(dealt)
    assert (dealt.dealt, dealt.repeats) == (True, 2)
    with pytest.raises(StateError, match="dealt=True, this data has dealt=False"):
        replace(with_items, dealt=False).check(dealt)


def test_resume_takes_nothing_else() -> None:
    """A path or a dict is an `OptionError`."""
    with pytest.raises(OptionError, match="resume"):
        PullOptions(resume="run/state.json")  # type: ignore[arg-type]  # wrong on purpose
