"""One value of an element as an array that can travel, or refused with advice.

Knows what numpy, Python and the usual libraries make: anything with ``__array__`` (tensors of every
framework, pandas) or ``__array_interface__`` (PIL). Imports none of them. Pure.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from .dtypes import TEXT, name_of
from .errors import ElementError

__all__ = ["Leaf", "TextArray", "to_leaf"]


@dataclass(frozen=True, slots=True)
class TextArray:
    """An array of byte strings in C order."""

    shape: tuple[int, ...]
    items: tuple[bytes, ...]

    @property
    def nbytes(self) -> int:
        """What it weighs against the byte credit: the bytes, and eight for each length."""
        return sum(map(len, self.items)) + 8 * len(self.items)


#: One array of an element: numeric arrays are of native byte order and may be strided; they are
#: still the user's memory and must be copied before the generator runs on.
Leaf = np.ndarray[Any, np.dtype[Any]] | TextArray

_PYTHON_SCALARS = {bool: "bool", int: "int64", float: "float32", complex: "complex128"}

#: What to do instead, by the name of a class that is met in generators.
_ADVICE = {
    "datetime": "yield .timestamp()", "date": "yield .toordinal()",
    "timedelta": "yield .total_seconds()", "Decimal": "yield float(...)",
    "Fraction": "yield float(...)", "PosixPath": "yield str(...)", "UUID": "yield str(...)",
    "RaggedTensor": "pad it with .to_tensor()", "SparseTensor": "yield tf.sparse.to_dense(...)",
    "NAType": "fill missing values in", "mappingproxy": "yield dict(...)",
}  # fmt: skip


def to_leaf(value: Any, path: str) -> tuple[str, Leaf, bool]:
    """(dtype name, leaf, weak): weak values are Python's own and may take the spec's dtype.

    A weak leaf keeps Python's precision until `Normalizer` has given it the spec's dtype.
    """
    if isinstance(value, str):  # before arrays: numpy's own scalar texts lose final NULs as such
        return "str", TextArray((), (_utf8(value, path),)), False
    if isinstance(value, memoryview) and value.format not in ("B", "b", "c"):
        value = np.asarray(value)  # a view of numbers, not of bytes
    if isinstance(value, bytes | bytearray | memoryview):
        return "bytes", TextArray((), (bytes(value),)), False
    if isinstance(value, np.ndarray | np.generic):
        _refuse_masked(value, path)
        return _from_array(np.asarray(value), path)
    if type(value) in _PYTHON_SCALARS:
        return _from_scalar(value, path)
    if isinstance(value, list):
        return _from_list(value, path)
    if value is None:
        raise ElementError(path, "None cannot travel; yield an array, or leave the part out")
    # Of the class, because PIL makes a copy of the picture whenever it is asked for the interface.
    if hasattr(type(value), "__array__") or hasattr(type(value), "__array_interface__"):
        return _from_array(_as_array(value, path), path)
    raise ElementError(path, f"{type(value).__name__} cannot travel; {_advice(value)}")


def _advice(value: object) -> str:
    """What to yield instead of ``value``."""
    name = type(value).__name__
    if name in _ADVICE:
        return _ADVICE[name]
    if hasattr(value, "toarray"):  # scipy.sparse
        return "make it dense with .toarray()"
    if isinstance(value, set | frozenset):
        return "yield sorted(...), which has an order"
    if isinstance(value, Iterator | range):
        return "yield list(...), or an array of it"
    if dataclasses.is_dataclass(value):
        return "yield dataclasses.asdict(...), or a tuple"
    return "yield arrays, numbers, str or bytes, or tuples and dicts of them"


def _as_array(value: Any, path: str) -> np.ndarray[Any, Any]:
    """What a foreign object says it is as an array; it may refuse in its own words."""
    name = type(value).__name__
    try:
        array = np.asarray(value)
    except Exception as error:  # noqa: BLE001  # any library's code runs here
        tensor = hasattr(value, "detach")
        advice = "yield .detach().cpu().numpy()" if tensor else "yield a numpy array of it"
        raise ElementError(path, f"{name} gives no array ({error}); {advice}") from None
    # Pandas turns integers with missing values into floats, which is a silent cast.
    foreign = getattr(value, "dtype", None)
    extension = foreign is not None and not isinstance(foreign, np.dtype)
    cast = array.dtype.kind in "fO" and getattr(foreign, "kind", "") != "f"
    if extension and cast and hasattr(value, "isna") and value.isna().any():
        raise ElementError(
            path, f"the {foreign} {name} has missing values; fill them with .fillna(...)"
        )
    return array


def _from_scalar(value: Any, path: str) -> tuple[str, Leaf, bool]:
    name = _PYTHON_SCALARS[type(value)]
    if name == "int64" and value >= 2**63:
        name = "uint64"  # as numpy reads a list of such
    try:
        # A float keeps its double precision, in case that the spec says float64.
        return name, np.asarray(value, name if type(value) is int else None), True
    except OverflowError:
        raise ElementError(path, f"the int {value} fits neither int64 nor uint64") from None


def _from_list(value: list[Any], path: str) -> tuple[str, Leaf, bool]:
    first: Any = value
    while isinstance(first, list) and first:
        first = first[0]
    weak = type(first) in _PYTHON_SCALARS
    _refuse_masked(value, path)
    try:
        array = np.array(value)
    except Exception as error:  # noqa: BLE001  # numpy asks the items, which may be of any library
        raise ElementError(
            path, f"the list is ragged or mixed ({error}); pad it to one shape"
        ) from None
    if array.dtype.kind in "SU":
        # Numpy's fixed-width texts drop final NULs, and took numbers for texts.
        array = np.array(value, dtype=object)
    if array.dtype.kind in "iufc" and _has_bool(value):
        raise ElementError(path, "the list mixes bool with numbers; convert one into the other")
    if array.dtype == np.float64 and (weak or array.size == 0):
        if type(first) is int and _all_ints(value):
            raise ElementError(path, "the ints fit neither int64 nor uint64")
        return "float32", array, True
    name, leaf, _ = _from_array(array, path)
    return name, leaf, weak


def _refuse_masked(value: Any, path: str) -> None:
    """Numpy drops the mask and keeps what is under it, in a list as well."""
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ElementError(path, "masked values cannot travel; fill them in with .filled(...)")
    kinds = set(map(type, value)) if isinstance(value, list) else set()
    if any(issubclass(kind, list | np.ma.MaskedArray) for kind in kinds):
        for item in value:
            _refuse_masked(item, path)


def _has_bool(value: list[Any]) -> bool:
    """Whether a list, nested or not, holds a bool; numpy would make a number of it."""
    kinds = set(map(type, value))
    if bool in kinds or np.bool_ in kinds:
        return True
    if list in kinds and any(_has_bool(item) for item in value if type(item) is list):
        return True
    return any(
        item.dtype.kind == "b" for item in value if np.ndarray in kinds and hasattr(item, "dtype")
    )


def _from_array(array: np.ndarray[Any, Any], path: str) -> tuple[str, Leaf, bool]:
    if array.dtype == object or array.dtype.kind == "T":  # T: numpy's texts of variable width
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
    advice = "only of str or of bytes, or convert it"
    if any(issubclass(kind, str) for kind in kinds) and all(map(_missing_or_str, flat)):
        advice = "fill missing values in, for example with ''"
    elif any(issubclass(kind, np.ndarray | list) for kind in kinds):
        advice = "it is ragged: pad it to one shape, or yield its parts in a tuple"
    elif any(issubclass(kind, dict) for kind in kinds):
        advice = "yield a dict of arrays"
    raise ElementError(path, f"an object array of {names} cannot travel; {advice}")


def _missing_or_str(item: object) -> bool:
    """Whether it is a str, or what stands for a missing one: None, NaN, pandas' NA."""
    return isinstance(item, str | float | None) or type(item).__name__ == "NAType"


def _all_ints(value: list[Any]) -> bool:
    return all(type(item) is int for item in np.array(value, dtype=object).ravel().tolist())


def _utf8(text: str, path: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ElementError(path, "the str is not valid Unicode; yield it as bytes") from None
