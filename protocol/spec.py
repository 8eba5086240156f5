"""The element spec: what every element of a server looks like.

A spec is a tree of tuples, dicts with str keys and named tuples, whose leaves are `ArraySpec`s.
It is written as text (``(float32[32,32,32,1], uint8[32,32,32])``) and sent as plain lists; what
else is read as one is in signature.py. Pure.
"""

from __future__ import annotations

import keyword
import re
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .dtypes import TEXT, dtype_named
from .errors import RemoteProtocolError, SpecError

__all__ = [
    "ArraySpec", "ElementSpec", "MAX_DEPTH", "MAX_DIM", "MAX_LEAF", "MAX_LEAVES", "Node", "Record",
    "nameable", "parse_spec",
]  # fmt: skip

MAX_RANK = 32  # numpy's own limit before 2.0; nobody trains on more
MAX_LEAVES = 4096
MAX_DEPTH = 16
MAX_DIM = 2**31 - 1
#: Largest array of an element, in bytes: a frame's limit.
MAX_LEAF = 4 * 2**30

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'" + r'|"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SIZE = re.compile(r"\d{1,10}(?!\d)|None|\?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """One array: ``dtype`` is a name of `genserver.protocol.dtypes`, None a free dimension."""

    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join('None' if d is None else str(d) for d in self.shape)}]"

    @property
    def nbytes(self) -> int | None:
        """Bytes of one element's array, or None when a dimension is free or items vary."""
        if self.dtype in TEXT:
            return None
        size = dtype_named(self.dtype).itemsize
        for dim in self.shape:
            if dim is None:
                return None
            size *= dim
        return size

    def admits(self, shape: Sequence[int]) -> bool:
        """Whether an array of ``shape`` fits."""
        if shape == self.shape:
            return True  # the short way
        return len(shape) == len(self.shape) and all(
            want is None or want == have for want, have in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Record:
    """An inner node. ``kind`` is "tuple", "dict" or "named"; a tuple's names are its indices."""

    kind: str
    names: tuple[str, ...]
    items: tuple[Node, ...]
    #: The class name of a named tuple, else "".
    title: str = ""

    def __str__(self) -> str:
        inner = [str(item) for item in self.items]
        if self.kind == "tuple":
            return f"({', '.join(inner)}{',' if len(inner) == 1 else ''})"
        pairs = ", ".join(f"{n}: {i}" for n, i in zip(self._written_names(), inner, strict=True))
        return f"{self.title}{{{pairs}}}"

    def _written_names(self) -> list[str]:
        return [n if _IDENTIFIER.fullmatch(n) else _quoted(n) for n in self.names]


def _quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


Node = ArraySpec | Record


@dataclass(frozen=True, slots=True)
class ElementSpec:
    """The spec of one element, with the walks that everything else needs."""

    root: Node

    def __str__(self) -> str:
        return str(self.root)

    def leaves(self) -> list[tuple[str, ArraySpec]]:
        """(path, spec) of each array in flattening order; a path reads ``element['x'][0]``."""
        return list(_leaves(self.root, "element"))

    @property
    def nbytes(self) -> int | None:
        """Bytes of one element, or None when a size is free."""
        total = 0
        for _, leaf in self.leaves():
            if leaf.nbytes is None:
                return None
            total += leaf.nbytes
        return total

    def unflatten(self, values: Sequence[Any]) -> Any:
        """An element's structure with ``values`` (in flattening order) as its leaves."""
        iterator = iter(values)
        return _build(self.root, lambda _: next(iterator))

    def map(self, leaf: Callable[[ArraySpec], Any]) -> Any:
        """The structure with ``leaf(spec)`` in the place of each array."""
        return _build(self.root, leaf)

    def batched(self, size: int, *, drop_remainder: bool) -> ElementSpec:
        """The spec of a batch of ``size`` elements; as in tf.data the last one may be smaller,
        so that its size is free, unless ``drop_remainder``. With 0 the spec itself."""
        if size == 0:
            return self
        rows = size if drop_remainder else None
        return ElementSpec(_batched(self.root, rows))

    def to_wire(self) -> list[Any]:
        """Plain lists, strings, integers and None."""
        return _to_wire(self.root)

    @classmethod
    def from_wire(cls, wire: object) -> ElementSpec:
        """Read what a peer sent; `RemoteProtocolError` on anything else than `to_wire` makes."""
        budget = [MAX_LEAVES]
        return cls(_from_wire(wire, 0, budget))


def _leaves(node: Node, path: str) -> Iterator[tuple[str, ArraySpec]]:
    if isinstance(node, ArraySpec):
        yield path, node
        return
    for name, item in zip(node.names, node.items, strict=True):
        step = {"tuple": f"[{name}]", "dict": f"[{name!r}]", "named": f".{name}"}[node.kind]
        yield from _leaves(item, path + step)


def _build(node: Node, leaf: Callable[[ArraySpec], Any]) -> Any:
    if isinstance(node, ArraySpec):
        return leaf(node)
    items = [_build(item, leaf) for item in node.items]
    if node.kind == "tuple":
        return tuple(items)
    if node.kind == "dict":
        return dict(zip(node.names, items, strict=True))
    return _named_type(node.title, node.names)(*items)


def _batched(node: Node, rows: int | None) -> Node:
    if isinstance(node, ArraySpec):
        return ArraySpec(node.dtype, (rows, *node.shape))
    items = tuple(_batched(item, rows) for item in node.items)
    return Record(node.kind, node.names, items, node.title)


_named_types: dict[tuple[str, tuple[str, ...]], Any] = {}


def _named_type(title: str, names: tuple[str, ...]) -> Any:
    """One class per (title, fields), so that two elements of a stream have the same type."""
    key = (title, names)
    if key not in _named_types:
        _named_types[key] = namedtuple(title, names)
    return _named_types[key]


def _to_wire(node: Node) -> list[Any]:
    if isinstance(node, ArraySpec):
        return ["array", node.dtype, list(node.shape)]
    return [node.kind, node.title, list(node.names), [_to_wire(item) for item in node.items]]


def _from_wire(wire: object, depth: int, budget: list[int]) -> Node:
    if depth > MAX_DEPTH or not isinstance(wire, list | tuple) or not wire:
        raise RemoteProtocolError("element spec: not a list, or nested too deeply")
    if wire[0] == "array" and len(wire) == 3:
        budget[0] -= 1
        if budget[0] < 0:
            raise RemoteProtocolError(f"element spec: more than {MAX_LEAVES} arrays")
        return _array_from_wire(wire[1], wire[2])
    if len(wire) != 4 or wire[0] not in ("tuple", "dict", "named"):
        raise RemoteProtocolError("element spec: unknown node")
    kind, title, names, items = wire
    if not isinstance(names, list | tuple) or not isinstance(items, list | tuple):
        raise RemoteProtocolError("element spec: malformed node")
    if len(names) != len(items) or len(names) > MAX_LEAVES:
        raise RemoteProtocolError("element spec: names and items differ in number")
    if type(title) is not str or any(type(n) is not str for n in names):
        raise RemoteProtocolError("element spec: names must be text")
    inner = tuple(_from_wire(item, depth + 1, budget) for item in items)
    return _record(kind, tuple(names), inner, title)


def _record(kind: str, names: tuple[str, ...], items: tuple[Node, ...], title: str) -> Record:
    if len(set(names)) != len(names):
        raise RemoteProtocolError("element spec: a name occurs twice")
    if kind == "tuple" and names != tuple(str(i) for i in range(len(names))):
        raise RemoteProtocolError("element spec: malformed tuple")
    if kind == "named" and not nameable(title, names):
        raise RemoteProtocolError("element spec: malformed named tuple")
    if kind != "named" and title:
        raise RemoteProtocolError("element spec: only a named tuple has a title")
    return Record(kind, names, items, title)


def nameable(title: str, names: Sequence[str]) -> bool:
    """Whether namedtuple(), which builds a class from these texts, may be given them."""
    plain = all(_IDENTIFIER.fullmatch(n) and not keyword.iskeyword(n) for n in (title, *names))
    return plain and not any(name.startswith("_") for name in names)


def _array_from_wire(dtype: object, shape: object) -> ArraySpec:
    if type(dtype) is not str or not isinstance(shape, list | tuple) or len(shape) > MAX_RANK:
        raise RemoteProtocolError("element spec: malformed array")
    for dim in shape:
        if dim is not None and (type(dim) is not int or not 0 <= dim <= MAX_DIM):
            raise RemoteProtocolError("element spec: malformed dimension")
    try:
        dtype_named(dtype)
    except SpecError as error:
        raise RemoteProtocolError(f"element spec: {error}") from error
    return ArraySpec(dtype, tuple(shape))


def parse_spec(text: str) -> ElementSpec:
    """Read the text form, as `ElementSpec` writes it; `SpecError` says where it stopped.

    ``float32[2,None]`` is an array, ``int64[]`` or ``int64`` a scalar, ``(a, b)`` a tuple,
    ``{x: a, y: b}`` a dict, ``Name{x: a}`` a named tuple.
    """
    parser = _Parser(text)
    root = parser.node()
    parser.expect_end()
    return ElementSpec(root)


class _Parser:
    """Recursive descent over a spec's text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = -1

    def node(self) -> Node:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"at most {MAX_DEPTH} levels")
        try:
            return self._node()
        finally:
            self._depth -= 1

    def _node(self) -> Node:
        if self._accept("("):
            return self._tuple()
        if self._accept("{"):
            return self._dict("dict", "")
        name = self._match(_IDENTIFIER, "a dtype, '(' or '{'")
        if self._accept("{"):
            return self._dict("named", name)
        dtype_named(name)
        return ArraySpec(name, self._shape() if self._accept("[") else ())

    def expect_end(self) -> None:
        self._skip()
        if self._at != len(self._text):
            self._fail("the end")

    def _tuple(self) -> Record:
        items = []
        while not self._accept(")"):
            items.append(self.node())
            if not self._accept(",") and not self._peek(")"):
                self._fail("',' or ')'")
        return Record("tuple", tuple(str(i) for i in range(len(items))), tuple(items))

    def _dict(self, kind: str, title: str) -> Record:
        pairs: list[tuple[str, Node]] = []
        while not self._accept("}"):
            name = self._key()
            if not self._accept(":"):
                self._fail("':'")
            pairs.append((name, self.node()))
            if not self._accept(",") and not self._peek("}"):
                self._fail("',' or '}'")
        if kind == "dict":
            pairs.sort(key=lambda pair: pair[0])
        try:
            return _record(kind, tuple(n for n, _ in pairs), tuple(i for _, i in pairs), title)
        except RemoteProtocolError as error:
            raise SpecError(str(error)) from None

    def _key(self) -> str:
        for quote in "'\"":
            if self._peek(quote):
                return _ESCAPE.sub(r"\1", self._match(_QUOTED, f"a closing {quote}")[1:-1])
        return self._match(_IDENTIFIER, "a name")

    def _shape(self) -> tuple[int | None, ...]:
        dims: list[int | None] = []
        while not self._accept("]"):
            word = self._match(_SIZE, "a size or None")
            if word.isdigit() and int(word) > MAX_DIM:
                self._fail(f"a size up to {MAX_DIM}")
            dims.append(int(word) if word.isdigit() else None)
            if not self._accept(",") and not self._peek("]"):
                self._fail("',' or ']'")
        if len(dims) > MAX_RANK:
            self._fail(f"at most {MAX_RANK} dimensions")
        return tuple(dims)

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _peek(self, char: str) -> bool:
        self._skip()
        return self._text.startswith(char, self._at)

    def _accept(self, char: str) -> bool:
        found = self._peek(char)
        self._at += len(char) if found else 0
        return found

    def _match(self, pattern: re.Pattern[str], wanted: str) -> str:
        self._skip()
        match = pattern.match(self._text, self._at)
        if match is None:
            self._fail(wanted)
        assert match is not None  # _fail raises
        self._at = match.end()
        return match.group()

    def _fail(self, wanted: str) -> None:
        raise SpecError(f"spec {self._text!r}: expected {wanted} at column {self._at + 1}")
