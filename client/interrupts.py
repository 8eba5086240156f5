"""Ctrl-C as a KeyboardInterrupt out of TensorFlow's waits.

Changes classes of TensorFlow, which its one importer hands in. Any thread, once.
"""

from __future__ import annotations

from typing import Any

from genserver.protocol.transport.process import repeat_interrupts_in

__all__ = ["let_interrupts_through"]


def let_interrupts_through(ops: Any, eager: Any, unknown: Any, unknown_code: int) -> None:
    """Have Ctrl-C end TensorFlow's wait as a KeyboardInterrupt.

    When C++ returns an error, TensorFlow builds a Python exception whose ``__init__`` is the first
    bytecode that the main thread runs, so a pending KeyboardInterrupt is raised inside it; pybind11
    turns that into a RuntimeError ("MISMATCH of original and normalized active exception types",
    seen with 2.21). Without bytecode in the constructor it is raised a moment later, as itself.
    An ``eager`` step raises the first class, a tf.function such as Keras' the ``unknown`` one,
    whose code is what our lanes fail with. A TensorFlow whose exceptions look different is left
    alone.
    """
    # The C++ of an eager next() calls a TensorShape's __len__ and forgets what that raised.
    code = getattr(getattr(ops, "iterator_get_next", None), "__code__", None)
    if code is not None:
        repeat_interrupts_in(code)
    if _takes(eager, "message", "code", "payloads"):
        delattr(eager, "__init__")
        for index, name in enumerate(("message", "code", "payloads")):
            setattr(eager, name, _Argument(index))
    if _takes(unknown, "node_def", "op", "message", "args"):
        unknown.__init__ = Exception.__init__
        unknown.__reduce__ = Exception.__reduce__
        for index, name in enumerate(("_node_def", "_op", "_message", "_experimental_payloads")):
            setattr(unknown, name, _Argument(index))
        unknown._error_code = unknown_code


def _takes(error: Any, *names: str) -> bool:
    """Whether the class has a constructor of its own with these arguments after ``self``."""
    init = vars(error).get("__init__") if error is not None else None
    found = getattr(getattr(init, "__code__", None), "co_varnames", ())
    return found[1 : 1 + len(names)] == names


class _Argument:
    """An attribute that reads an exception's argument until it is assigned to."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __get__(self, error: Exception | None, owner: type) -> Any:
        if error is None:
            return self
        return error.args[self._index] if self._index < len(error.args) else {}
