"""Declared specs: what a generator's ``output_signature`` may be. Pure, and without TensorFlow."""

from __future__ import annotations

from typing import Any

from .dtypes import dtype_named
from .errors import SpecError
from .spec import MAX_DEPTH, ArraySpec, ElementSpec, Node, Record, nameable, parse_spec

__all__ = ["spec_from_signature"]

#: TensorFlow's specs of what has no fixed memory, and how it is made dense.
_DENSE = {
    "RaggedTensorSpec": "pad to one shape, .to_tensor()",
    "SparseTensorSpec": "make it dense, tf.sparse.to_dense(...)",
    "OptionalSpec": "yield the value, and beside it a bool that says whether it counts",
    "NoneTensorSpec": "leave None out of the elements",
    "DatasetSpec": "yield the elements of the inner dataset",
    "TensorArraySpec": "yield its .stack()",
}


def spec_from_signature(signature: object) -> ElementSpec:
    """Read a declared spec: text, an `ElementSpec`, or a structure of objects with shape and dtype.

    ``tf.TensorSpec`` is such an object, and so is a numpy array; TensorFlow is not imported.
    Raises `SpecError`.
    """
    if isinstance(signature, ElementSpec):
        return signature
    if isinstance(signature, str):
        return parse_spec(signature)
    return ElementSpec(_node_from_signature(signature, "output_signature", 0))


def _node_from_signature(value: Any, path: str, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise SpecError(f"{path}: an element may be nested {MAX_DEPTH} deep")
    if isinstance(value, ArraySpec):
        return value
    if isinstance(value, dict):
        if any(not isinstance(key, str) for key in value):
            raise SpecError(f"{path}: dict keys must be str")
        names = tuple(sorted(value))
        items = tuple(_node_from_signature(value[n], f"{path}[{n!r}]", depth + 1) for n in names)
        return Record("dict", names, items)
    if isinstance(value, tuple):
        fields = getattr(value, "_fields", None)
        names = tuple(fields) if fields else tuple(str(i) for i in range(len(value)))
        items = tuple(
            _node_from_signature(v, f"{path}[{i}]", depth + 1) for i, v in enumerate(value)
        )
        title = type(value).__name__ if fields else ""
        if fields and not nameable(title, names):
            raise SpecError(f"{path}: the named tuple {title} needs plain ASCII names; use a dict")
        return Record("named" if fields else "tuple", names, items, title)
    kind = type(value).__name__
    if kind in _DENSE:
        raise SpecError(
            f"{path}: {kind} cannot travel; {_DENSE[kind]}, and declare tf.TensorSpec with None "
            "for each free dimension"
        )
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _array_from_signature(value, path)
    raise SpecError(
        f"{path}: {type(value).__name__} is not a spec; give tf.TensorSpec, or text such as "
        "'(float32[64,64,3], int64[])'"
    )


def _array_from_signature(value: Any, path: str) -> ArraySpec:
    name = getattr(value.dtype, "name", str(value.dtype))
    if name in ("string", "object"):
        name = "bytes"
    try:
        shape = tuple(None if d is None else int(d) for d in value.shape)
    except ValueError:
        raise SpecError(
            f"{path}: the rank must be known; declare a shape, with None for each free dimension, "
            "as in tf.TensorSpec((None, None), tf.float32)"
        ) from None
    dtype_named(name)
    return ArraySpec(name, shape)
