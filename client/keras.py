"""What Keras needs: a callback that resumes the data, and a sentence for endless datasets.

Keras is imported by who has it: here only when the callback is made.

With an endless dataset and no number of steps Keras 3 would train for ever in its first epoch: it
takes an infinite cardinality for an unknown one. The dataset cannot tell, because Keras makes an
iterator and pulls, as a ``for`` loop that breaks does; so ``fit``, ``evaluate`` and ``predict``
look at their arguments first. ``fit`` then also puts a probe at the end of its data, if it was
given a callback that reads one.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import os
from collections.abc import Callable
from typing import Any

from .progress import Progress
from .saved import SavedStates
from .state import StateError

__all__ = ["keras_callback", "look_first"]

#: The data that a method takes, and the argument that says how many batches of it.
_STEPS = {
    "fit": {"x": "steps_per_epoch", "validation_data": "validation_steps"},
    "evaluate": {"x": "steps"},
    "predict": {"x": "steps"},
}


def look_first(
    keras: Any, is_endless: Callable[[Any], bool], probe: Callable[[Any, Any], Any]
) -> None:
    """Have Keras' models look at their arguments: `ValueError` where ``is_endless`` data comes
    without steps, and `telemetry_callback` gets its probe.

    ``keras`` is the module; ``probe(model, data)`` is a `Probe`, or None where there can be none. A
    Keras whose methods take other arguments is left alone.
    """
    model: Any = getattr(keras, "Model", None)
    methods: dict[str, Any] = {name: getattr(model, name, None) for name in _STEPS}
    for name, pairs in _STEPS.items():
        if not callable(methods[name]):
            return
        if not {*pairs, *pairs.values()} <= set(inspect.signature(methods[name]).parameters):
            return
    for name, method in methods.items():
        setattr(model, name, _checked(keras, name, method, is_endless, probe))


def _checked(
    keras: Any, name: str, method: Callable[..., Any], is_endless: Callable[[Any], bool],
    probe: Callable[[Any, Any], Any],
) -> Callable[..., Any]:  # fmt: skip
    signature = inspect.signature(method)

    @functools.wraps(method)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            return method(*args, **kwargs)  # whose TypeError names the method
        given = bound.arguments
        for data, steps in _STEPS[name].items():
            if not given.get(steps) and is_endless(given.get(data)) and not _capped(keras):
                raise ValueError(
                    f"{name} was given a dataset that never ends as {data}: say with {steps}= how "
                    "many batches to take"
                )
        if name == "fit":
            _measure(given, probe)
        return method(*bound.args, **bound.kwargs)

    return checked


def _measure(given: dict[str, Any], probe: Callable[[Any, Any], Any]) -> None:
    """Give a callback that wants to know how long steps wait what measures that."""
    callbacks = given.get("callbacks") or ()
    callbacks = getattr(callbacks, "callbacks", callbacks)  # a CallbackList
    for callback in callbacks if isinstance(callbacks, list | tuple) else (callbacks,):
        if hasattr(callback, "measure_with"):
            found = probe(given.get("self"), given.get("x"))
            if found is not None:
                callback.measure_with(found)
                given["x"] = found.at_the_end_of(given["x"])
            return


def _capped(keras: Any) -> bool:
    """Whether KERAS_MAX_STEPS_PER_EPOCH ends every epoch; older Keras does not know it."""
    cap = getattr(getattr(keras, "config", None), "max_steps_per_epoch", None)
    return cap is not None and bool(cap())


def keras_callback(
    progress: Progress, path: str | os.PathLike[str], *, batch: int = 1,
    save_freq: int | str = "epoch",
) -> Any:  # fmt: skip
    """A ``keras.callbacks.Callback`` that saves where training is in its data, and has another run
    go on there.

    Give it to ``fit`` in front of the one that saves the model and restores it, such as
    ``BackupAndRestore``, with the same ``save_freq``. What both saved is matched by the number of
    training steps (``optimizer.iterations``), so that being killed between the two does no harm. A
    run whose model is at a step of which ``path`` has no state is refused with `StateError`; a
    model that has not trained yet begins with new data.

    * ``progress``: the one that was given to the training dataset as ``resume=``.
    * ``path``: a file for the last states, replaced as a whole each time.
    * ``batch``: elements of that dataset in a training step: n after ``.batch(n)``, 1 where the
      workers make the batches.
    * ``save_freq``: "epoch", or a number of training steps, which needs ``steps_per_epoch`` and a
      dataset with ``.repeat()`` before ``.batch(n)``.

    Without ``steps_per_epoch`` an epoch of Keras is a pass of the dataset. In the middle of one
    nothing can go on: Keras would take the rest of that pass for the length of all others.
    """
    if batch < 1:
        raise ValueError(f"batch is a number of elements, not {batch}")
    if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
        raise ValueError(f'save_freq is "epoch" or a number of steps, not {save_freq!r}')
    keras: Any = importlib.import_module("keras")
    counter = _Steps(progress, SavedStates(path), batch, save_freq)

    class ResumeData(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
        def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002  # Keras' signature
            counter.begin(
                by_pass=self.params.get("steps") is None,
                accumulated=getattr(self.model.optimizer, "gradient_accumulation_steps", None) or 1,
            )

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002  # as above
            counter.begin_epoch(self._step())

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            if counter.trained(batch + 1):
                counter.save(self._step())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002  # as above
            if counter.end_epoch():
                counter.save(self._step())

        def _step(self) -> int:
            return int(self.model.optimizer.iterations.numpy())

    return ResumeData()


class _Steps:
    """Counts Keras' training steps; where a method returns a bool, it says whether to save."""

    def __init__(
        self, progress: Progress, states: SavedStates, batch: int, save_freq: int | str
    ) -> None:
        self._progress = progress
        self._states = states
        self._batch = batch
        self._save_freq = save_freq
        self._by_pass = False
        self._begun = False
        self._in_epoch = 0
        self._unsaved = 0

    def begin(self, *, by_pass: bool, accumulated: int) -> None:
        """``fit`` begins; ``by_pass``: each of its epochs is a pass of the dataset. Steps whose
        gradients are ``accumulated`` have one number."""
        if self._save_freq != "epoch" and int(self._save_freq) % accumulated:
            raise ValueError(
                f"save_freq={self._save_freq} is no multiple of gradient_accumulation_steps="
                f"{accumulated}: the optimizer counts that many as one step"
            )
        if by_pass and self._save_freq != "epoch":
            raise ValueError(
                "save_freq in steps needs steps_per_epoch=, and .repeat() before .batch(): Keras "
                "cannot go on in the middle of an epoch that is a pass of the dataset"
            )
        self._by_pass = by_pass
        self._begun = False
        self._unsaved = 0

    def begin_epoch(self, step: int) -> None:
        """By the first one every callback has restored what it restores, and a strategy's look at
        the data is past."""
        self._in_epoch = 0
        if self._begun:
            return
        self._begun = True
        states = self._states.load()
        if step not in states and step > 0 and states:
            known = ", ".join(map(str, states))
            raise StateError(
                f"the model has trained {step} steps, and {self._states.path} has states of the "
                f"data after {known}: put keras_callback in front of the callback that saves the "
                "model, with the same save_freq, or remove the file to begin with new data"
            )
        self._progress.restore(states.get(step) if step > 0 else None)
        if states and step == 0:
            self.save(step)  # what is left of another run must not be taken for this one's

    def trained(self, in_epoch: int) -> bool:
        """So many steps of this epoch are done."""
        steps, self._in_epoch = in_epoch - self._in_epoch, in_epoch
        if not self._by_pass:
            self._progress.advance(steps * self._batch)
        self._unsaved += steps
        due = self._save_freq != "epoch" and self._unsaved >= int(self._save_freq)
        self._unsaved = 0 if due else self._unsaved
        return due

    def end_epoch(self) -> bool:
        """An epoch of Keras is over."""
        if self._by_pass:
            self._progress.end_pass()
        return self._save_freq == "epoch"

    def save(self, step: int) -> None:
        """The model has trained ``step`` steps."""
        self._states.save(step, self._progress.state())
