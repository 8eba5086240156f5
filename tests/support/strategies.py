"""Hypothesis strategies: specs, elements that fit them, messages, and values that fit nothing."""

from __future__ import annotations

import keyword
from dataclasses import dataclass
from typing import Any

import numpy as np
from genserver.protocol.dtypes import DTYPES, TEXT, numpy_dtype
from genserver.protocol.messages import (
    Beat,
    Close,
    Done,
    End,
    EndAck,
    Error,
    Fail,
    GoAway,
    Grant,
    Hello,
    Message,
    Open,
    Release,
    Status,
    Take,
    Welcome,
    Work,
    WorkerStatus,
)  # fmt: skip
from genserver.protocol.normalize import Leaf, TextArray
from genserver.protocol.spec import ArraySpec, ElementSpec, Node, Record
from hypothesis import strategies as st

U64, U63 = 2**64 - 1, 2**63 - 1

_names = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,4}", fullmatch=True).filter(
    lambda name: not keyword.iskeyword(name)
)
arrays = st.builds(
    ArraySpec,
    st.sampled_from(sorted(DTYPES)),
    st.lists(st.none() | st.integers(0, 3), max_size=3).map(tuple),
)


def _tuples(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Record]:
    def make(items: list[Node]) -> Record:
        return Record("tuple", tuple(str(i) for i in range(len(items))), tuple(items))

    return st.lists(nodes, max_size=3).map(make)


def _dicts(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Record]:
    def make(items: dict[str, Node]) -> Record:
        names = tuple(sorted(items))
        return Record("dict", names, tuple(items[name] for name in names))

    return st.dictionaries(_names | st.text(max_size=4), nodes, max_size=3).map(make)


def _named_tuples(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Record]:
    def make(title: str, items: dict[str, Node]) -> Record:
        return Record("named", tuple(items), tuple(items.values()), title)

    return st.builds(make, _names, st.dictionaries(_names, nodes, min_size=1, max_size=3))


specs: st.SearchStrategy[ElementSpec] = st.recursive(
    arrays, lambda nodes: _tuples(nodes) | _dicts(nodes) | _named_tuples(nodes), max_leaves=6
).map(ElementSpec)


@dataclass(frozen=True, slots=True)
class Sample:
    """A spec and ``n`` elements' leaves, all of the same shapes."""

    spec: ElementSpec
    rows: list[list[Leaf]]


@st.composite
def samples(draw: st.DrawFn, spec: st.SearchStrategy[ElementSpec] = specs) -> Sample:
    """A spec with one to four elements that fit it."""
    chosen = draw(spec)
    leaves = [leaf for _, leaf in chosen.leaves()]
    shapes = [
        tuple(draw(st.integers(0, 3)) if dim is None else dim for dim in leaf.shape)
        for leaf in leaves
    ]
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    count = draw(st.integers(1, 4))
    rows = [
        [random_leaf(rng, leaf.dtype, shape) for leaf, shape in zip(leaves, shapes, strict=True)]
        for _ in range(count)
    ]
    return Sample(chosen, rows)


def random_leaf(rng: np.random.Generator, dtype: str, shape: tuple[int, ...]) -> Leaf:
    """Any bit pattern of a dtype: NaNs and infinities too."""
    size = int(np.prod(shape, dtype=np.int64))
    if dtype in TEXT:
        texts = tuple("aé\0€"[: rng.integers(0, 5)].encode() for _ in range(size))
        return TextArray(shape, texts)
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    raw = rng.bytes(size * DTYPES[dtype].itemsize)
    return np.frombuffer(raw, DTYPES[dtype].wire).view(numpy_dtype(dtype)).reshape(shape)


_u64, _u63, _u31 = st.integers(0, U64), st.integers(0, U63), st.integers(0, 2**31)
_text = st.text(max_size=20)
_pairs = st.tuples(_u63, _u63)
#: A number, or that it is not known.
_more = st.integers(-1, U63)
_features = st.lists(_text, max_size=2).map(tuple)
_streams = st.lists(_u63, max_size=5).map(tuple)
_workers = st.builds(
    WorkerStatus, st.integers(0, 512), _text, _u31, _text, st.integers(0, 65535), _text, _u63, _u63
)

#: Every message but ITEM, with every field anywhere in its range.
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, _u64, _u63, _streams, features=_features, memory=_u63),
    st.builds(Welcome, _u64, features=_features, streams=st.none() | _streams),
    st.builds(Error, _text, _text, st.none() | _u63),
    st.builds(
        Status, _text, _text, st.text(max_size=16), _u64, st.integers(-2, U63), _text,
        st.none() | specs, st.lists(_workers, max_size=2).map(tuple), _text, st.text(max_size=16),
        _text, _more, st.integers(0, 512),
    ),
    st.builds(
        Open, _u63, _u31, st.integers(1, 2**31), _u63, _u64, _u63, st.integers(0, 2**20),
        st.booleans(), st.none() | _u63, _u64, _pairs, st.booleans(),
    ),
    st.builds(Grant, _u63, _u63, _u63, _u63),
    st.builds(End, _u63, _u63),
    st.builds(EndAck, _u63),
    st.builds(Fail, _u63, _u63, _text, _text, _text),
    st.builds(Beat),
    st.builds(Close, _u63),
    st.builds(GoAway, _text, st.booleans()),
    st.builds(Release, st.lists(_pairs, max_size=3).map(tuple)),
    st.builds(Take, _u63, _u63),
    st.builds(Work, _u63, _u63, _more, _u63),
    st.builds(Done, _u63, _u63, _u63, _more),
)  # fmt: skip

#: Anything that msgpack can carry.
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), U64) | st.floats() | st.text(max_size=5)
    | st.binary(max_size=5) | st.integers(-2, 40),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(max_size=3) | st.binary(max_size=3), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
