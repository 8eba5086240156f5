"""A training run that was stopped and started again goes on with its data, against real servers."""

from __future__ import annotations

import contextlib
import logging
import os
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from genserver.client import Client, Progress, State, StateError, from_server, keras_callback

from ..support.servers import Serve

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
tf = pytest.importorskip("tensorflow")
keras: Any = pytest.importorskip("keras")

#: Elements of a pass of ``uneven`` with three workers.
PASS = 5 + 8 + 11


def contents(elements: Any) -> list[bytes]:
    """Every element bit by bit."""
    return [values.numpy().tobytes() + number.numpy().tobytes() for values, number in elements]


@pytest.mark.parametrize(
    ("stop", "seek"), [(1, True), (17, True), (PASS, True), (PASS + 22, True), (20, False)]
)
def test_a_run_that_goes_on_is_bitwise_the_unbroken_one(
    serve: Serve, stop: int, seek: bool
) -> None:
    """In deterministic order, in the middle of a pass, behind a worker's end, and behind a pass;
    with a generator that seeks and with one that is run again."""
    server = serve("uneven", workers=3, arguments={"seek": seek})
    options: dict[str, Any] = {"deterministic": True, "seed": 1}
    whole = contents(from_server(server.endpoint, **options).repeat(2))
    assert len(whole) == 2 * PASS
    progress, got = Progress(), []
    for element in from_server(server.endpoint, resume=progress, **options).repeat().take(stop):
        got += contents([element])
        progress.advance()
    state = State.from_json(progress.state().to_json())
    rest = from_server(server.endpoint, resume=state, deterministic=True).repeat()
    assert [*got, *contents(rest.take(2 * PASS - stop))] == whole


def test_another_server_with_another_seed_goes_on_with_the_states_seed(serve: Serve) -> None:
    """A state brings its seed, so that a server that was started anew changes nothing."""
    progress = Progress()
    first = serve("uneven", workers=2, seed=3)
    elements = from_server(first.endpoint, deterministic=True, resume=progress)
    whole = contents(elements)
    progress.advance(7)
    state = progress.state()
    second = serve("uneven", workers=2, seed=4)
    rest = contents(from_server(second.endpoint, deterministic=True, resume=state))
    assert state.seed == 3
    assert rest == whole[7:]


def test_batches_of_the_workers_are_counted_as_elements(serve: Serve) -> None:
    """Also where a worker's last one is smaller."""
    server = serve("uneven", workers=3)
    options: dict[str, Any] = {"deterministic": True, "seed": 1, "batch": 4}
    whole = [b[1].numpy().tolist() for b in from_server(server.endpoint, **options)]
    assert [len(numbers) for numbers in whole] == [4, 4, 4, 1, 4, 4, 3]
    for stop in (3, 4, 5):
        progress = Progress()
        iterator = iter(from_server(server.endpoint, resume=progress, **options))
        for _ in range(stop):
            next(iterator)
            progress.advance()
        rest = from_server(server.endpoint, resume=progress.state(), **options)
        assert [b[1].numpy().tolist() for b in rest] == whole[stop:]


def test_a_shuffle_behind_the_dataset_voids_the_promise(serve: Serve) -> None:
    """The elements in its buffer are neither used nor counted right: some are lost, some come
    twice, even with a fixed seed. Without it the very same loop is exact."""
    server = serve("uneven", workers=3)

    def run(*, shuffle: bool) -> tuple[list[bytes], list[bytes]]:
        options: dict[str, Any] = {"deterministic": True, "seed": 1}

        def elements(resume: Progress | State) -> Any:
            dataset = from_server(server.endpoint, resume=resume, **options)
            return dataset.shuffle(16, seed=5) if shuffle else dataset

        progress, got = Progress(), []
        for element in elements(progress).take(10):
            got += contents([element])
            progress.advance()
        return got, contents(elements(progress.state()))

    whole = contents(from_server(server.endpoint, deterministic=True, seed=1))
    got, rest = run(shuffle=False)
    assert got + rest == whole
    got, rest = run(shuffle=True)
    assert sorted(got + rest) != sorted(whole)


@pytest.mark.parametrize("lanes", [1, 3])
def test_in_the_default_order_nothing_is_lost_and_repeats_are_counted(
    serve: Serve, lanes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """With one lane nothing repeats; with several so many as the state and one line say."""
    server = serve("uneven", workers=3, arguments={"shortest": 300})
    whole = contents(from_server(server.endpoint, seed=1))
    progress, got = Progress(), []
    elements = from_server(server.endpoint, seed=1, resume=progress, cycle_length=lanes)
    for element in elements.take(400):
        got += contents([element])
        progress.advance()
    state = progress.state()
    caplog.set_level(logging.INFO, "genserver")
    rest = contents(from_server(server.endpoint, resume=state, cycle_length=lanes))
    assert state.elements == 400
    assert set(got) | set(rest) == set(whole)
    assert len(got) + len(rest) == len(whole) + state.repeats
    assert lanes > 1 or state.repeats == 0
    assert (f"{state.repeats} that were used come again" in caplog.text) == (state.repeats > 0)


def test_the_default_order_of_large_elements_is_written_down_as_it_is_cut(serve: Serve) -> None:
    """TensorFlow takes several workers' arrays in turn: wherever it stops, none comes twice."""
    server = serve("marked", workers=3, arguments={"kib": 128, "n": 8})
    whole = sorted((worker, number) for worker in range(3) for number in range(8))
    for stop in (1, 5, 12, 22):
        progress, got = Progress(), []
        for array, number in from_server(server.endpoint, resume=progress).take(stop):
            got.append((int(array[0]), int(number)))
            progress.advance()
        state = progress.state()
        rest = from_server(server.endpoint, resume=state)
        assert state.repeats == 0
        assert sorted([*got, *[(int(array[0]), int(n)) for array, n in rest]]) == whole


def test_the_state_of_other_data_is_refused_at_once(serve: Serve) -> None:
    """Another number of workers, another seed, batches, order, or epoch: one sentence each."""
    server = serve("uneven", workers=2)
    state = State(epoch=0, elements=3, taken=(2, 1), turn=1, seed=1, deterministic=True)
    resumed: dict[str, Any] = {"resume": state, "deterministic": True}
    assert contents(from_server(server.endpoint, **resumed))
    for other, name in [
        ({"seed": 2}, "seed"), ({"batch": 2}, "batch"), ({"deterministic": False}, "deterministic"),
        ({"epoch": 1}, "epoch"),
    ]:  # fmt: skip
        with pytest.raises(StateError, match=f"{name}="):
            from_server(server.endpoint, **{**resumed, **other})
    three = serve("uneven", workers=3)
    with pytest.raises(StateError, match="workers=2, this data has workers=3"):
        Client(three.endpoint, **resumed)


def test_a_pass_with_nothing_left_is_followed_by_the_next(serve: Serve) -> None:
    """A state that was taken behind the last element and before the end was known: repeat() must
    not take the rest, which is nothing, for the end of everything."""
    server = serve("uneven", workers=2)
    for order, lanes in ((True, 1), (False, 2)):
        state = State(epoch=4, elements=13, taken=(5, 8), seed=1, deterministic=order)
        elements = from_server(
            server.endpoint, resume=state, deterministic=order, cycle_length=lanes
        )
        numbers = [int(number) for _, number in elements.repeat().take(13)]
        assert {number // 10_000 for number in numbers} == {5}


def test_the_length_of_a_dataset_that_goes_on_is_unknown(serve: Serve) -> None:
    """The first pass may be shorter than the others; one that is endless stays so."""
    progress = Progress()
    dataset = from_server(serve("whole", length=10).endpoint, deterministic=True, resume=progress)
    assert int(dataset.cardinality()) == tf.data.UNKNOWN_CARDINALITY
    assert len(list(dataset)) == 10
    endless = serve("endless", length="infinite", arguments={"kib": 1})
    dataset = from_server(endless.endpoint, resume=Progress())
    assert int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY


def test_the_numpy_client_goes_on(serve: Serve) -> None:
    """Each `for` loop over it is one pass, the first the rest of one; a second loop without
    `end_pass` behind one that was left early is noticed."""
    server = serve("uneven", workers=3)
    with Client(server.endpoint, deterministic=True, seed=1) as client:
        whole = [int(number) for _ in range(2) for _, number in client]
    progress = Progress()
    with Client(server.endpoint, deterministic=True, seed=1, resume=progress) as client:
        for _ in islice(client, 19):
            progress.advance()
        state = progress.state()
        for _ in islice(client, 3):
            progress.advance()
        with pytest.raises(StateError, match="left before its end"):
            progress.state()
    with Client(server.endpoint, deterministic=True, resume=state) as client:
        assert [int(number) for _ in range(2) for _, number in client] == whole[19:]


def test_a_checkpoint_of_tensorflow_keeps_the_state(serve: Serve, tmp_path: Path) -> None:
    """As text in a PythonState, beside variables; restoring it moves a dataset that exists."""

    class Data(tf.train.experimental.PythonState):  # type: ignore[misc]  # TensorFlow has no types
        def __init__(self, progress: Progress) -> None:
            self.progress = progress

        def serialize(self) -> str:
            return self.progress.state().to_json()

        def deserialize(self, text: str) -> None:
            self.progress.restore(State.from_json(text))

    server = serve("uneven", workers=3)

    def run(steps: int) -> tuple[list[list[int]], int]:
        progress, step = Progress(), tf.Variable(0)
        dataset = from_server(server.endpoint, deterministic=True, seed=1, resume=progress)
        checkpoint = tf.train.Checkpoint(step=step, data=Data(progress))
        manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=2)
        checkpoint.restore(manager.latest_checkpoint)
        got = []
        for _, numbers in dataset.repeat().batch(5).take(steps):
            got.append(numbers.numpy().tolist())
            progress.advance(len(numbers))
            step.assign_add(1)
        manager.save()
        return got, int(step)

    whole = from_server(server.endpoint, deterministic=True, seed=1).repeat().batch(5).take(10)
    first, second = run(4), run(6)
    assert first[0] + second[0] == [numbers.numpy().tolist() for _, numbers in whole]
    assert second[1] == 10


class Killed(Exception):
    """Stands for the end of a process."""


class Kill(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Ends training behind so many steps, before or after other callbacks have their turn."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._left -= 1
        if self._left == 0:
            raise Killed


class Seen(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A model that remembers what it was trained with."""

    def __init__(self) -> None:
        super().__init__()
        self.dense = keras.layers.Dense(1)
        self.batches: list[list[int]] = []

    def call(self, x: Any) -> Any:
        return self.dense(x)

    def train_step(self, data: Any) -> Any:
        self.batches.append(data[1].numpy().tolist())
        return super().train_step(data)


def fit(
    server: Any, folder: Path, *callbacks: Any, save_freq: Any, ours_first: bool, **options: Any
) -> list[list[int]]:
    """One process' training, from wherever the folder says; what was trained with."""
    progress = Progress()
    dataset = from_server(server.endpoint, deterministic=True, seed=1, resume=progress)
    model = Seen()
    model.compile("adam", "mse", run_eagerly=True)
    model(tf.zeros((1, 4)))
    pair = [
        keras_callback(progress, folder / "data.json", batch=3, save_freq=save_freq),
        keras.callbacks.BackupAndRestore(str(folder / "model"), save_freq=save_freq),
    ]
    batched = dataset.repeat().batch(3) if "steps_per_epoch" in options else dataset.batch(3)
    both = pair if ours_first else pair[::-1]
    with contextlib.suppress(Killed):
        model.fit(batched, verbose=0, callbacks=[*callbacks, *both], shuffle=False, **options)
    return model.batches


def test_keras_goes_on_in_the_middle_of_an_epoch(serve: Serve, tmp_path: Path) -> None:
    """Beside BackupAndRestore with save_freq=4: killed in step 11, the data goes on behind step 8,
    where the model does."""
    server = serve("uneven", workers=3)
    options: dict[str, Any] = {"save_freq": 4, "steps_per_epoch": 9, "epochs": 2}
    whole = fit(server, tmp_path / "whole", ours_first=True, **options)
    got = fit(server, tmp_path / "run", Kill(11), ours_first=False, **options)
    rest = fit(server, tmp_path / "run", ours_first=True, **options)
    assert got == whole[:11]
    assert rest[:10] == whole[8:]


@pytest.mark.parametrize("ours_first", [True, False])
def test_a_kill_between_the_model_and_the_data_does_no_harm(
    serve: Serve, tmp_path: Path, ours_first: bool
) -> None:
    """With the data saved first, the state that is taken is that of the model's step; else a
    sentence says what to do."""
    server = serve("uneven", workers=3)
    options: dict[str, Any] = {"save_freq": 4, "steps_per_epoch": 9, "epochs": 1}
    whole = fit(server, tmp_path / "whole", ours_first=True, **options)

    class Between(Kill):
        """Kills in the middle of the callbacks."""

    progress = Progress()
    dataset = from_server(server.endpoint, deterministic=True, seed=1, resume=progress)
    model = Seen()
    model.compile("adam", "mse", run_eagerly=True)
    model(tf.zeros((1, 4)))
    ours = keras_callback(progress, tmp_path / "run/data.json", batch=3, save_freq=4)
    theirs = keras.callbacks.BackupAndRestore(str(tmp_path / "run/model"), save_freq=4)
    order = [ours, Between(8), theirs] if ours_first else [theirs, Between(8), ours]
    with pytest.raises(Killed):
        model.fit(
            dataset.repeat().batch(3), verbose=0, callbacks=order, shuffle=False,
            steps_per_epoch=9, epochs=1,
        )  # fmt: skip
    if ours_first:
        assert fit(server, tmp_path / "run", ours_first=True, **options)[:5] == whole[4:]
    else:
        with pytest.raises(StateError, match=r"trained 8 steps, .* after 4: put"):
            fit(server, tmp_path / "run", ours_first=True, **options)


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_keras_goes_on_with_the_next_pass_where_an_epoch_is_a_pass(
    serve: Serve, tmp_path: Path
) -> None:
    """Without steps_per_epoch, saved at the end of each epoch; the last batches are smaller."""
    server = serve("uneven", workers=2)
    options: dict[str, Any] = {"save_freq": "epoch", "epochs": 3}
    whole = fit(server, tmp_path / "whole", ours_first=True, **options)
    got = fit(server, tmp_path / "run", Kill(7), ours_first=True, **options)
    rest = fit(server, tmp_path / "run", ours_first=True, **options)
    assert got == whole[:7]
    assert rest == whole[5:]
    with pytest.raises(ValueError, match="steps_per_epoch"):
        fit(server, tmp_path / "other", ours_first=True, save_freq=2, epochs=1)
