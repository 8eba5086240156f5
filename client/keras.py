"""An endless dataset given to Keras without a number of steps ends in a sentence. Pure.

Keras 3 would train for ever in its first epoch: it takes an infinite cardinality for an unknown
one. The dataset cannot tell, because Keras makes an iterator and pulls, as a ``for`` loop that
breaks does; so ``fit``, ``evaluate`` and ``predict`` look at their arguments first.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["refuse_endless"]

#: The data that a method takes, and the argument that says how many batches of it.
_STEPS = {
    "fit": {"x": "steps_per_epoch", "validation_data": "validation_steps"},
    "evaluate": {"x": "steps"},
    "predict": {"x": "steps"},
}


def refuse_endless(keras: Any, is_endless: Callable[[Any], bool]) -> None:
    """Have Keras' models raise `ValueError` where ``is_endless`` data comes without steps.

    ``keras`` is the module. A Keras whose methods take other arguments is left alone.
    """
    model: Any = getattr(keras, "Model", None)
    methods: dict[str, Any] = {name: getattr(model, name, None) for name in _STEPS}
    for name, pairs in _STEPS.items():
        if not callable(methods[name]):
            return
        if not {*pairs, *pairs.values()} <= set(inspect.signature(methods[name]).parameters):
            return
    for name, method in methods.items():
        setattr(model, name, _checked(keras, name, method, is_endless))


def _checked(
    keras: Any, name: str, method: Callable[..., Any], is_endless: Callable[[Any], bool]
) -> Callable[..., Any]:
    signature = inspect.signature(method)

    @functools.wraps(method)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return method(*args, **kwargs)  # whose TypeError names the method
        for data, steps in _STEPS[name].items():
            if not given.get(steps) and is_endless(given.get(data)) and not _capped(keras):
                raise ValueError(
                    f"{name} was given a dataset that never ends as {data}: say with {steps}= how "
                    "many batches to take"
                )
        return method(*args, **kwargs)

    return checked


def _capped(keras: Any) -> bool:
    """Whether KERAS_MAX_STEPS_PER_EPOCH ends every epoch; older Keras does not know it."""
    cap = getattr(getattr(keras, "config", None), "max_steps_per_epoch", None)
    return cap is not None and bool(cap())
