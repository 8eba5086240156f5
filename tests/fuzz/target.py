"""One input: what a trainer's or a server's end does with foreign bytes, and what must hold then.

Mirrors `peer_link.py` (headers, items, places in shared memory) and `bound.py` (headers). Every
error but the documented ones goes through, and is a finding. Knows nothing of the fuzzer.

An input begins with two bytes, modulo 32 and 3: what it is, and how its frames come.

    0                 the text of a spec
    1                 the text of an endpoint
    2                 a STATUS in front of the header: its spec is the stream's
    3 and above       the stream's spec is one of `SPECS`

    0                 as announced: cut from what follows the header, zeros when that ends
    1                 what follows is one frame, whatever was announced
    2                 one byte less than announced

A header has its length in front, in two bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
from genserver.protocol import codec, payload
from genserver.protocol.codec import (
    FRAME,
    MAX_FRAME,
    MAX_PIECE,
    PLACED,
    TEXT_FRAMES,
    Frame,
    ItemHeader,
    Placed,
    decode_header,
    decode_item,
    encode,
    parts_of,
    piece_sizes,
    placed_in,
)  # fmt: skip
from genserver.protocol.dtypes import DTYPES, TEXT, numpy_dtype
from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.errors import EndpointError, GenserverError, RemoteProtocolError, SpecError
from genserver.protocol.fields import FIELDS
from genserver.protocol.link import Numbered, kind_of
from genserver.protocol.messages import Item, Message, Status, WorkerStatus
from genserver.protocol.normalize import TextArray
from genserver.protocol.rows import value_at
from genserver.protocol.spec import ArraySpec, ElementSpec, Node, parse_spec
from genserver.protocol.telemetry import Snapshot, TrainerTotals, WorkerTotals

__all__ = [
    "SPECS", "check_item", "check_message", "decoded", "packed_input", "run", "unpacked_input",
    "warm",
]  # fmt: skip

SPECS = (
    "int64", "bool", "int16[2050]", "(bool, bfloat16[2], {a: float64})", "str", "(bytes[2], str)",
    "uint8[5000]", "float32[None]", "int32[None]",
    "({image: float32[None,3], name: str}, bfloat16[], uint8[2,2])", "complex128[None,None]",
    "str[None]", "bytes", "P{x: float8_e5m2, y: uint64[0]}", "bool[None]", "()",
)  # fmt: skip
SPEC_TEXT, ENDPOINT, OWN_SPEC, FIRST_SPEC = 0, 1, 2, 3
AS_ANNOUNCED, ONE_FRAME, ONE_LESS = 0, 1, 2
#: Most bytes that an input's frames are given; what announces more is not decoded.
MAX_MEMORY = 2**20

Memory = Callable[[list[int]], list[Frame]]

_specs = tuple(parse_spec(text) for text in SPECS)


@contextmanager
def sound() -> Iterator[None]:
    """What was accepted is not refused inside: that would look like a refusal of the input."""
    try:
        yield
    except GenserverError as error:
        raise AssertionError(f"what was read is refused: {error}") from error


def warm() -> None:
    """Have loaded whatever a process loads once: the decoder's modules, and types of ml_dtypes."""
    assert payload.chunk_of
    for name in DTYPES:
        assert np.zeros(1, numpy_dtype(name)).tobytes() is not None
    inner = (WorkerStatus, Snapshot, WorkerTotals, TrainerTotals)
    for kind in (*codec._CLASSES.values(), *inner):
        assert _hints(kind) is not None


def packed_input(what: int, way: int, *headers: bytes, rest: bytes = b"") -> bytes:
    """An input in the form that `run` reads."""
    framed = b"".join(len(header).to_bytes(2, "little") + header for header in headers)
    return bytes([what, way]) + framed + rest


def unpacked_input(data: bytes) -> tuple[int, int, list[bytes], bytes]:
    """What an input is, how its frames come, its headers, and what follows them."""
    what, way, rest = data[0] % 32, data[1] % 3, data[2:]
    headers = []
    for _ in range({SPEC_TEXT: 0, ENDPOINT: 0, OWN_SPEC: 2}.get(what, 1)):
        size = int.from_bytes(rest[:2], "little")
        headers.append(rest[2 : 2 + size])
        rest = rest[2 + size :]
    return what, way, headers, rest


def run(data: bytes) -> str:
    """Decode one input; says what became of it. Any error that goes through is a finding."""
    if len(data) < 2:
        return "nothing"
    what, way, headers, rest = unpacked_input(data)
    try:
        if what in (SPEC_TEXT, ENDPOINT):
            return _texts(what, rest.decode(errors="surrogateescape"))
        spec = _specs[(what - FIRST_SPEC) % len(_specs)]
        if what == OWN_SPEC:
            _, status = decode_header(headers[0])
            if not isinstance(status, Status) or status.spec is None:
                return "no spec"
            spec = status.spec
        return decoded(headers[-1], spec, lambda sizes: _memory(sizes, way, rest))
    except RemoteProtocolError as error:
        return f"refused{'' if len(str(error)) <= 500 else ' at length'}"
    except (SpecError, EndpointError):
        assert what in (SPEC_TEXT, ENDPOINT), "a user's error for what a peer sent"
        return "refused"


def _texts(what: int, text: str) -> str:
    if what == ENDPOINT:
        endpoint = parse_endpoint(text)
        with sound():
            assert parse_endpoint(str(endpoint)) == endpoint
        assert endpoint.retry_ms
        return "endpoint"
    spec = parse_spec(text)
    with sound():
        assert parse_spec(str(spec)) == spec
    return "spec"


def decoded(header: bytes, spec: ElementSpec, memory_for: Memory) -> str:
    """Decode a message as an end does, and check it; the name of its kind.

    ``memory_for`` has what was received for parts of these sizes.
    """
    number, message = decode_header(header)
    if not isinstance(message, ItemHeader):
        check_message(number, message)
        return kind_of(message).name
    for placed in placed_in(message):
        assert 0 <= min(placed.segment, placed.generation, placed.offset) < 2**63
    parts = parts_of(message, spec)
    sizes = [part.nbytes if isinstance(part, Placed) else part for part in parts]
    for size in sizes:
        assert type(size) is int
        assert 0 <= size <= MAX_FRAME
        assert sum(piece_sizes(size)) == size
        assert max(piece_sizes(size)) <= MAX_PIECE
    if sum(sizes) > MAX_MEMORY:
        return "large"
    memory = memory_for(sizes)
    item = decode_item(message, memory, spec)
    with sound():
        check_item(message, memory, item, spec)
    return "ITEM"


def _memory(sizes: list[int], way: int, rest: bytes) -> list[Frame]:
    if way == ONE_FRAME:
        return [rest]
    memory: list[Frame] = []
    for size in sizes:
        size = max(0, size - (way == ONE_LESS))
        memory.append(memoryview(bytearray(rest[:size].ljust(size, b"\0"))))
        rest = rest[size:]
    return memory


def check_message(number: int, message: Message) -> None:
    """The message is of the closed schema: its own frame is read as just this message."""
    assert type(number) is int
    hints = _hints(type(message))
    for field in FIELDS[kind_of(message)]:
        assert _conforms(getattr(message, field.name), hints[field.name]), field.name
    with sound():
        (frame,) = encode(Numbered(number, message))
        assert decode_header(bytes(frame)) == (number, message)
    if isinstance(message, Status) and message.spec is not None:
        _check_node(message.spec.root)
        assert len(str(message.spec)) >= len(message.spec.leaves())
        assert message.spec.batched(2, drop_remainder=True).leaves()[:1] is not None


_hints = functools.cache(get_type_hints)


def _conforms(value: Any, hint: Any) -> bool:
    """Whether a value is of just the type that the message's attribute says: no bool is an int."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        if type(value) is not tuple:
            return False
        hints = inner[:1] * len(value) if inner[-1] is ... else inner
        return len(value) == len(hints) and all(map(_conforms, value, hints))
    if inner:  # a union
        return any(_conforms(value, one) for one in inner)
    if is_dataclass(hint) and hint is not ElementSpec:
        return type(value) is hint and all(
            _conforms(getattr(value, name), one) for name, one in _hints(hint).items()
        )
    return type(value) is hint


def _check_node(node: Node) -> None:
    if isinstance(node, ArraySpec):
        assert node.dtype in DTYPES
        assert all(dim is None or (type(dim) is int and 0 <= dim < 2**31) for dim in node.shape)
        return
    assert len(set(node.names)) == len(node.names) == len(node.items)
    assert all(type(name) is str for name in (node.title, *node.names))
    if node.kind == "named":
        assert all(name.isidentifier() and name.isascii() for name in (node.title, *node.names))
    for item in node.items:
        _check_node(item)


def check_item(header: ItemHeader, memory: list[Frame], item: Message, spec: ElementSpec) -> None:
    """What was decoded fits the spec, and lies in the memory that was received, read-only."""
    assert isinstance(item, Item)
    leaves = [leaf for _, leaf in spec.leaves()]
    chunk, left = item.chunk, list(memory)
    assert chunk.n == header.n
    for leaf, described, column in zip(leaves, header.arrays, chunk.columns, strict=True):
        tag: Any = described[0] if isinstance(described, tuple) else None
        assert column.shape[0] == chunk.n
        assert leaf.admits(column.shape[1:])
        if isinstance(column, TextArray):
            frames = [left.pop(0), left.pop(0)] if tag == TEXT_FRAMES else []
            _check_texts(column, leaf, described, frames)
        else:
            inline: Any = described
            source = left.pop(0) if tag in (FRAME, PLACED) else inline[b"data"]
            _check_array(column, leaf, source)
        for row in {0, chunk.n - 1}:
            value_at(column, row, leaf)
    assert not left


def _check_array(column: np.ndarray[Any, Any], leaf: ArraySpec, source: Frame) -> None:
    assert column.dtype == numpy_dtype(leaf.dtype)
    assert not column.dtype.hasobject
    assert not column.flags.writeable
    assert column.flags.c_contiguous
    received = np.frombuffer(source, np.uint8)
    begin, end = _extent(received)
    assert (column.nbytes == 0) or _extent(column) == (begin, end), "outside of what was received"
    assert column.tobytes() == received.tobytes()
    assert leaf.dtype != "bool" or received.max(initial=0) <= 1


def _extent(array: np.ndarray[Any, Any]) -> tuple[int, int]:
    begin = array.__array_interface__["data"][0]
    return begin, begin + array.nbytes


def _check_texts(column: TextArray, leaf: ArraySpec, described: Any, frames: list[Frame]) -> None:
    assert leaf.dtype in TEXT
    assert len(column.items) == int(np.prod(column.shape, dtype=object))
    assert all(type(item) is bytes for item in column.items)
    if frames:
        assert b"".join(column.items) == bytes(frames[1]), "other texts than were received"
    else:
        assert column.items == described[2]
    if leaf.dtype == "str":
        for item in column.items:
            item.decode()
