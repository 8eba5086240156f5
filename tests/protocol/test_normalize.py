"""What generators yield: what becomes of it, and how the rest is refused."""

from __future__ import annotations

import re
import shlex
from collections import namedtuple
from datetime import datetime
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
from genserver.protocol.dtypes import DTYPES, TEXT, numpy_dtype
from genserver.protocol.errors import ElementError, ElementMismatch
from genserver.protocol.normalize import Normalizer, TextArray, infer_spec
from genserver.protocol.spec import parse_spec
from hypothesis import given
from hypothesis import strategies as st

from ..support.strategies import Sample, samples


class Point(NamedTuple):
    """A named tuple of a user."""

    x: Any
    y: Any


class _Hidden(NamedTuple):
    x: Any


class Tensor:
    """Has ``__array__``, as the tensors of every framework have."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return np.arange(3, dtype=np.int16)


def leaves(spec: str, element: object) -> list[Any]:
    """The element's leaves under a spec's text."""
    return Normalizer(parse_spec(spec)).leaves(element)


def found(element: object) -> str:
    """The inferred spec, which must admit its own element."""
    spec = infer_spec(element)
    Normalizer(spec).leaves(element)
    return str(spec)


@pytest.mark.parametrize("name", sorted(set(DTYPES) - TEXT))
def test_every_dtype(name: str) -> None:
    """Each dtype of the table is found and passes unchanged."""
    array = np.ones((2, 1), numpy_dtype(name))
    assert found(array) == f"{name}[2,1]"
    (leaf,) = leaves(f"{name}[2,1]", array)
    assert leaf.dtype == array.dtype
    assert leaf.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("array", "spec"),
    [
        (np.arange(12, dtype=np.int32)[::-2], "int32[6]"),
        (np.asfortranarray(np.arange(6.0).reshape(2, 3)), "float64[2,3]"),
        (np.arange(6, dtype=">i4"), "int32[6]"),
        (np.arange(3, dtype=">c8"), "complex64[3]"),
        (np.array(5, np.uint8), "uint8[]"),
        (np.float64(2.5), "float64[]"),
        (np.bool_(True), "bool[]"),
        (np.zeros((0, 4), np.float16), "float16[0,4]"),
        (np.broadcast_to(np.int8(1), (3, 2)), "int8[3,2]"),
        (ml_dtypes.bfloat16(1.5), "bfloat16[]"),
        (Tensor(), "int16[3]"),
    ],
)
def test_arrays_of_any_layout(array: Any, spec: str) -> None:
    """Layout and byte order do not matter: values and native dtype arrive."""
    assert found(array) == spec
    (leaf,) = leaves(spec, array)
    assert leaf.dtype.isnative
    assert np.array_equal(leaf, np.asarray(array))


@pytest.mark.parametrize(
    ("element", "spec"),
    [
        (1, "int64[]"), (1.5, "float32[]"), (True, "bool[]"), (1j, "complex128[]"),
        ("é", "str[]"), (b"x", "bytes[]"), (bytearray(b"x"), "bytes[]"),
        ([1, 2], "int64[2]"), ([[1.0], [2.0]], "float32[2,1]"), ([1, 2.5], "float32[2]"),
        ([], "float32[0]"), ([[], []], "float32[2,0]"), ([True, False], "bool[2]"),
        ([np.float64(1.5)], "float64[1]"), ([np.zeros(2, np.int8)] * 3, "int8[3,2]"),
        (["a", "bc"], "str[2]"), ([[b"a"], [b""]], "bytes[2,1]"), ([2**63], "uint64[1]"),
        (2**63, "uint64[]"),
        (np.array(["a", "bc"]), "str[2]"), (np.array([b"a"]), "bytes[1]"),
        (np.array(["a", "b"], object), "str[2]"), (np.array([b"a"], object), "bytes[1]"),
        ((1, 2.5), "(int64[], float32[])"), ((1,), "(int64[],)"), ((), "()"),
        ({"b": 1, "a": (2,)}, "{a: (int64[],), b: int64[]}"),
        (Point(1, {"k": b""}), "Point{x: int64[], y: {k: bytes[]}}"),
        (_Hidden(1), "_Hidden{x: int64[]}"),
    ],
)  # fmt: skip
def test_python_values(element: object, spec: str) -> None:
    """Python's values have the spec that tf.data gives them, floats as float32."""
    assert found(element) == spec


@pytest.mark.parametrize(
    ("element", "items"),
    [
        ("é\0", ("é\0".encode(),)),
        ([b"a\0", b"\0\0"], (b"a\0", b"\0\0")),
        (["a\0", ""], (b"a\0", b"")),
        (np.array([b"a\0"], object), (b"a\0",)),
        (np.bytes_(b"a\0"), (b"a\0",)),
        (np.array([["é"], ["b"]]), ("é".encode(), b"b")),
    ],
)
def test_texts_arrive_whole(element: object, items: tuple[bytes, ...]) -> None:
    """Texts keep their final NULs, which numpy's fixed-width types would drop."""
    (leaf,) = Normalizer(infer_spec(element)).leaves(element)
    assert leaf.items == items


@pytest.mark.parametrize(
    ("element", "path", "reason"),
    [
        ({"x": (1, None)}, "element['x'][1]", "None cannot travel"),
        (Point(1, [[1], [2, 3]]), "element.y", "ragged"),
        (([["a"], ["b", "c"]],), "element[0]", "ragged"),
        ([1, "a"], "element", "object array of int, str"),
        ([b"a", "b"], "element", "object array of bytes, str"),
        ([1, None], "element", "object array of NoneType, int"),
        (np.array([1, "a"], object), "element", "object array of int, str"),
        (np.array(["2020-01-01"], "M8[D]"), "element", "view it as int64"),
        (np.zeros(1, "m8[s]"), "element", "view it as int64"),
        (np.zeros(1, [("a", "i4")]), "element", "yield its fields in a dict"),
        (np.zeros(1, "V4"), "element", "cannot travel"),
        (np.zeros(1, np.longdouble), "element", r"convert it with .astype()"),
        ({1: 2}, "element", "dict keys must be str, not int"),
        ({"a": {None: 2}}, "element['a']", "dict keys must be str, not NoneType"),
        (2**64, "element", "fits neither int64 nor uint64"),
        (-(2**63) - 1, "element", "fits neither int64 nor uint64"),
        ([True, 2], "element", "mixes bool with numbers"),
        ([[1.5], [False]], "element", "mixes bool with numbers"),
        ([np.array([1]), np.array([True])], "element", "mixes bool with numbers"),
        (([-1, 2**63],), "element[0]", "fit neither int64 nor uint64"),
        ([2**64], "element", "object array of int"),
        ("\udc80", "element", "not valid Unicode"),
        (["\udc80"], "element", "not valid Unicode"),
        (np.array(["\udc80"]), "element", "not valid Unicode"),
        ({"t": datetime(2020, 1, 1)}, "element['t']", "datetime cannot travel"),
        ({1, 2}, "element", "set cannot travel"),
        (namedtuple("P", "a, a", rename=True)(1, 2), "element", "plain ASCII names"),
    ],
)  # fmt: skip
def test_refusals_name_the_path(element: object, path: str, reason: str) -> None:
    """What cannot travel is refused with its path in the element and the reason."""
    with pytest.raises(ElementError, match=re.escape(reason)) as caught:
        infer_spec(element)
    assert caught.value.path == path


def test_depth_is_refused_at_the_producer() -> None:
    """An element that is nested too deeply to be sent is refused where it is made."""
    element: dict[str, Any] = {}
    element["self"] = element
    with pytest.raises(ElementError, match="nested 16 deep"):
        infer_spec(element)


@pytest.mark.parametrize(
    ("spec", "element", "path"),
    [
        ("int64", None, "element"),
        ("(int64, int64)", None, "element"),
        ("(int64, {a: int64})", (1, None), "element[1]"),
        ("{a: {b: int64}}", {"a": {"b": None}}, "element['a']['b']"),
    ],
)
def test_none_gets_the_same_advice_in_every_element(spec: str, element: object, path: str) -> None:
    """Where the spec has an array and where it has parts, as in the first element."""
    with pytest.raises(ElementError) as caught:
        leaves(spec, element)
    advice = "None cannot travel; yield an array, or leave the part out"
    assert str(caught.value) == f"{path}: {advice}"


@pytest.mark.parametrize(
    ("spec", "element", "path", "reason"),
    [
        ("uint8", 300.0, "element", "300.0 does not fit without loss"),
        ("uint8", 300, "element", "300 does not fit without loss"),
        ("uint8", -1, "element", "-1 does not fit without loss"),
        ("uint64", -1, "element", "-1 does not fit without loss"),
        ("int64[1]", [2**63], "element", "does not fit without loss"),
        ("int64", 2**63, "element", "9223372036854775808 does not fit without loss"),
        ("int8", 1.5, "element", "1.5 does not fit without loss"),
        ("int8", float("nan"), "element", "nan does not fit without loss"),
        ("float32", 2**24 + 1, "element", "16777217 does not fit without loss"),
        ("float32", 1e300, "element", "1e+300 does not fit without loss"),
        ("bool", 1, "element", "1 does not fit without loss"),
        ("int64", True, "element", "True does not fit without loss"),
        ("float32", 1j, "element", "1j does not fit without loss"),
        ("float32[2]", np.zeros(2), "element", "(.astype('float32')), or declare float64"),
        ("(int8, float64)", (np.int8(1), np.float32(1)), "element[1]", "or declare float32"),
        ("int64", "1", "element", "this element is str"),
        ("str", 1, "element", "this element is int64"),
        ("str", b"\xff", "element", "declare bytes"),
        ("int64", (1, 2), "element", "the generator gave a tuple"),
        ("(int64, int64)", [1, 2], "element", "the generator gave a list"),
        ("(int64, int64)", {"a": 1, "b": 2}, "element", "the generator gave a dict"),
        ("{a: int64}", (1,), "element", "the generator gave a tuple"),
        ("{a: int64, b: int64}", {"a": 1}, "element", "has 2 parts (a, b), the element 1 parts"),
        ("{a: int64}", {"b": 1}, "element", "the element 1 parts (b)"),
        ("(int64, (int64, int64))", (1, (1,)), "element[1]", "has 2 parts (0, 1), the element 1"),
        ("Point{x: int64, z: int64}", Point(1, 2), "element", "2 parts (x, z), the element 2"),
    ],
)
def test_mismatches(spec: str, element: object, path: str, reason: str) -> None:
    """What TensorFlow would cast or drop silently is refused with path and advice."""
    with pytest.raises(ElementMismatch, match=re.escape(reason)) as caught:
        leaves(spec, element)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("spec", "element", "value"),
    [
        ("uint8", 255, 255), ("int8", -128, -128), ("uint64", 2**63, 2**63),
        ("uint64", 2**64 - 1, 2**64 - 1), ("float64", 2**63, 2.0**63),
        ("uint64[1]", [2**64 - 1], [2**64 - 1]),
        ("float64", 0.1, 0.1), ("float64[1]", [0.1], [0.1]), ("float32", 0.1, np.float32(0.1)),
        ("float16", 1, 1.0), ("int32", 3.0, 3), ("complex64", 1, 1 + 0j),
        ("complex128", 0.1, 0.1 + 0j), ("complex64", 1j, 1j), ("float32", float("inf"), np.inf),
        ("bfloat16", 1.5, 1.5), ("float8_e4m3fn", 0.3, ml_dtypes.float8_e4m3fn(0.3)),
        ("int32[2,1]", [[1], [2]], [[1], [2]]), ("int8[0]", [], []),
    ],
)  # fmt: skip
def test_python_numbers_take_the_declared_dtype(spec: str, element: object, value: Any) -> None:
    """Python's own numbers become the declared dtype when their value survives it."""
    (leaf,) = leaves(spec, element)
    assert leaf.dtype == numpy_dtype(parse_spec(spec).root.dtype)
    assert leaf.tolist() == np.asarray(value).tolist()


def test_texts_take_the_declared_dtype() -> None:
    """Str and bytes stand for each other, and an empty list is an empty array of texts."""
    assert leaves("(str, bytes, str[None])", (b"a", "é", [])) == [
        TextArray((), (b"a",)), TextArray((), ("é".encode(),)), TextArray((0,), ()),
    ]  # fmt: skip


def test_tuples_of_both_sorts_are_alike_by_position() -> None:
    """A named tuple fits a tuple's spec by position, and one of its own sort by name."""
    swapped = namedtuple("Swapped", "y x")(1, 2)
    assert leaves("(int8, int8)", Point(1, 2)) == [1, 2]
    assert leaves("Point{x: int8, y: int8}", (1, 2)) == [1, 2]
    assert leaves("Point{x: int8, y: int8}", swapped) == [2, 1]


@pytest.mark.parametrize(
    ("spec", "element", "relaxed"),
    [
        ("float32[2]", np.zeros(3, np.float32), "float32[None]"),
        ("(int8[2,2], str[1])", (np.zeros((2, 3), np.int8), ["a", "b"]),
         "(int8[2,None], str[None])"),
        ("{a: int8[2], b: int64}", {"a": np.zeros(1, np.int8), "b": 1},
         "{a: int8[None], b: int64[]}"),
        ("{'it\\'s $(x)': int8[2]}", {"it's $(x)": np.zeros(1, np.int8)},
         "{'it\\'s $(x)': int8[None]}"),
        ("Point{x: int64[1], y: int64[2]}", namedtuple("Q", "y x")([1, 2], [1, 2]),
         "Point{x: int64[None], y: int64[2]}"),
    ],
)  # fmt: skip
def test_sizes_that_differ_are_relaxed(spec: str, element: object, relaxed: str) -> None:
    """An element of another size is refused with a spec to paste, which admits it."""
    with pytest.raises(ElementMismatch) as caught:
        leaves(spec, element)
    assert caught.value.relaxed == relaxed
    hint = str(caught.value).partition("--spec ")[2]
    assert shlex.split(hint) == [relaxed]  # what a shell makes of it
    leaves(relaxed, element)


@pytest.mark.parametrize(
    ("spec", "element"),
    [
        ("float32[2]", np.zeros((2, 2), np.float32)),
        ("(int8[2], float32)", (np.zeros(3, np.int8), np.float64(1))),
        ("(int8[2], {a: int8})", (np.zeros(3, np.int8), {"b": np.int8(1)})),
        ("(int8[2], int8)", (np.zeros(3, np.int8), None)),
        ("(int8[2], int8)", (np.zeros(3, np.int8), np.zeros(2, np.int8))),
    ],
)
def test_no_relaxed_spec_where_none_would_do(spec: str, element: object) -> None:
    """No spec is offered when the element differs in more than sizes."""
    with pytest.raises(ElementMismatch) as caught:
        leaves(spec, element)
    assert caught.value.relaxed == ""


@given(samples())
def test_elements_of_a_spec_pass_unchanged(sample: Sample) -> None:
    """An element made to a spec's measure gives back its leaves, to the bit."""
    for row in sample.rows:
        values = [users_view(leaf) for leaf in row]
        for ours, leaf in zip(
            Normalizer(sample.spec).leaves(sample.spec.unflatten(values)), row, strict=True
        ):
            assert ours.shape == leaf.shape
            assert bits(ours) == bits(leaf)


def users_view(leaf: Any) -> Any:
    """A leaf as a generator would yield it."""
    if not isinstance(leaf, TextArray):
        return leaf
    array = np.empty(len(leaf.items), object)
    array[:] = leaf.items
    return array.reshape(leaf.shape)


def bits(leaf: Any) -> Any:
    """What two equal leaves have in common, NaNs included."""
    return leaf.items if isinstance(leaf, TextArray) else (leaf.dtype, leaf.tobytes())


@given(
    st.integers() | st.floats() | st.complex_numbers() | st.booleans(),
    st.sampled_from(sorted(set(DTYPES) - TEXT)),
)
def test_numbers_are_kept_or_refused(value: complex, dtype: str) -> None:
    """A Python number under any spec keeps its value, but for a float's rounding, or is refused."""
    try:
        (leaf,) = leaves(dtype, value)
    except ElementError:
        return
    if isinstance(value, int):
        assert complex(leaf) == value
        assert int(leaf.real if leaf.dtype.kind == "c" else leaf) == value
    else:
        with np.errstate(all="ignore"):  # some casts of a NaN warn, and are the expected value
            expected = np.asarray(value).astype(numpy_dtype(dtype))
        assert leaf.tobytes() == expected.tobytes()


def test_a_memoryview_of_numbers_is_an_array() -> None:
    """Its items and dtype travel; one of bytes is bytes."""
    assert str(infer_spec(memoryview(np.arange(3, dtype=np.int16)))) == "int16[3]"
    assert str(infer_spec(memoryview(b"abc"))) == "bytes[]"
