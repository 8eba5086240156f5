"""What a user's generator yields, turned into arrays that can travel, or refused by path.

Runs at the producer, where the mistake is made and the value can still be named. Nothing is cast
silently: what TensorFlow would turn from 300.0 into uint8 44 is an `ElementMismatch` here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .dtypes import TEXT, numpy_dtype
from .errors import ElementError, ElementMismatch
from .spec import MAX_DEPTH, MAX_LEAF, ArraySpec, ElementSpec, Node, Record, nameable
from .values import Leaf, TextArray, to_leaf

__all__ = ["Leaf", "Normalizer", "TextArray", "flatten", "infer_spec", "retyped"]


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
    name, leaf, _ = to_leaf(value, path)
    return ArraySpec(name, tuple(leaf.shape))


def retyped(spec: ElementSpec, dtypes: Node) -> ElementSpec:
    """``spec`` in the structure and with the dtypes of ``dtypes``, whose shapes say nothing.

    `ElementMismatch` where the structures differ.
    """
    return ElementSpec(_retyped(spec.root, dtypes, "element"))


def _retyped(found: Node, wanted: Node, path: str) -> Node:
    if isinstance(wanted, ArraySpec) and isinstance(found, ArraySpec):
        return ArraySpec(wanted.dtype, found.shape)
    if not (isinstance(wanted, Record) and isinstance(found, Record) and _alike(wanted, found)):
        raise ElementMismatch(path, f"the types say {wanted}, the generator gave {found}")
    items = tuple(
        _retyped(theirs, ours, f"{path}{_step(wanted.kind, name)}")
        for name, theirs, ours in zip(wanted.names, found.items, wanted.items, strict=True)
    )
    return Record(wanted.kind, wanted.names, items, wanted.title)


def _alike(one: Record, other: Record) -> bool:
    """Whether two inner nodes hold the same parts; tuples of any kind are alike by position."""
    if one.kind == "dict" or other.kind == "dict":
        return one.kind == other.kind and one.names == other.names
    return len(one.items) == len(other.items)


class Normalizer:
    """Turns elements into leaves that fit one spec. Holds no memory of earlier elements."""

    def __init__(self, spec: ElementSpec, *, casts: bool = False) -> None:
        """With ``casts``, numbers of other dtypes are taken where they keep their value, but for a
        float's rounding: what tf.data does to what a generator yields, without its surprises."""
        self.spec = spec
        self._casts = casts
        self._leaves = spec.leaves()

    def leaves(self, element: object) -> list[Leaf]:
        """The element's arrays in flattening order.

        Raises `ElementError` for what cannot travel, `ElementMismatch` for what does not fit.
        """
        out: list[Leaf] = []
        values: list[Any] = []
        plain = flatten(self.spec.root, element, values)
        walk: Iterable[tuple[tuple[str, ArraySpec], Any]] = (
            zip(self._leaves, values, strict=True)
            if plain
            else self._walk(self.spec.root, element, "element")
        )
        for (path, spec), value in walk:
            leaf = self._fit(path, spec, value, element)
            if leaf.nbytes > MAX_LEAF:
                raise ElementError(path, f"{leaf.nbytes} bytes; at most {MAX_LEAF} can travel")
            out.append(leaf)
        return out

    def _walk(
        self, node: Node, value: object, path: str
    ) -> Iterable[tuple[tuple[str, ArraySpec], Any]]:
        if isinstance(node, ArraySpec):
            yield (path, node), value
            return
        parts = _parts(value, path)
        if value is None:
            to_leaf(value, path)  # says so
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
        kind = type(value)
        if kind is np.ndarray or issubclass(kind, np.generic):
            given: Any = value
            target = numpy_dtype(spec.dtype)
            same = given.dtype == target and target.kind != "O"
            if same and spec.admits(given.shape):
                return given if kind is np.ndarray else np.asarray(given)
        if _parts(value, path) is not None:
            raise ElementMismatch(
                path, f"the spec says {spec}, the generator gave a {_shape_of(value)}"
            )
        name, leaf, weak = to_leaf(value, path)
        if weak or name != spec.dtype:
            if self._casts and name == "bool" != spec.dtype and isinstance(leaf, np.ndarray):
                name, leaf = "uint8", leaf.astype(np.uint8)
            leaf = _convert(path, spec, name, leaf, weak or self._casts)
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


def flatten(node: Node, value: Any, out: list[Any]) -> bool:
    """Append the values of a plain structure that is just the spec's; False for any other.

    Much faster than the walk, which follows named tuples and names what is wrong: that counts for
    tables of a thousand columns.
    """
    if isinstance(node, ArraySpec):
        out.append(value)
        return True
    fits = type(value) is (dict if node.kind == "dict" else tuple)
    if node.kind == "named" or not fits or len(value) != len(node.names):
        return False
    try:
        items = map(value.__getitem__, node.names) if node.kind == "dict" else value
        for inner, item in zip(node.items, items, strict=True):  # noqa: SIM110  # all() is slower
            if not flatten(inner, item, out):
                return False
        return True
    except KeyError:
        return False


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
    if (dtype == "bool") != (name == "bool") or (name.startswith("complex") and not complexes):
        return None
    with np.errstate(all="ignore"):
        cast = leaf.astype(target)
        floats = ("float", "bfloat", "complex")
        if name.startswith(floats) and dtype.startswith(floats):
            return cast if np.array_equal(np.isfinite(cast), np.isfinite(leaf)) else None
        real = cast.real if complexes else cast
        # Of -1 as uint64 the way back makes -1 again, hence the signs.
        same = np.array_equal(real.astype(leaf.dtype), leaf)
        return cast if same and np.array_equal(real < 0, leaf < 0) else None


def _show(leaf: np.ndarray[Any, Any]) -> str:
    text = str(leaf.tolist())
    return text if len(text) <= 60 else text[:57] + "..."
