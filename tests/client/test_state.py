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


@st.composite
def states(draw: st.DrawFn) -> State:
    taken = tuple(draw(st.lists(st.integers(0, 2**40), min_size=1, max_size=5)))
    deterministic = draw(st.booleans())
    more = 0 if deterministic else draw(st.integers(0, 100))
    return State(
        epoch=draw(st.integers(0, 2**63 - 1)), elements=sum(taken) + more, taken=taken,
        turn=draw(st.integers(0, len(taken) - 1)), seed=draw(st.integers(0, 2**64 - 1)),
        batch=draw(st.integers(0, 2**20)), drop_remainder=draw(st.booleans()),
        deterministic=deterministic,
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
     ({"version": None}, "version None"), ({"color": 1}, "color")],
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
     {"deterministic": False}],
    ids=lambda other: next(iter(other)),
)  # fmt: skip
def test_a_state_of_other_data_is_refused(other: dict[str, Any]) -> None:
    """One sentence with both values."""
    TERMS.check(STATE)
    with pytest.raises(StateError, match=f"{next(iter(other))}=.* would not go on"):
        replace(TERMS, **other).check(STATE)


def test_resume_takes_nothing_else() -> None:
    """A path or a dict is an `OptionError`."""
    with pytest.raises(OptionError, match="resume"):
        PullOptions(resume="run/state.json")  # type: ignore[arg-type]  # wrong on purpose
