"""Inputs that are known: every golden frame under every way of its frames, and each hostile header
that was a finding once."""

from __future__ import annotations

from collections.abc import Iterator

import msgpack
from genserver.protocol.spec import parse_spec

from ..protocol import test_golden
from .target import ENDPOINT, FIRST_SPEC, OWN_SPEC, SPEC_TEXT, SPECS, packed_input

__all__ = ["STATUS", "seeds"]

#: The least header of a STATUS, without its spec.
STATUS = {"k": 4, "l": 0, "st": "", "g": "", "sh": "", "sd": 0, "ca": 0, "h": "", "ws": []}

ENDPOINTS = (
    "tcp://127.0.0.1:5555", "tcp://[::1]:0", "tcp://[]:0", "tcp://h:\u00b2", "ipc:///run/s.sock",
)  # fmt: skip


def _status(spec: str) -> bytes:
    packed: bytes = msgpack.packb(STATUS | {"sp": parse_spec(spec).to_wire()})
    return packed


def _item(*arrays: object) -> bytes:
    packed: bytes = msgpack.packb({"k": 7, "l": 0, "s": 0, "q": 0, "n": 1, "a": list(arrays)})
    return packed


def _hostile() -> Iterator[tuple[str, bytes]]:
    """Spec and header of what was a finding, and of what costs the most."""
    yield "int64", msgpack.packb(STATUS | {"sp": ["array", "\0" * 5000, []]})
    yield "float32[None]", _item([0, [1] * 5000])
    yield "bool", _item([False, [1]])
    yield "str", _item([True, [1], 1])
    yield "float32[None]", _item([0, [1, 2**31 - 1]])
    yield "float32[None]", _item([0, [1, 2**28]])
    yield "complex128[None,None]", _item([0, [1, 2**20, 2**20]])
    yield "int64", (b"\x81\xa1x" + b"\xdc\x13\x00" * 1000).ljust(5000, b"\xc0")
    yield "int64", b"\x84\xa1k\x0c\xa1l\x00\xa1s\x01\xa1x\xdc\x13\x00" + b"\x80" * 0x1300


def _small() -> Iterator[tuple[str, bytes, bytes]]:
    """Spec, header and frames of short items: in 5000 bytes a change of one is rarely of weight."""
    marks = b"".join(mark.to_bytes(8, "little") for mark in (0, 1, 1, 3))
    yield "str[None]", _item([1, [1, 3], 3]), marks + b"abc"
    yield "bytes", _item([1, [1], 3]), marks[:8] + marks[24:] + b"a\xff\0"
    yield "str[None]", _item([2, [1, 2], ["\u00e9".encode(), b""]]), b""
    yield "bool[None]", _item([0, [1, 4]]), b"\0\1\1\0"
    yield "bool[None]", _item([3, [1, 4], 1, 2, 64]), b"\1\1\0\0"
    inline = {b"nd": True, b"type": "|b1", b"kind": b"", b"shape": [1], b"data": b"\1"}
    yield "bool", _item(inline), b""
    yield "complex128[None,None]", _item([0, [1, 1, 1]]), bytes(range(16))
    yield "P{x: float8_e5m2, y: uint64[0]}", _item([0, [1]], [0, [1, 0]]), b"\x7c"


def seeds() -> Iterator[bytes]:
    """All of them."""
    for _, _, header in test_golden.MESSAGES.values():
        yield packed_input(FIRST_SPEC, 0, bytes.fromhex(header))
    for spec, columns, header, frames in test_golden.ITEMS.values():
        packed, rest = bytes.fromhex(header), b"".join(frames)
        if not rest and b"\x03" in packed:
            rest = b"".join(c.tobytes() for c in columns if hasattr(c, "tobytes"))
        what = FIRST_SPEC + SPECS.index(spec)
        for way in range(3):
            yield packed_input(what, way, packed, rest=rest)
        yield packed_input(OWN_SPEC, 0, _status(spec), packed, rest=rest)
    for spec, header in _hostile():
        yield packed_input(FIRST_SPEC + SPECS.index(spec), 0, header)
    for spec, header, rest in _small():
        for way in range(3):
            yield packed_input(FIRST_SPEC + SPECS.index(spec), way, header, rest=rest)
    for spec in SPECS:
        yield packed_input(SPEC_TEXT, 0, rest=spec.encode())
        yield packed_input(FIRST_SPEC, 0, _status(spec))
    for text in ENDPOINTS:
        yield packed_input(ENDPOINT, 0, rest=text.encode())
