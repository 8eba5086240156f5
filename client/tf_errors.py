"""A generator's error as tf.data's own from_generator would have it. Pure.

TensorFlow makes an InvalidArgumentError of a ValueError or TypeError that is raised in a generator,
an UnimplementedError of a NotImplementedError, a ResourceExhaustedError of a MemoryError, and an
UnknownError of anything else, by the class of the Python exception.
"""

from __future__ import annotations

import builtins
from functools import cache

from genserver.protocol.errors import GeneratorError, GenserverError

__all__ = ["as_tf_data_has_it"]

#: The exceptions that TensorFlow tells apart.
TOLD_APART = (ValueError, TypeError, NotImplementedError, MemoryError)
#: An element that does not fit is a TypeError there.
REFUSALS = {"ElementError": TypeError, "ElementMismatch": TypeError}


def as_tf_data_has_it(error: GenserverError) -> GenserverError:
    """The same error with the class of what the generator raised among its own, if that matters."""
    if not isinstance(error, GeneratorError):
        return error
    raised = REFUSALS.get(error.kind, getattr(builtins, error.kind, None))
    for told in TOLD_APART:
        if isinstance(raised, type) and issubclass(raised, told):
            return _with(told)(
                worker=error.worker, epoch=error.epoch, element=error.element, kind=error.kind,
                text=error.text, traceback=error.traceback,
            )  # fmt: skip
    return error


@cache
def _with(told: type[Exception]) -> type[GeneratorError]:
    return type("GeneratorError", (GeneratorError, told), {"__module__": GeneratorError.__module__})
