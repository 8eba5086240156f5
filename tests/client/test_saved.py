"""The file of states beside a model's, and how Keras' steps are counted for it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from genserver.client import Progress, State, StateError
from genserver.client.keras import _Steps, keras_callback
from genserver.client.saved import KEPT, SavedStates
from genserver.client.state import Terms

STATE = State(epoch=0, elements=0, taken=(0,), seed=1, deterministic=True)


def state(elements: int) -> State:
    return replace(STATE, elements=elements, taken=(elements,))


def test_states_are_kept_by_step_and_the_oldest_go(tmp_path: Path) -> None:
    """The last ones, in a folder that need not exist."""
    states = SavedStates(tmp_path / "run" / "data.json")
    assert states.load() == {}
    for step in range(KEPT + 5):
        states.save(step, state(step))
    assert states.load() == {step: state(step) for step in range(5, KEPT + 5)}
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["data.json"]


def test_a_step_that_is_trained_again_takes_the_place_of_what_followed(tmp_path: Path) -> None:
    """What a run that went back leaves behind of later steps is not of this run."""
    states = SavedStates(tmp_path / "data.json")
    for step in (10, 20, 30):
        states.save(step, state(step))
    states.save(20, state(21))
    assert states.load() == {10: state(10), 20: state(21)}


def test_a_write_that_fails_leaves_the_states_that_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is replaced when the new one is on the disk, and not before."""
    states = SavedStates(tmp_path / "data.json")
    states.save(1, state(1))

    def full(descriptor: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        states.save(2, state(2))
    assert states.load() == {1: state(1)}


@pytest.mark.parametrize("text", ["", "[]", '{"1": 5}', '{"one": {}}', "\udcff"])
def test_another_file_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """Nothing is guessed, and nothing is overwritten."""
    path = tmp_path / "data.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(StateError, match=r"data\.json is no file of states"):
        SavedStates(path).save(1, STATE)


def counted(tmp_path: Path, *, save_freq: Any, batch: int = 2) -> tuple[_Steps, Progress]:
    """A counter over a pass that has handed on plenty."""
    progress = Progress()
    terms = Terms(seed=1, workers=1, batch=0, drop_remainder=False, deterministic=True)
    progress.agree(terms, seed_is_free=True, epoch=None)
    return _Steps(progress, SavedStates(tmp_path / "data.json"), batch, save_freq), progress


def begin(steps: _Steps, progress: Progress, at: int = 0) -> None:
    steps.begin(by_pass=False, accumulated=1)
    steps.begin_epoch(at)
    _, begun = progress.begin(1)
    progress.hand(begun, 0, (0,), 100)


def test_steps_of_one_execution_count_together(tmp_path: Path) -> None:
    """Keras names the last batch of several (steps_per_execution) and begins again each epoch."""
    steps, progress = counted(tmp_path, save_freq=5)
    begin(steps, progress)
    assert [steps.trained(batch) for batch in (3, 6)] == [False, True]
    steps.end_epoch()
    steps.begin_epoch(6)
    assert [steps.trained(batch) for batch in (3, 6)] == [False, True]
    assert progress.state().elements == 24


def test_what_an_earlier_run_left_is_not_taken_by_a_new_one(tmp_path: Path) -> None:
    """A model that has not trained begins with new data, and the old states go at once."""
    SavedStates(tmp_path / "data.json").save(8, state(50))
    steps, progress = counted(tmp_path, save_freq=5)
    begin(steps, progress)
    assert progress.state().elements == 0
    assert list(SavedStates(tmp_path / "data.json").load()) == [0]


def test_a_trained_model_without_any_states_begins_with_new_data(tmp_path: Path) -> None:
    """As for fine-tuning; with states of other steps it is refused."""
    steps, progress = counted(tmp_path, save_freq=5)
    begin(steps, progress, at=100)
    assert progress.state().elements == 0
    steps.save(100)
    steps.begin(by_pass=False, accumulated=1)
    with pytest.raises(StateError, match=r"trained 120 steps, .* after 100"):
        steps.begin_epoch(120)


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    """With the name of the option."""
    for wrong in ({"batch": 0}, {"save_freq": 0}, {"save_freq": "batch"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            keras_callback(Progress(), tmp_path / "data.json", **wrong)  # type: ignore[arg-type]  # wrong on purpose
    steps, _ = counted(tmp_path, save_freq=6)
    with pytest.raises(ValueError, match="gradient_accumulation_steps=4"):
        steps.begin(by_pass=False, accumulated=4)
    with pytest.raises(ValueError, match="needs steps_per_epoch"):
        steps.begin(by_pass=True, accumulated=1)
