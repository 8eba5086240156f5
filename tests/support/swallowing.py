"""TensorFlow with a Ctrl-C at the moment when its C++ forgets the KeyboardInterrupt."""

from __future__ import annotations

import signal
import sys
from types import FrameType

from tensorflow.python.framework.tensor_shape import TensorShape

__all__ = ["arm"]


def arm() -> None:
    """SIGINT comes during the second eager next(), when its C++ asks for a shape's length."""
    length = TensorShape.__len__
    calls: list[FrameType] = []

    def interrupted(shape: TensorShape) -> int:
        caller = sys._getframe(1)
        if caller.f_code.co_name == "iterator_get_next" and caller not in calls:
            calls.append(caller)
        if len(calls) == 2:
            TensorShape.__len__ = length
            signal.raise_signal(signal.SIGINT)
        return length(shape)

    TensorShape.__len__ = interrupted
