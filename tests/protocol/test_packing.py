"""The short way into a row lets through what the normalizer would, and nothing else."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
from genserver.protocol.dtypes import DTYPES, TEXT, numpy_dtype
from genserver.protocol.errors import ElementError
from genserver.protocol.normalize import Normalizer
from genserver.protocol.packing import SMALL, packer
from genserver.protocol.spec import ElementSpec, parse_spec
from hypothesis import given
from hypothesis import strategies as st

from ..support.strategies import Sample, samples

NUMERIC = sorted(set(DTYPES) - TEXT)


def columns_of(spec: ElementSpec, rows: int = 3) -> list[np.ndarray]:
    """Columns of ones, which no row of these tests holds by itself."""
    return [
        np.ones((rows, *(size or 0 for size in leaf.shape)), numpy_dtype(leaf.dtype))
        for _, leaf in spec.leaves()
    ]


def check(spec: ElementSpec, element: Any) -> bool:
    """Whether the short way takes ``element``; if so the row is the normalizer's, to the bit."""
    columns = columns_of(spec)
    if not packer(spec, columns)(element, 1):
        return False
    leaves = Normalizer(spec).leaves(element)
    for column, leaf in zip(columns, leaves, strict=True):
        assert isinstance(leaf, np.ndarray)
        expected = np.ones_like(column)
        expected[1] = leaf
        assert column.tobytes() == expected.tobytes()
    return True


numbers = (
    st.integers(-(2**65), 2**65) | st.integers(-129, 256) | st.booleans()
    | st.floats() | st.floats(width=32) | st.sampled_from([3.4028235e38, 3.4028236e38, -0.0])
)  # fmt: skip


@given(st.sampled_from(NUMERIC), numbers)
def test_a_number_goes_the_short_way_only_if_it_fits(dtype: str, value: Any) -> None:
    """What is written is what the normalizer makes of it; what it refuses is not taken."""
    check(parse_spec(dtype), value)


@given(st.sampled_from(NUMERIC), st.sampled_from(NUMERIC), st.integers(0, 100))
def test_a_numpy_scalar_goes_the_short_way_only_with_its_dtype(
    dtype: str, other: str, value: int
) -> None:
    """A scalar of another dtype is left to the normalizer, which refuses it."""
    scalar = numpy_dtype(other).type(value)
    assert check(parse_spec(dtype), scalar) == (dtype == other)


@given(samples())
def test_arrays_of_the_spec_go_the_short_way(sample: Sample) -> None:
    """Of every dtype, with every bit pattern."""
    fixed = [leaf for _, leaf in sample.spec.leaves() if leaf.dtype not in TEXT]
    rows = [leaf for leaf in sample.rows[0] if isinstance(leaf, np.ndarray)]
    for leaf, row in zip(fixed, rows, strict=True):
        if leaf.admits(row.shape) and None not in leaf.shape:
            assert check(ElementSpec(leaf), row)


@pytest.mark.parametrize(
    ("spec", "element"),
    [
        ("(int64, float32[2])", (3, np.zeros(2, np.float32))),
        ("(int64, bool, float64)", (3, True, 0.5)),
        ("{a: int64, b: int64}", {"b": 1, "a": 2}),
        ("(int64, {x: (int8, float32), y: uint8[1]})",
         (3, {"y": np.zeros(1, np.uint8), "x": (1, 0.5)})),
        ("int64", 5),
        ("()", ()),
        ("(int64,)", (5,)),
    ],
)  # fmt: skip
def test_plain_structures_go_the_short_way(spec: str, element: Any) -> None:
    """Tuples, dicts in any order, and both within each other."""
    assert check(parse_spec(spec), element)


@pytest.mark.parametrize(
    ("spec", "element"),
    [
        ("(int64, int64)", (1,)), ("(int64, int64)", [1, 2]), ("(int64, int64)", (1, 2, 3)),
        ("(int64, int64, int64)", (1, 2)), ("{a: int64}", {"b": 1}), ("{a: int64}", (1,)),
        ("{a: int64}", {"a": 1, "b": 2}), ("(int64, (int64,))", (1, 2)),
        ("float32[2]", np.zeros(3, np.float32)), ("float32[2]", np.zeros(2, np.float64)),
        ("float32[2]", np.zeros((2, 1), np.float32)), ("float32[2]", np.zeros(2, ">f4")),
        ("float32[2]", np.ma.zeros(2, np.float32)), ("float32[2]", [0.0, 0.0]),
        ("float32", math.nan), ("float32", math.inf), ("float32", 1e39), ("uint8", 256),
        ("int64", 1.0), ("int64", True), ("bool", 1), ("float32", 1), ("int64", None),
        ("(str, int64)", ("a", 1)),
    ],
)  # fmt: skip
def test_all_else_is_left_to_the_normalizer(spec: str, element: Any) -> None:
    """Whatever needs a closer look, or an error that names the path."""
    parsed = parse_spec(spec)
    columns: list[Any] = columns_of(parsed) if "str" not in spec else [[], np.ones(3, np.int64)]
    assert not packer(parsed, columns)(element, 1)


@pytest.mark.parametrize("size", [SMALL // 4, SMALL // 4 + 1])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_of_any_layout_is_copied_in_order(size: int, order: Any) -> None:
    """Small and large rows, of C order and turned."""
    element = np.asarray(np.arange(2 * size).reshape(2, size).astype(np.float32), order=order)
    assert check(parse_spec(f"float32[2,{size}]"), element)
    assert check(parse_spec(f"float32[{size}]"), np.arange(3 * size, dtype=np.float32)[::3])


def test_a_named_tuple_goes_the_short_way_with_its_fields_in_order() -> None:
    """Of any class; what is matched by name or by position is left to the normalizer."""
    spec = parse_spec("Pair{a: int64, b: int64}")
    for title in ("Pair", "Other"):
        assert check(spec, namedtuple(title, "a b")(1, 2))
    assert not check(spec, namedtuple("Pair", "b a")(1, 2))
    assert not check(spec, (1, 2))
    with pytest.raises(ElementError):
        Normalizer(spec).leaves((1,))
