"""The element spec: its text, its wire form, and what is read as one."""

from __future__ import annotations

from collections import namedtuple
from typing import Any, NamedTuple

import msgpack
import numpy as np
import pytest
from genserver.protocol.errors import RemoteProtocolError, SpecError
from genserver.protocol.signature import spec_from_signature
from genserver.protocol.spec import ArraySpec, ElementSpec, Record, parse_spec
from hypothesis import given
from hypothesis import strategies as st

from ..support.strategies import anything, specs

SCALAR = ["array", "int64", []]
ARRAY = ArraySpec("int8", ())


class FakeTensorSpec:
    """Has what ``tf.TensorSpec`` has, and no more."""

    def __init__(self, shape: Any, dtype: Any) -> None:
        self.shape = shape
        self.dtype = dtype


class UnknownShape:
    """Refuses to be walked, as a TensorShape of unknown rank does."""

    def __iter__(self) -> Any:
        raise ValueError("unknown rank")


class Pair(NamedTuple):
    """A named tuple of a user."""

    image: Any
    label: Any


def nested(levels: int, inner: Any) -> Any:
    """``inner`` inside so many tuples."""
    for _ in range(levels):
        inner = (inner,)
    return inner


@given(specs)
def test_text_round_trip(spec: ElementSpec) -> None:
    """The text of a spec reads back as the same spec."""
    assert parse_spec(str(spec)) == spec


@given(specs)
def test_wire_round_trip(spec: ElementSpec) -> None:
    """The wire form reads back as the same spec, through msgpack's lists and tuples alike."""
    wire = spec.to_wire()
    assert ElementSpec.from_wire(wire) == spec
    assert ElementSpec.from_wire(msgpack.unpackb(msgpack.packb(wire), use_list=False)) == spec


@given(specs)
def test_a_spec_is_its_own_signature(spec: ElementSpec) -> None:
    """A structure of array specs, a text and a spec are all read as the same signature."""
    assert spec_from_signature(spec.map(lambda leaf: leaf)) == spec
    assert spec_from_signature(str(spec)) == spec
    assert spec_from_signature(spec) is spec


@given(specs)
def test_unflatten_keeps_the_order_of_leaves(spec: ElementSpec) -> None:
    """Values put into the structure are found again in flattening order."""
    values = list(range(len(spec.leaves())))
    structure = spec.unflatten(values)
    assert [eval_path(structure, path) for path, _ in spec.leaves()] == values


def eval_path(structure: Any, path: str) -> Any:
    """What the path of a leaf means in Python."""
    return eval(path, {"element": structure})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("int64", ArraySpec("int64", ())),
        (" int64 [ ] ", ArraySpec("int64", ())),
        ("float32[2, None,?]", ArraySpec("float32", (2, None, None))),
        ("(int8,)", Record("tuple", ("0",), (ArraySpec("int8", ()),))),
        ("{b: int8, a: str}", parse_spec("{a: str, b: int8}").root),
        ("{'a b': int8}", Record("dict", ("a b",), (ArraySpec("int8", ()),))),
        ('{"a\'b": int8}', Record("dict", ("a'b",), (ArraySpec("int8", ()),))),
        ("Pair{x: int8}", Record("named", ("x",), (ArraySpec("int8", ()),), "Pair")),
        ("()", Record("tuple", (), ())),
    ],
)
def test_spellings(text: str, wanted: object) -> None:
    """Each documented spelling means what the documentation says."""
    assert parse_spec(text).root == wanted


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("", 1), ("(int8", 6), ("(int8 int8)", 7), ("(,)", 2), ("int8]", 5), ("int8[", 6),
        ("int8[x]", 6), ("int8[-1]", 6), ("int8[1 2]", 8), ("{a}", 3), ("{a: }", 5),
        ("{'a: int8}", 2), ("{1: int8}", 2), ("int8[9999999999]", 16), ("int8 int8", 6),
        (f"int8[{'9' * 5000}]", 6), ("(" * 3000, 18), (f"int8[{'1,' * 33}]", 73),
    ],
)  # fmt: skip
def test_malformed_text(text: str, column: int) -> None:
    """Text that is no spec is refused with the column where reading stopped."""
    with pytest.raises(SpecError, match=f" at column {column}$"):
        parse_spec(text)


@given(st.text("(){}[]:,'\"\\ ab1?N", max_size=12) | st.text(max_size=8))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text makes the parser raise anything but SpecError."""
    try:
        spec = parse_spec(text)
    except SpecError:
        return
    assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize("text", ["float31", "object[2]", "(int8, V0)", "float32x", "class{a: q}"])
def test_unknown_dtype(text: str) -> None:
    """A dtype outside the table is refused by name."""
    with pytest.raises(SpecError, match="cannot travel; known are bool, int8"):
        parse_spec(text)


@pytest.mark.parametrize("text", ["{a: int8, a: int8}", "P{a: int8, a: int8}"])
def test_repeated_names(text: str) -> None:
    """A name that occurs twice is refused."""
    with pytest.raises(SpecError, match="twice"):
        parse_spec(text)


@pytest.mark.parametrize(
    "wire",
    [
        None, [], 1, "array", ["array"], ["array", "int64"], ["array", "object", []],
        ["array", "V0", []], ["array", b"int64", []], ["array", "int64", [True]],
        ["array", "int64", [-1]], ["array", "int64", [2**31]], ["array", "int64", [1.0]],
        ["array", "int64", [float("nan")]], ["array", "int64", None],
        ["array", "int64", [1] * 33], ["list", "", ["0"], [SCALAR]],
        ["tuple", "", ["0"], []], ["tuple", "", ["1"], [SCALAR]], ["tuple", "T", ["0"], [SCALAR]],
        ["tuple", "", [0], [SCALAR]], ["tuple", None, ["0"], [SCALAR]],
        ["dict", "T", ["a"], [SCALAR]], ["dict", "", ["a", "a"], [SCALAR, SCALAR]],
        ["dict", "", "a", [SCALAR]], ["named", "", ["a"], [SCALAR]],
        ["named", "T", ["_a"], [SCALAR]], ["named", "T", ["class"], [SCALAR]],
        ["named", "T", ["a b"], [SCALAR]], ["named", "import os", ["a"], [SCALAR]],
        ["named", "T", ["a=1"], [SCALAR]],
        ["tuple", "", [str(i) for i in range(4097)], [SCALAR] * 4097],
    ],
)  # fmt: skip
def test_hostile_wire(wire: object) -> None:
    """What to_wire never makes is a breach of the protocol."""
    with pytest.raises(RemoteProtocolError):
        ElementSpec.from_wire(wire)


@given(anything)
def test_any_wire_is_read_or_refused(wire: object) -> None:
    """No value makes from_wire raise anything but RemoteProtocolError."""
    try:
        spec = ElementSpec.from_wire(wire)
    except RemoteProtocolError:
        return
    assert ElementSpec.from_wire(spec.to_wire()) == spec


def test_depth_is_limited_alike_everywhere() -> None:
    """Sixteen levels may be written, declared and sent; seventeen are refused by each reader."""
    deepest, deeper = nested(16, ArraySpec("int8", ())), nested(17, ArraySpec("int8", ()))
    spec = spec_from_signature(deepest)
    assert ElementSpec.from_wire(spec.to_wire()) == parse_spec(str(spec)) == spec
    with pytest.raises(SpecError, match="nested 16 deep"):
        spec_from_signature(deeper)
    wire = ["tuple", "", ["0"], [spec.to_wire()]]
    with pytest.raises(RemoteProtocolError, match="deeply"):
        ElementSpec.from_wire(wire)


def test_tensor_specs_are_read_by_their_attributes() -> None:
    """Objects with shape and dtype are array specs, whatever their class."""
    image = FakeTensorSpec([None, 2], np.dtype("float32"))
    label = FakeTensorSpec((), "string")
    spec = spec_from_signature({"pair": Pair(image, label), "array": np.zeros((2, 3), ">i2")})
    assert str(spec) == "{array: int16[2,3], pair: Pair{image: float32[None,2], label: bytes[]}}"


@pytest.mark.parametrize(
    ("signature", "path"),
    [
        ([FakeTensorSpec((), "int8")], "output_signature: list"),
        ({1: FakeTensorSpec((), "int8")}, "output_signature: dict keys"),
        ((None,), r"output_signature\[0\]: NoneType"),
        ({"a": FakeTensorSpec(UnknownShape(), "int8")}, r"output_signature\['a'\]: the rank"),
        (FakeTensorSpec((), "qint8"), "dtype 'qint8'"),
        (type("RaggedTensorSpec", (FakeTensorSpec,), {})((), "int8"), "RaggedTensorSpec cannot"),
        (namedtuple("P", "a, a", rename=True)(ARRAY, ARRAY), "plain ASCII names"),
    ],
)
def test_signatures_that_cannot_be_served(signature: object, path: str) -> None:
    """What is no spec is refused by its path, before anything is sent."""
    with pytest.raises(SpecError, match=path):
        spec_from_signature(signature)


def test_size_of_an_element() -> None:
    """The bytes of an element are known exactly when no size is free."""
    assert parse_spec("(float32[2,3], {a: int8[0], b: bfloat16})").nbytes == 26
    assert parse_spec("(float32[2,None], int8)").nbytes is None
    assert parse_spec("(float32[2], str)").nbytes is None
