"""Other inputs from known ones: one value of a header replaced by another of any msgpack type.

What the fuzzer's own mutations, which know bytes alone, would find late: a shape that grew, a dtype
under another name, a list where a number was. Knows nothing of the fuzzer.
"""

from __future__ import annotations

import random
from typing import Any

import msgpack
from genserver.protocol.dtypes import DTYPES

from .target import packed_input, unpacked_input

__all__ = ["replaced"]

#: What has been worth trying.
VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 3, 4, 7, 17, 2**16, 2**31 - 1, 2**31, 2**32, 2**63 - 1, 2**63,
    2**64 - 1, 0.0, 1.0, float("nan"), "", "a", "named", "dict", "tuple", "array", "class", "_x",
    "x y", "O", "|O", "V0", "<f4,<f4", b"", b"\0", b"\1", b"\xff", b"O", b"nd", [], [1], [1, 1],
    [0, [1]], [1, [1], 0], [2, [1], [b""]], [3, [1], 0, 0, 0], {}, {b"nd": True}, {"k": 1},
    msgpack.ExtType(5, b""), ["array", "int8", []], ["tuple", "", [], []],
    ["named", "P", ["x"], [["array", "str", [None]]]], *DTYPES,
)  # fmt: skip
_BOUND = 2**16 - 1


def replaced(data: bytes, chance: random.Random) -> bytes | None:
    """The input with one value of one header replaced, removed or given twice; None when it has no
    header that can be read."""
    if len(data) < 2:
        return None
    what, way, headers, rest = unpacked_input(data)
    if not headers:
        return None
    which = chance.randrange(len(headers))
    try:
        fields = msgpack.unpackb(headers[which], strict_map_key=False, max_ext_len=0)
        _replace(fields, chance)
        headers[which] = msgpack.packb(fields)
    except (ValueError, TypeError, msgpack.UnpackException):
        return None
    if max(map(len, headers)) > _BOUND:
        return None
    return packed_input(what, way, *headers, rest=rest)


def _replace(node: Any, chance: random.Random) -> None:
    """Go down to a value, with luck, and change it."""
    if not isinstance(node, dict | list) or not node:
        raise ValueError("a header is a map")
    while True:
        key = chance.choice(list(node) if isinstance(node, dict) else range(len(node)))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or chance.random() < 0.3:
            break
        node = inner
    act = chance.randrange(5)
    if act == 0:
        del node[key]
    elif act == 1 and isinstance(node, list):
        node.insert(key, inner)
    elif act == 2 and type(inner) is int:
        node[key] = min(max(-(2**63), inner + chance.choice((-1, 1))), 2**64 - 1)
    elif act == 3 and type(inner) is bytes and inner:
        at = chance.randrange(len(inner))
        node[key] = inner[:at] + bytes([chance.choice((0, 1, 2, 128, 255))]) + inner[at + 1 :]
    else:
        node[key] = chance.choice(VALUES)
