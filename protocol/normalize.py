"""What a user's generator yields, turned into arrays that can travel, or refused by path.

Runs at the producer, where the mistake is made and the value can still be named. Nothing is cast
silently: what TensorFlow would turn from 300.0 into uint8 44 is an `ElementMismatch` here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .dtypes import TEXT, name_of, numpy_dtype
from .errors import ElementError, ElementMismatch
from .spec import MAX_DEPTH, ArraySpec, ElementSpec, Node, Record, nameable

__all__ = ["MAX_LEAF", "Leaf", "Normalizer", "TextArray", "infer_spec"]


@dataclass(frozen=True, slots=True)
class TextArray:
    """An array of byte strings in C order."""

    shape: tuple[int, ...]
    items: tuple[bytes, ...]

    @property
    def nbytes(self) -> int:
        """What it weighs against the byte credit: the bytes, and eight for each length."""
        return sum(map(len, self.items)) + 8 * len(self.items)


#: Largest array of an element, in bytes: a frame's limit.
MAX_LEAF = 4 * 2**30

#: One array of an element: numeric arrays are of native byte order and may be strided; they are
#: still the user's memory and must be copied before the generator runs on.
Leaf = np.ndarray[Any, np.dtype[Any]] | TextArray

_PYTHON_SCALARS = {bool: "bool", int: "int64", float: "float32", complex: "complex128"}


def infer_spec(element: object) -> ElementSpec:
    """The spec of ``element`` with exact dimensions; `ElementError` names what cannot travel."""
    return ElementSpec(_infer(element, "element", 0))


def _infer(value: object, path: str, depth: int) -> Node:
    parts = _parts(value, path)
    if depth > MAX_DEPTH:
        raise ElementError(path, f"an element may be nested {MAX_DEPTH} deep")
    if parts is not None:
        kind, title, named = parts
        if kind == "named" and not nameable(title, [n for n, _ in named]):
            raise ElementError(path, f"the named tuple {title} needs plain ASCII names; use a dict")
        items = tuple(_infer(v, f"{path}{_step(kind, n)}", depth + 1) for n, v in named)
        return Record(kind, tuple(n for n, _ in named), items, title)
    name, leaf, _ = _leaf(value, path)
    return ArraySpec(name, tuple(leaf.shape))


class Normalizer:
    """Turns elements into leaves that fit one spec. Holds no memory of earlier elements."""

    def __init__(self, spec: ElementSpec) -> None:
        self.spec = spec

    def leaves(self, element: object) -> list[Leaf]:
        """The element's arrays in flattening order.

        Raises `ElementError` for what cannot travel, `ElementMismatch` for what does not fit.
        """
        out: list[Leaf] = []
        for path, spec, value in self._walk(self.spec.root, element, "element"):
            leaf = self._fit(path, spec, value, element)
            if leaf.nbytes > MAX_LEAF:
                raise ElementError(path, f"{leaf.nbytes} bytes; at most {MAX_LEAF} can travel")
            out.append(leaf)
        return out

    def _walk(self, node: Node, value: object, path: str) -> Iterator[tuple[str, ArraySpec, Any]]:
        if isinstance(node, ArraySpec):
            yield path, node, value
            return
        parts = _parts(value, path)
        found = _shape_of(value) if parts is None else parts[0]
        if parts is None or (parts[0] == "dict") != (node.kind == "dict"):
            raise ElementMismatch(path, f"the spec says {node}, the generator gave a {found}")
        named = dict(parts[2])
        # A named tuple and a plain tuple are alike by position, as in tf.data.
        keys = node.names if node.kind == "dict" or parts[0] == node.kind else tuple(named)
        if len(named) != len(node.names) or any(k not in named for k in keys):
            raise ElementMismatch(
                path, f"the spec has {_count(node.names)}, the element {_count(tuple(named))}"
            )
        for key, name, item in zip(keys, node.names, node.items, strict=True):
            yield from self._walk(item, named[key], f"{path}{_step(node.kind, name)}")

    def _fit(self, path: str, spec: ArraySpec, value: object, element: object) -> Leaf:
        # What nearly every array is takes the short way.
        if (
            type(value) is np.ndarray
            and value.dtype != object
            and value.dtype == numpy_dtype(spec.dtype)
            and spec.admits(value.shape)
        ):
            return value
        if _parts(value, path) is not None:
            raise ElementMismatch(
                path, f"the spec says {spec}, the generator gave a {_shape_of(value)}"
            )
        name, leaf, weak = _leaf(value, path)
        if weak or name != spec.dtype:
            leaf = _convert(path, spec, name, leaf, weak)
        if not spec.admits(leaf.shape):
            raise ElementMismatch(
                path,
                f"the spec says {spec}, this element has shape {list(leaf.shape)}",
                relaxed=self._relaxed(element),
            )
        return leaf

    def _relaxed(self, element: object) -> str:
        """The spec with None where this element differs in size, or "" if it differs in more."""
        try:
            found = infer_spec(element)
        except ElementError:
            return ""
        root = _relax(self.spec.root, found.root)
        if root is None or root == self.spec.root:
            return ""
        try:
            Normalizer(ElementSpec(root)).leaves(element)
        except ElementError:
            return ""
        return str(root)


def _relax(ours: Node, theirs: Node) -> Node | None:
    if isinstance(ours, ArraySpec) or isinstance(theirs, ArraySpec):
        if not (isinstance(ours, ArraySpec) and isinstance(theirs, ArraySpec)):
            return None
        if len(ours.shape) != len(theirs.shape):
            return None
        pairs = zip(ours.shape, theirs.shape, strict=True)
        return ArraySpec(ours.dtype, tuple(a if a == b else None for a, b in pairs))
    if len(ours.items) != len(theirs.items):
        return None
    others = theirs.items
    if ours.kind == theirs.kind:
        named = dict(zip(theirs.names, theirs.items, strict=True))
        others = tuple(named[name] for name in ours.names if name in named)
    if len(others) != len(ours.items):
        return None
    items = [_relax(a, b) for a, b in zip(ours.items, others, strict=True)]
    if any(item is None for item in items):
        return None
    return Record(ours.kind, ours.names, tuple(i for i in items if i is not None), ours.title)


def _parts(value: object, path: str) -> tuple[str, str, list[tuple[str, Any]]] | None:
    """(kind, title, named items) of an inner node, or None for a leaf."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ElementError(path, f"dict keys must be str, not {type(key).__name__}")
        return "dict", "", sorted(value.items())
    if isinstance(value, tuple):
        fields = getattr(value, "_fields", None)
        if fields is not None:
            return "named", type(value).__name__, list(zip(fields, value, strict=True))
        return "tuple", "", [(str(i), item) for i, item in enumerate(value)]
    return None


def _step(kind: str, name: str) -> str:
    return {"tuple": f"[{name}]", "dict": f"[{name!r}]", "named": f".{name}"}[kind]


def _shape_of(value: object) -> str:
    return type(value).__name__


def _count(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} parts ({shown})"


def _leaf(value: Any, path: str) -> tuple[str, Leaf, bool]:
    """(dtype name, leaf, weak): weak values are Python's own and may take the spec's dtype.

    A weak leaf keeps Python's precision until `_convert` has given it the spec's.
    """
    if isinstance(value, str):  # before arrays: numpy's own scalar texts lose final NULs as such
        return "str", TextArray((), (_utf8(value, path),)), False
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes", TextArray((), (bytes(value),)), False
    if isinstance(value, np.ndarray | np.generic):
        return _from_array(np.asarray(value), path)
    if type(value) in _PYTHON_SCALARS:
        return _from_scalar(value, path)
    if isinstance(value, list):
        return _from_list(value, path)
    if value is None:
        raise ElementError(path, "None cannot travel; yield an array, or leave the part out")
    if hasattr(value, "__array__"):
        return _from_array(np.asarray(value), path)
    raise ElementError(
        path, f"{type(value).__name__} cannot travel; yield arrays, numbers, str or bytes"
    )


def _from_scalar(value: Any, path: str) -> tuple[str, Leaf, bool]:
    name = _PYTHON_SCALARS[type(value)]
    try:
        # A float keeps its double precision, in case that the spec says float64.
        return name, np.asarray(value, np.int64 if name == "int64" else None), True
    except OverflowError:
        raise ElementError(path, f"the int {value} does not fit int64") from None


def _from_list(value: list[Any], path: str) -> tuple[str, Leaf, bool]:
    first: Any = value
    while isinstance(first, list) and first:
        first = first[0]
    weak = type(first) in _PYTHON_SCALARS
    try:
        array = np.array(value)
    except (ValueError, OverflowError, TypeError) as error:
        raise ElementError(
            path, f"the list is ragged or mixed ({error}); pad it to one shape"
        ) from None
    if array.dtype.kind in "SU":
        # Numpy's fixed-width texts drop final NULs, and took numbers for texts.
        array = np.array(value, dtype=object)
    if array.dtype == np.float64 and (weak or array.size == 0):
        if type(first) is int and _all_ints(value):
            raise ElementError(path, "the ints fit neither int64 nor uint64")
        return "float32", array, True
    name, leaf, _ = _from_array(array, path)
    return name, leaf, weak


def _from_array(array: np.ndarray[Any, Any], path: str) -> tuple[str, Leaf, bool]:
    if array.dtype == object:
        return _from_objects(array, path)
    name = name_of(array.dtype)
    if name is None:
        advice = {
            "M": "view it as int64", "m": "view it as int64", "V": "yield its fields in a dict",
        }.get(array.dtype.kind, "convert it with .astype()")  # fmt: skip
        raise ElementError(path, f"dtype {array.dtype} cannot travel; {advice}")
    if name in TEXT:
        texts = array.ravel().tolist()
        items = tuple(_utf8(text, path) for text in texts) if name == "str" else tuple(texts)
        return name, TextArray(tuple(array.shape), items), False
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return name, array, False


def _from_objects(array: np.ndarray[Any, Any], path: str) -> tuple[str, Leaf, bool]:
    flat = array.ravel().tolist()
    kinds = {type(item) for item in flat}
    if flat and all(issubclass(kind, str) for kind in kinds):
        return "str", TextArray(tuple(array.shape), tuple(_utf8(i, path) for i in flat)), False
    if all(issubclass(kind, bytes) for kind in kinds):
        return "bytes", TextArray(tuple(array.shape), tuple(map(bytes, flat))), False
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise ElementError(
        path, f"an object array of {names} cannot travel; only of str or of bytes, or convert it"
    )


def _all_ints(value: list[Any]) -> bool:
    return all(type(item) is int for item in np.array(value, dtype=object).ravel().tolist())


def _utf8(text: str, path: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ElementError(path, "the str is not valid Unicode; yield it as bytes") from None


def _convert(path: str, spec: ArraySpec, name: str, leaf: Leaf, weak: bool) -> Leaf:
    """``leaf`` as the spec's dtype when that loses nothing, else `ElementMismatch`."""
    if isinstance(leaf, TextArray):
        if spec.dtype not in TEXT:
            raise ElementMismatch(path, f"the spec says {spec}, this element is {name}")
        if spec.dtype == "str" and not all(map(_is_utf8, leaf.items)):
            raise ElementMismatch(
                path, "the spec says str, these bytes are no UTF-8; declare bytes"
            )
        return leaf  # str and bytes are one to TensorFlow; the spec decides what users see
    if weak and spec.dtype in TEXT and leaf.size == 0:
        return TextArray(tuple(leaf.shape), ())
    if weak and spec.dtype not in TEXT:
        cast = _cast(spec.dtype, name, leaf)
        if cast is not None:
            return cast
        raise ElementMismatch(
            path, f"the spec says {spec}, and the value {_show(leaf)} does not fit without loss"
        )
    raise ElementMismatch(
        path,
        f"the spec says {spec}, this element is {name}; convert it in the generator "
        f"(.astype('{spec.dtype}')), or declare {name}",
    )


def _is_utf8(item: bytes) -> bool:
    try:
        item.decode()
    except UnicodeDecodeError:
        return False
    return True


def _cast(
    dtype: str, name: str, leaf: np.ndarray[Any, Any]
) -> np.ndarray[Any, np.dtype[Any]] | None:
    """A weak leaf as ``dtype``: a float may be rounded, all else keeps its value, or None."""
    target = numpy_dtype(dtype)
    if leaf.dtype == target:
        return leaf
    complexes = dtype.startswith("complex")
    if (dtype == "bool") != (name == "bool") or (name == "complex128" and not complexes):
        return None
    with np.errstate(all="ignore"):
        cast = leaf.astype(target)
        if name in ("float32", "complex128") and dtype.startswith(("float", "bfloat", "complex")):
            return cast if np.array_equal(np.isfinite(cast), np.isfinite(leaf)) else None
        real = cast.real if complexes else cast
        # Of -1 as uint64 the way back makes -1 again, hence the signs.
        same = np.array_equal(real.astype(leaf.dtype), leaf)
        return cast if same and np.array_equal(real < 0, leaf < 0) else None


def _show(leaf: np.ndarray[Any, Any]) -> str:
    text = str(leaf.tolist())
    return text if len(text) <= 60 else text[:57] + "..."
