"""TensorFlow with a Ctrl-C at the moment when its C++ forgets the KeyboardInterrupt."""

from __future__ import annotations

import signal
import sys

from tensorflow.python.framework.tensor_shape import TensorShape

__all__ = ["arm"]


def arm() -> None:
    """SIGINT comes during the next eager next(), when its C++ asks for a shape's length."""
    length = TensorShape.__len__

    def interrupted(shape: TensorShape) -> int:
        if sys._getframe(1).f_code.co_name == "iterator_get_next":
            TensorShape.__len__ = length
            signal.raise_signal(signal.SIGINT)
        return length(shape)

    TensorShape.__len__ = interrupted
