"""The dtypes that can travel: one literal table, and nothing outside it.

A dtype that arrives in a message is looked up here by name; ``numpy.dtype`` is never asked about
foreign text, because it is a parser that also accepts objects, structures and bombs (rule D4 of
the decoder rules in docs/protocol.md). Pure. The table itself needs no numpy, so that a supervisor,
which reads specs and has no arrays, starts without.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import SpecError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DTYPES", "TEXT", "Dtype", "dtype_named", "name_of", "numpy_dtype"]


@dataclass(frozen=True, slots=True)
class Dtype:
    """How one dtype travels: as ``wire`` (a little-endian numpy type string) of ``itemsize``."""

    name: str
    wire: str
    itemsize: int
    #: Where the numpy type lives when numpy itself has none ("" when it has).
    module: str = ""


_PLAIN = {
    "bool": "|b1", "int8": "|i1", "uint8": "|u1", "int16": "<i2", "uint16": "<u2",
    "int32": "<i4", "uint32": "<u4", "int64": "<i8", "uint64": "<u8", "float16": "<f2",
    "float32": "<f4", "float64": "<f8", "complex64": "<c8", "complex128": "<c16",
}  # fmt: skip
#: Types that numpy does not know travel as unsigned views of the same width.
_VIEWED = {
    "bfloat16": "<u2", "float8_e4m3fn": "|u1", "float8_e5m2": "|u1",
}  # fmt: skip

#: Variable-length items; they travel as an array of offsets and an array of bytes.
TEXT = frozenset({"str", "bytes"})

DTYPES: dict[str, Dtype] = {
    **{n: Dtype(n, w, int(w[2:])) for n, w in _PLAIN.items()},
    **{n: Dtype(n, w, int(w[2:]), "ml_dtypes") for n, w in _VIEWED.items()},
    "str": Dtype("str", "", 0),
    "bytes": Dtype("bytes", "", 0),
}


def dtype_named(name: str) -> Dtype:
    """The table's row for ``name``; `SpecError` when it has none."""
    try:
        return DTYPES[name]
    except KeyError:
        raise SpecError(f"dtype {name!r} cannot travel; known are {', '.join(DTYPES)}") from None


@functools.cache
def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype that users see for ``name`` (``object`` for str and bytes)."""
    import numpy as np

    row = dtype_named(name)
    if name in TEXT:
        return np.dtype(object)
    if not row.module:
        return np.dtype(row.wire)
    try:
        made: np.dtype[Any] = np.dtype(getattr(importlib.import_module(row.module), name))
        return made
    except ImportError:
        raise SpecError(f"dtype {name} needs the package {row.module.replace('_', '-')}") from None


@functools.lru_cache(maxsize=256)
def name_of(dtype: np.dtype[Any]) -> str | None:
    """The table's name for a numpy dtype of any byte order, or None when it cannot travel."""
    if dtype.kind == "S":
        return "bytes"
    if dtype.kind == "U":
        return "str"
    known = dtype.name in DTYPES and dtype.names is None and dtype.subdtype is None
    return dtype.name if known and dtype.name not in TEXT else None
