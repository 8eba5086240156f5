"""The first hour with Keras: whatever a user gives to fit, evaluate and predict.

`Seen` is a layer that notes what reaches the model, so that tests can say which examples of which
epoch an epoch of Keras had; the generators are in support/first_hour_keras.py.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from genserver.client import from_server
from genserver.client.keras import look_first

from ..support.servers import Serve, eventually

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
tf = pytest.importorskip("tensorflow")
keras = pytest.importorskip("keras")

# What Keras says at every fit with any tf.data.Dataset, unless it is given shuffle=False.
pytestmark = pytest.mark.filterwarnings("ignore:`shuffle=True` was passed:UserWarning")

RAN_OUT = "Your input ran out of data"


class Seen(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
    """Notes (number, epoch) of every example, batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.train: list[list[tuple[int, int]]] = []
        self.test: list[list[tuple[int, int]]] = []

    def call(self, inputs: Any, training: bool = False) -> Any:
        def note(batch: Any) -> np.int64:
            rows = [(int(number), int(epoch)) for number, epoch in batch]
            (self.train if training else self.test).append(rows)
            return np.int64(0)

        tf.numpy_function(note, [inputs], tf.int64)
        return inputs


def make_model(**compiling: Any) -> tuple[Any, Seen]:
    """A model whose loss is 0 on `finite` and `endless`, and what it has seen."""
    seen = Seen()
    model = keras.Sequential([seen, keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile("sgd", "mse", **{"jit_compile": False, **compiling})  # XLA cannot call Python
    return model, seen


class Fail(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Ends what should not have begun, where Keras would go on for ever."""

    def __init__(self, after: int = 0) -> None:
        super().__init__()
        self._after = after

    def on_batch(self, batch: int, logs: Any = None) -> None:
        if batch >= self._after:
            raise InterruptedError(f"batch {batch}")

    on_train_batch_end = on_test_batch_end = on_predict_batch_end = on_batch


def rows(batches: list[list[tuple[int, int]]]) -> list[tuple[int, int]]:
    return [row for batch in batches for row in batch]


def a_pass(epoch: int, n: int = 12) -> list[tuple[int, int]]:
    return [(number, epoch) for number in range(n)]


# What an epoch is: each cell of the table in the README.


def test_a_keras_epoch_is_a_pass_when_the_length_is_known(shared: Serve) -> None:
    """fit without steps_per_epoch: epoch i has every element of pass i once."""
    model, seen = make_model()
    server = shared("first_hour_keras:finite", workers=3, length=12)
    model.fit(from_server(server.endpoint).batch(4), epochs=3, verbose=0)
    for epoch in range(3):
        assert sorted(rows(seen.train[3 * epoch : 3 * epoch + 3])) == a_pass(epoch)


def test_a_keras_epoch_is_a_pass_when_the_length_is_unknown(shared: Serve) -> None:
    """The same, only Keras finds out at the end, and warns."""
    model, seen = make_model()
    server = shared("first_hour_keras:finite", workers=3)
    with pytest.warns(UserWarning, match=RAN_OUT):
        model.fit(from_server(server.endpoint).batch(4), epochs=3, verbose=0)
    for epoch in range(3):
        assert sorted(rows(seen.train[3 * epoch : 3 * epoch + 3])) == a_pass(epoch)


@pytest.mark.parametrize("length", [12, None])
def test_steps_cut_a_finite_pass_and_go_on_in_it(shared: Serve, length: int | None) -> None:
    """The iterator survives an epoch; where a pass ends within one, Keras warns and cuts it."""
    model, seen = make_model()
    server = shared("first_hour_keras:finite", workers=2, length=length)
    dataset = from_server(server.endpoint, deterministic=True).batch(4)
    with pytest.warns(UserWarning, match=RAN_OUT):
        history = model.fit(dataset, epochs=4, steps_per_epoch=2, verbose=0)
    assert len(history.epoch) == 4
    assert rows(seen.train) == a_pass(0) + a_pass(1)  # 2 and 1 steps, 2 and 1 steps


def test_steps_that_divide_the_length_never_warn(shared: Serve) -> None:
    """3 batches a pass, 1 step an epoch: a pass lasts 3 epochs of Keras, then comes the next."""
    model, seen = make_model()
    server = shared("first_hour_keras:finite", workers=2, length=12)
    dataset = from_server(server.endpoint, deterministic=True).batch(4)
    model.fit(dataset, epochs=6, steps_per_epoch=1, verbose=0)
    assert rows(seen.train) == a_pass(0) + a_pass(1)


def test_repeat_fills_every_epoch_of_a_finite_server(shared: Serve) -> None:
    """repeat() and steps_per_epoch: epochs of equal size, the passes one after the other."""
    model, seen = make_model()
    server = shared("first_hour_keras:finite", workers=2)
    dataset = from_server(server.endpoint, deterministic=True).batch(4).repeat()
    model.fit(dataset, epochs=3, steps_per_epoch=2, verbose=0)
    assert rows(seen.train) == a_pass(0) + a_pass(1)


@pytest.mark.parametrize("length", ["infinite", None])
def test_an_endless_pass_lasts_for_all_epochs_of_a_fit(shared: Serve, length: str | None) -> None:
    """steps_per_epoch on an endless server: nothing is lost or repeated between two epochs."""
    model, seen = make_model()
    server = shared("first_hour_keras:endless", workers=2, length=length)
    dataset = from_server(server.endpoint, deterministic=True).batch(4)
    model.fit(dataset, epochs=3, steps_per_epoch=2, verbose=0)
    assert rows(seen.train) == a_pass(0, 24)


def test_a_second_fit_is_the_next_pass_of_an_endless_server(shared: Serve) -> None:
    """Two calls of fit: worker.epoch is 0, then 1, each from the beginning."""
    model, seen = make_model()
    server = shared("first_hour_keras:endless", workers=2, length="infinite")
    dataset = from_server(server.endpoint, deterministic=True).batch(4)
    for _ in range(2):
        model.fit(dataset, steps_per_epoch=2, verbose=0)
    assert rows(seen.train) == a_pass(0, 8) + a_pass(1, 8)


# What never ends.

Step = Callable[[Any], Any]
STEPS: dict[str, Step] = {
    "batch": lambda dataset: dataset.batch(2),
    "map": lambda dataset: dataset.batch(2).map(lambda x, y: (x + 1, y)).prefetch(2),
    "shuffle": lambda dataset: dataset.shuffle(4).batch(2).cache().prefetch(2),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_endless_fit_without_steps_fails_at_once(shared: Serve, step: Step) -> None:
    """Through any steps of tf.data: a sentence that says steps_per_epoch, before any batch."""
    model, seen = make_model()
    server = shared("first_hour_keras:endless", length="infinite")
    dataset = step(from_server(server.endpoint))
    with pytest.raises(ValueError, match="steps_per_epoch="):
        model.fit(dataset, verbose=0, callbacks=[Fail()])
    assert seen.train == []


@pytest.mark.parametrize("length", [12, None])
def test_repeat_without_steps_fails_at_once(shared: Serve, length: int | None) -> None:
    """repeat() makes any server endless, whatever is known of its length."""
    model, seen = make_model()
    server = shared("first_hour_keras:finite", length=length)
    dataset = from_server(server.endpoint).repeat().batch(2)
    with pytest.raises(ValueError, match="steps_per_epoch="):
        model.fit(dataset, callbacks=[Fail()])
    assert seen.train == []


def test_endless_validation_without_steps_fails_before_training(shared: Serve) -> None:
    """Not after the first epoch, which may be hours later."""
    model, seen = make_model()
    dataset = from_server(shared("first_hour_keras:endless", length="infinite").endpoint).batch(2)
    with pytest.raises(ValueError, match="validation_steps="):
        model.fit(dataset.take(2), validation_data=dataset, verbose=0, callbacks=[Fail()])
    assert seen.train == []


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_endless_evaluate_and_predict_without_steps_fail_at_once(
    shared: Serve, method: str
) -> None:
    """The sentence names the method and its argument."""
    model, seen = make_model()
    dataset = from_server(shared("first_hour_keras:endless", length="infinite").endpoint).batch(2)
    with pytest.raises(ValueError, match=f"{method} was given .* steps="):
        getattr(model, method)(dataset, verbose=0, callbacks=[Fail()])
    assert seen.test == []


def test_endless_with_steps_goes_everywhere(shared: Serve) -> None:
    """fit, validation, evaluate and predict with steps, positional ones too, and take()."""
    model, seen = make_model()
    server = shared("first_hour_keras:endless", workers=2, length="infinite")
    dataset = from_server(server.endpoint, deterministic=True).batch(4)
    model.fit(dataset, steps_per_epoch=1, validation_data=dataset, validation_steps=2, verbose=0)
    model.evaluate(dataset, None, None, 0, None, 1)
    assert model.predict(dataset, steps=2, verbose=0).shape == (8, 1)
    model.fit(dataset.take(2), verbose=0)
    assert rows(seen.train) == a_pass(0, 4) + a_pass(4, 8)
    assert rows(seen.test) == a_pass(1, 8) + a_pass(2, 4) + a_pass(3, 8)


@pytest.mark.parametrize("length", ["infinite", None])
def test_endless_data_of_unknown_length_cannot_be_known(shared: Serve, length: str | None) -> None:
    """A server that does not say so, or after filter(): one epoch, until a callback stops it."""
    model, seen = make_model()
    dataset = from_server(shared("first_hour_keras:endless", length=length).endpoint)
    dataset = (dataset.filter(lambda x, y: x[0] >= 0) if length else dataset).batch(4)
    with pytest.raises(InterruptedError, match="batch 20"):
        model.fit(dataset, verbose=0, callbacks=[Fail(after=20)])
    assert rows(seen.train) == a_pass(0, 84)


@pytest.mark.filterwarnings("ignore:Limiting steps_per_epoch:UserWarning")
def test_keras_own_limit_on_steps_counts(shared: Serve) -> None:
    """KERAS_MAX_STEPS_PER_EPOCH ends the epoch, so an endless dataset is no mistake."""
    model, seen = make_model()
    dataset = from_server(shared("first_hour_keras:endless", length="infinite").endpoint).batch(4)
    keras.config.set_max_steps_per_epoch(2)
    try:
        model.fit(dataset, verbose=0, callbacks=[Fail(after=2)])
    finally:
        keras.config.set_max_steps_per_epoch(None)
    assert rows(seen.train) == a_pass(0, 8)


def test_a_keras_that_looks_different_is_left_alone() -> None:
    """Where one method misses an argument that we would look at, none is touched."""

    class Model:
        def fit(self, x: Any, steps_per_epoch: int) -> None: ...
        def evaluate(self, x: Any, steps: int) -> None: ...
        def predict(self, x: Any, steps: int) -> None: ...

    before = dict(vars(Model))
    for keras_ in (SimpleNamespace(Model=Model), SimpleNamespace()):
        look_first(keras_, lambda data: True, lambda model, data: None)
    assert dict(vars(Model)) == before


def test_a_wrong_argument_is_still_keras_own_error() -> None:
    """What is looked at first changes no message of Keras."""
    model, _ = make_model()
    with pytest.raises(TypeError, match=r"fit\(\) got an unexpected keyword argument 'step'"):
        model.fit(np.zeros((4, 2)), np.zeros(4), step=1)


# Validation, evaluation, prediction.


def test_validation_from_the_same_dataset_takes_passes_in_turn(shared: Serve) -> None:
    """One count of passes: training has 0 and 2, validation 1 and 3."""
    model, seen = make_model()
    dataset = from_server(shared("first_hour_keras:finite", workers=2, length=12).endpoint).batch(6)
    model.fit(dataset, validation_data=dataset, epochs=2, verbose=0)
    assert sorted(rows(seen.train[:2])) == a_pass(0)
    assert sorted(rows(seen.train[2:])) == a_pass(2)
    assert sorted(rows(seen.test[:2])) == a_pass(1)
    assert sorted(rows(seen.test[2:])) == a_pass(3)


def test_validation_from_a_second_dataset_counts_for_itself(shared: Serve) -> None:
    """from_server twice on one server: each has its own passes from 0; epoch=0 pins them."""
    model, seen = make_model()
    server = shared("first_hour_keras:finite", workers=2, length=12)
    training = from_server(server.endpoint).batch(6)
    validation = from_server(server.endpoint, epoch=0).batch(6)
    model.fit(training, validation_data=validation, epochs=2, verbose=0)
    assert sorted(rows(seen.train[2:])) == a_pass(1)
    assert sorted(rows(seen.test[:2])) == sorted(rows(seen.test[2:])) == a_pass(0)


@pytest.mark.soak
def test_validation_from_another_server(shared: Serve) -> None:
    """An endless server to train, a finite one to validate: whole and anew after every epoch."""
    model, seen = make_model()
    endless = shared("first_hour_keras:endless", workers=2, length="infinite")
    finite = shared("first_hour_keras:finite", length=4, arguments={"n": 4})
    training = from_server(endless.endpoint, deterministic=True).batch(4)
    validation = from_server(finite.endpoint).batch(4)
    history = model.fit(
        training, steps_per_epoch=2, validation_data=validation, epochs=2, verbose=0
    )
    assert rows(seen.train) == a_pass(0, 16)
    assert rows(seen.test) == a_pass(0, 4) + a_pass(1, 4)
    assert history.history["val_loss"] == [0.0, 0.0]


@pytest.mark.soak
def test_validation_steps_take_the_beginning_of_a_pass_each_time(shared: Serve) -> None:
    """Unlike training, validation never goes on where it was."""
    model, seen = make_model()
    server = shared("first_hour_keras:finite", workers=2, length=12)
    training, validation = (
        from_server(server.endpoint, deterministic=True).batch(4) for _ in range(2)
    )
    model.fit(training, validation_data=validation, validation_steps=1, epochs=2, verbose=0)
    assert rows(seen.test) == a_pass(0, 4) + a_pass(1, 4)


def test_evaluate_and_predict_take_one_pass_each(shared: Serve) -> None:
    """Every element once, and predictions in the order of the elements."""
    model, seen = make_model()
    server = shared("first_hour_keras:finite", workers=3, length=12)
    dataset = from_server(server.endpoint, deterministic=True).batch(5)
    assert model.evaluate(dataset, verbose=0) == 0.0
    model.layers[-1].set_weights([np.array([[2.0], [0.0]]), np.zeros(1)])
    assert model.predict(dataset, verbose=0).ravel().tolist() == [2.0 * n for n in range(12)]
    assert rows(seen.test) == a_pass(0) + a_pass(1)


# Ends.


def test_early_stopping_frees_everything_and_fit_works_again(serve: Serve, tmp_path: Path) -> None:
    """After it the generators are closed; the next fit is the next pass."""
    model, seen = make_model()
    arguments = {"folder": str(tmp_path)}
    server = serve("first_hour_keras:guarded", workers=2, length="infinite", arguments=arguments)
    dataset = from_server(server.endpoint, deterministic=True).batch(4)
    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=1)
    history = model.fit(dataset, epochs=9, steps_per_epoch=2, verbose=0, callbacks=[stop])
    assert len(history.epoch) == 2  # the loss is 0 from the beginning
    assert eventually(lambda: not list(tmp_path.iterdir()))
    model.fit(dataset, steps_per_epoch=1, verbose=0)
    assert rows(seen.train) == a_pass(0, 16) + a_pass(1, 4)


def test_a_callback_that_raises_frees_everything_and_fit_works_again(
    serve: Serve, tmp_path: Path
) -> None:
    """The user's own exception comes out; Keras' iterator is a cycle, which the collector frees."""
    model, seen = make_model()
    arguments = {"folder": str(tmp_path)}
    server = serve("first_hour_keras:guarded", workers=2, length="infinite", arguments=arguments)
    dataset = from_server(server.endpoint, deterministic=True).batch(4)
    with pytest.raises(InterruptedError, match="batch 2"):
        model.fit(dataset, steps_per_epoch=9, verbose=0, callbacks=[Fail(after=2)])
    model.fit(dataset, steps_per_epoch=1, verbose=0)
    assert rows(seen.train) == a_pass(0, 12) + a_pass(1, 4)
    gc.collect()
    assert eventually(lambda: not list(tmp_path.iterdir()))


def test_a_generator_that_raises_ends_fit_with_its_own_words(serve: Serve) -> None:
    """fit raises the generator's error with worker, epoch and element, and works again."""
    model, seen = make_model()
    dataset = from_server(serve("first_hour_keras:breaking").endpoint).batch(2)
    for epoch in range(2):
        with pytest.raises(tf.errors.UnknownError, match="upside down") as caught:
            model.fit(dataset, verbose=0)
        assert f"[worker 0, epoch {epoch}, element 4]" in str(caught.value)
    assert set(rows(seen.train)) <= {*a_pass(0, 4), *a_pass(1, 4)}


@pytest.mark.parametrize("length", [9, 15])
def test_a_wrong_length_fails_in_fit(shared: Serve, length: int) -> None:
    """12 elements where the server promised another number, with that number in the error."""
    model, _ = make_model()
    dataset = from_server(shared("first_hour_keras:finite", length=length).endpoint).batch(4)
    with pytest.raises(tf.errors.FailedPreconditionError, match=f"{length} elements"):
        model.fit(dataset, verbose=0)


# Ways to run, and structures.


@pytest.mark.parametrize(
    "compiling", [{}, {"run_eagerly": True}, {"steps_per_execution": 4}], ids=str
)
@pytest.mark.parametrize("built", [False, True])
def test_every_way_to_run_sees_every_element_once(
    shared: Serve, compiling: dict[str, Any], built: bool
) -> None:
    """steps_per_execution=4 of 6 batches, run_eagerly, a built and an unbuilt model."""
    model, seen = make_model(**compiling)
    if built:
        model.build((None, 2))
    dataset = from_server(shared("first_hour_keras:finite", workers=2, length=12).endpoint).batch(2)
    model.fit(dataset, epochs=2, verbose=0)
    assert sorted(rows(seen.train[:6])) == a_pass(0)
    assert sorted(rows(seen.train[6:])) == a_pass(1)
    assert model.predict(dataset, verbose=0).shape == (12, 1)
    assert sorted(rows(seen.test)) == a_pass(2)


def test_compile_as_keras_does_by_itself(shared: Serve) -> None:
    """With XLA, which is Keras' default: a linear model learns what the server counts."""
    dataset = from_server(shared("first_hour_keras:structured", workers=2, length=12).endpoint)
    pairs = dataset.map(lambda x, y: (x["left"] / 12, y["sum"] / 12)).batch(12)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    history = model.fit(pairs.cache(), epochs=60, verbose=0)
    assert history.history["loss"][-1] < 1e-3


def test_sample_weights_travel(shared: Serve) -> None:
    """(x, y, sample_weight): 4 of 12 examples weigh 1, each with an error of 1."""
    model, _ = make_model()
    dataset = from_server(shared("first_hour_keras:weighted", workers=2, length=12).endpoint)
    assert model.evaluate(dataset.batch(12), verbose=0) == pytest.approx(4 / 12)
    history = model.fit(dataset.batch(12), verbose=0)
    assert history.history["loss"] == pytest.approx([4 / 12])


@pytest.mark.soak
def test_named_inputs_and_outputs_find_their_places(shared: Serve) -> None:
    """Dicts of two inputs and two targets, by name, in fit, evaluate and predict."""
    left, right = (keras.Input((1,), name=name) for name in ("left", "right"))
    both = keras.layers.Concatenate()([left, right])
    sums = keras.layers.Dense(1, kernel_initializer="ones", use_bias=False, name="sum")(both)
    products = keras.layers.Multiply(name="product")([left, right])
    model = keras.Model({"left": left, "right": right}, {"sum": sums, "product": products})
    model.compile("sgd", {"sum": "mse", "product": "mse"}, jit_compile=False)
    server = shared("first_hour_keras:structured", workers=2, length=12)
    dataset = from_server(server.endpoint, deterministic=True).batch(4)
    history = model.fit(dataset, validation_data=dataset, epochs=2, verbose=0)
    assert history.history["sum_loss"] == history.history["product_loss"] == [0.0, 0.0]
    assert model.evaluate(dataset, verbose=0, return_dict=True)["product_loss"] == 0.0
    products = model.predict(dataset, verbose=0)["product"]
    assert products.ravel().tolist() == [n * (n + 1) for n in range(12)]


def test_several_outputs_as_tuples(shared: Serve) -> None:
    """Targets mapped to a tuple reach the outputs by place."""
    given = keras.Input((1,))
    outputs = [keras.layers.Dense(1, kernel_initializer=w)(given) for w in ("ones", "zeros")]
    model = keras.Model(given, outputs)
    model.compile("sgd", ["mse", "mse"], jit_compile=False)
    dataset = from_server(shared("first_hour_keras:structured", workers=2, length=12).endpoint)
    pairs = dataset.map(lambda x, y: (x["left"], (x["left"], 0 * x["left"]))).batch(4)
    assert model.fit(pairs, verbose=0).history["loss"] == [0.0]


@pytest.mark.parametrize(("length", "shown"), [(12, "1/3"), (None, "1/Unknown")])
@pytest.mark.filterwarnings(f"ignore:{RAN_OUT}:UserWarning")
def test_the_progress_bar_shows_the_total(
    shared: Serve, capsys: pytest.CaptureFixture[str], length: int | None, shown: str
) -> None:
    """From the first batch on when the length is known; otherwise Keras says so."""
    model, _ = make_model()
    server = shared("first_hour_keras:finite", length=length)
    model.fit(from_server(server.endpoint).batch(4), verbose=1)
    assert shown in capsys.readouterr().out


@pytest.mark.soak
def test_a_strategy_spends_a_pass_on_looking(shared: Serve) -> None:
    """Keras looks at a batch of a pass of its own; training and evaluation take the next."""
    with tf.distribute.OneDeviceStrategy("/CPU:0").scope():
        model, seen = make_model()
    dataset = from_server(shared("first_hour_keras:finite", workers=2, length=12).endpoint).batch(4)
    model.fit(dataset, epochs=2, verbose=0)
    assert sorted(rows(seen.train[:3])) == a_pass(1)
    assert sorted(rows(seen.train[3:])) == a_pass(2)
    model.evaluate(dataset, verbose=0)
    assert sorted(rows(seen.test)) == a_pass(4)
