"""Generators of elements of every sort; imported by workers, so it imports nothing of the tests."""

from __future__ import annotations

import dataclasses
import importlib
import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

NUMERIC = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16",
    "float32", "float64", "complex64", "complex128", "bfloat16", "float8_e4m3fn", "float8_e5m2",
)  # fmt: skip


def dtype_of(name: str) -> np.dtype[Any]:
    """A dtype by its name, also one of ml_dtypes."""
    if name.startswith(("bfloat", "float8")):
        return np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
    return np.dtype(name)


def extremes(name: str) -> np.ndarray[Any, Any]:
    """The values of a dtype that go wrong first: its limits, infinities, NaN, -0.0."""
    dtype = dtype_of(name)
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        return np.array([info.min, info.max, 0, 1], dtype)
    if dtype.kind == "c":
        part = np.finfo(dtype)
        values = [0, complex(part.max, -part.max), complex(np.nan, np.inf), complex(-0.0, -0.0)]
        return np.array(values, dtype)
    limits = importlib.import_module("ml_dtypes").finfo(dtype)
    values = [limits.max, limits.min, limits.smallest_subnormal, dtype.type(-0.0)]
    infinity = [] if name == "float8_e4m3fn" else [np.inf, -np.inf]
    return np.array([*map(float, values), *infinity, np.nan]).astype(dtype)


def every_dtype(n: int = 3) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """All numeric dtypes, each with its extreme values."""
    for _ in range(n):
        yield {name: extremes(name) for name in NUMERIC}


def scalars(n: int = 3) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """All numeric dtypes as arrays without dimensions: the greatest finite value of each."""
    for _ in range(n):
        yield {name: np.array(extremes(name)[1]) for name in NUMERIC}


def layouts() -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    """Arrays that are not contiguous, native and full."""
    cube = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    for number in range(2):
        yield {
            "strided": cube[:, ::-2, 1::2] + number,
            "view": (cube + number)[:, ::-2, 1::2],
            "fortran": np.asfortranarray(cube + number),
            "transposed": (cube + number).T,
            "big": (cube + number).astype(">i4"),
            "big_float": np.array([np.pi, -np.inf], ">f8"),
            "broadcast": np.broadcast_to(np.int16(number), (2, 3)),
            "nothing": np.empty((0, 4), np.float32),
            "nothing_inside": np.empty((2, 0), np.int8),
        }


def texts() -> Iterator[dict[str, Any]]:
    """Texts from nothing to 1 MiB."""
    for size in (0, 1, 4096, 1 << 20):
        yield {
            "str": "ß" * (size // 2), "bytes": bytes([255, 0]) * (size // 2),
            "arrays": np.array([b"", b"x" * size], object), "nul": b"\0",
        }  # fmt: skip


def picture(number: int) -> np.ndarray[Any, Any]:
    """A small picture whose colour is its number."""
    return np.full((16, 24, 3), 40 * number, np.uint8)


def jpegs(n: int = 3) -> Iterator[tuple[bytes, np.int64]]:
    """JPEG files, and their numbers."""
    image = importlib.import_module("PIL.Image")
    for number in range(n):
        file = io.BytesIO()
        image.fromarray(picture(number)).save(file, "JPEG", quality=95)
        yield file.getvalue(), np.int64(number)


def pictures(n: int = 3) -> Iterator[Any]:
    """PIL images themselves."""
    image = importlib.import_module("PIL.Image")
    for number in range(n):
        yield image.fromarray(picture(number))


def wide(columns: int = 1000, n: int = 200) -> Iterator[dict[str, Any]]:
    """A table's rows as dicts of scalars."""
    names = [f"feature_{column:04d}" for column in range(columns)]
    for number in range(n):
        yield {name: np.float32(number + column) for column, name in enumerate(names)}


class Sample(NamedTuple):
    """A named tuple of a user."""

    image: np.ndarray[Any, Any]
    label: int


class Pair(NamedTuple):
    """A named tuple with another inside."""

    sample: Sample
    weight: float


def named() -> Iterator[Pair]:
    """Nested named tuples."""
    for number in range(3):
        yield Pair(Sample(np.full(2, number, np.int16), number), 0.5 * number)


class Tensor:
    """What torch documents of a CPU tensor: ``__array__``, and ``detach`` where it has a grad."""

    def __init__(self, array: np.ndarray[Any, Any], *, requires_grad: bool = False) -> None:
        self._array = array
        self._requires_grad = requires_grad

    def detach(self) -> Tensor:
        return Tensor(self._array)

    def __array__(self, dtype: Any = None) -> np.ndarray[Any, Any]:
        if self._requires_grad:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. "
                "Use tensor.detach().numpy() instead."
            )
        return self._array if dtype is None else self._array.astype(dtype)


def tensors(*, requires_grad: bool = False) -> Iterator[tuple[Tensor, np.int64]]:
    """A tensor that is written into again for each element, as torch users do."""
    memory = np.zeros(3, np.float32)
    for number in range(3):
        memory[:] = number
        yield Tensor(memory, requires_grad=requires_grad), np.int64(number)


def columns() -> Iterator[dict[str, Any]]:
    """Columns of a pandas table."""
    pandas = importlib.import_module("pandas")
    table = pandas.DataFrame({"age": [31, 64], "name": ["Ada", "Ünal"], "dose": [0.5, np.nan]})
    table["site"] = table["name"].astype("category")
    table["count"] = pandas.array([1, 2], dtype="Int64")
    yield {name: table[name] for name in table}


def tensorflow_tensors() -> Iterator[dict[str, Any]]:
    """What a user's tf code makes."""
    tf = importlib.import_module("tensorflow")
    for number in range(2):
        yield {
            "image": tf.fill((2, 2), float(number)), "label": tf.constant(number),
            "name": tf.constant("ü"), "names": tf.constant(["a", "bc"]),
        }  # fmt: skip


@dataclasses.dataclass
class Scan:
    """A dataclass of a user."""

    image: int = 1


def refused(kind: str) -> Iterator[Any]:
    """An element that cannot travel, at ``element['part'][1]``."""
    sparse = importlib.import_module("scipy.sparse")
    pandas = importlib.import_module("pandas")
    part: Any = {
        "ragged": lambda: [[1], [2, 3]],
        "none": lambda: None,
        "objects": lambda: np.array([1, "a"], object),
        "ragged_array": lambda: np.array([np.zeros(1), np.zeros(2)], object),
        "sparse": lambda: sparse.csr_matrix(np.eye(3)),
        "sparse_array": lambda: sparse.coo_array(np.eye(3)),
        "set": lambda: {1, 2},
        "generator": lambda: (n for n in range(3)),
        "map": lambda: map(int, "12"),
        "range": lambda: range(3),
        "dataclass": Scan,
        "mixed": lambda: [True, 2],
        "masked_list": lambda: [[np.ma.masked_equal([1, 2], 2)]],
        "masked": lambda: np.ma.masked_equal([1, 2], 2),
        "grad": lambda: Tensor(np.zeros(2), requires_grad=True),
        "na": lambda: pandas.Series([1, pandas.NA], dtype="Int64"),
        "na_text": lambda: pandas.Series(["a", None]),
        "na_objects": lambda: np.array(["a", None], object),
        "na_category": lambda: pandas.Series([1, None], dtype="category"),
        "frame": lambda: pandas.DataFrame({"a": [1], "b": ["x"]}),
        "times": lambda: pandas.to_datetime(pandas.Series(["2020-01-01"])),
    }[kind]()
    yield {"part": (0, part)}


def counters() -> Iterator[int]:
    """Python ints that fit uint64 only."""
    yield from (2**64 - 1, 0, 2**63)
