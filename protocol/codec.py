"""Messages to frames and back. The only code that reads foreign bytes.

A message is a msgpack header and, for ITEM, one raw frame per large array, or the place in shared
memory where it lies; the arrays themselves are payload.py's. Nothing here or there unpickles,
imports what a message names or evaluates: msgpack-numpy's decoder, which would unpickle arrays of
kind ``O``, is called only with what the guard in front of it has rebuilt from checked values. Pure:
bytes in, values out.

Decoding goes in two steps, so that a transport can receive each frame straight into aligned
memory: `decode_header` says what is coming, `parts_of` how large it is or where it lies,
`decode_item` builds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgpack

from .dtypes import DTYPES, TEXT
from .errors import LocalProtocolError, RemoteProtocolError
from .fields import MAX_HEADER, read, write
from .link import Numbered, kind_of
from .messages import (
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
    Item,
    Kind,
    Message,
    Open,
    Release,
    Status,
    Take,
    Welcome,
    Work,
)
from .spec import MAX_DIM, MAX_LEAF, MAX_LEAVES, ArraySpec, ElementSpec

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "FRAME", "PLACED", "TEXT_FRAMES", "TEXT_INLINE", "checked_shape", "count_of",
    "Frame", "ItemHeader", "MAX_CAUSE", "MAX_FRAME", "MAX_FRAMES", "MAX_PIECE", "Part", "Place",
    "Placed", "decode_header", "decode_item", "encode", "parts_of", "piece_sizes", "placed_in",
    "too_wide",
]  # fmt: skip

#: Most bytes of one array of one chunk.
MAX_FRAME = MAX_LEAF
#: Largest frame on the wire, in bytes: what receives it allocates memory of that size, which the C
#: library keeps and gives again, while larger memory is fresh from the system each time.
MAX_PIECE = 16 * 2**20
#: Most frames of one message (an array of texts takes two).
MAX_FRAMES = 2 * 4096 + 1
MAX_CHUNK = 1 << 20
#: A header up to this size is unpacked at once; of a longer one the values are counted first.
PLAIN_HEADER = 4 * 1024
#: Of STATUS's header, in bytes: all causes together, a worker without its ipc path and cause, and
#: the rest but for the spec.
MAX_CAUSE, WORKER_STATUS, REST_STATUS = 8 * 1024, 44, 2 * 1024

#: What travels as one frame.
Frame = bytes | memoryview

_CLASSES: dict[Kind, type[Any]] = {
    Kind.HELLO: Hello, Kind.WELCOME: Welcome, Kind.ERROR: Error, Kind.STATUS: Status,
    Kind.OPEN: Open, Kind.GRANT: Grant, Kind.END: End, Kind.END_ACK: EndAck, Kind.FAIL: Fail,
    Kind.BEAT: Beat, Kind.CLOSE: Close, Kind.GOAWAY: GoAway,
    Kind.RELEASE: Release, Kind.TAKE: Take, Kind.WORK: Work, Kind.DONE: Done,
}  # fmt: skip

# How an array is described in ITEM's "a": [FRAME, shape], [TEXT_FRAMES, shape, bytes],
# [TEXT_INLINE, shape, [texts]], [PLACED, shape, segment, generation, offset], or the map that
# msgpack-numpy makes.
FRAME, TEXT_FRAMES, TEXT_INLINE, PLACED = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class ItemHeader:
    """An ITEM whose frames have not been read: ``arrays`` is checked against the spec later."""

    stream: int
    first: int
    n: int
    arrays: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Placed:
    """An array in shared memory: ``nbytes`` from ``offset`` in a segment, in its n-th use."""

    segment: int
    generation: int
    offset: int
    nbytes: int


#: What must be had to decode an ITEM: so many bytes that follow, or a place in shared memory.
Part = int | Placed
#: Where an array lies for the peer, or None when it has to travel.
Place = Callable[["np.ndarray[Any, Any]"], Placed | None]


def encode(numbered: Numbered, place: Place = lambda _: None) -> list[Frame]:
    """The frames of a message. Payload frames are views of the chunk's memory, not copies; what is
    larger than `MAX_PIECE` comes in several.

    Arrays that ``place`` knows travel as their place.
    """
    message = numbered.message
    kind = kind_of(message)
    header: dict[str, object] = {"k": int(kind), "l": numbered.number, **write(kind, message)}
    frames: list[Frame] = []
    if isinstance(message, Item):
        from .payload import describe  # which knows numpy

        header["n"] = message.chunk.n
        header["a"] = describe(message.chunk.columns, frames, place)
    packed: bytes = msgpack.packb(header, use_bin_type=True, unicode_errors="replace")
    if len(packed) > MAX_HEADER:
        raise LocalProtocolError(f"{kind.name} needs a header of {len(packed)} bytes")
    return [packed, *(piece for frame in frames for piece in _pieces(frame))]


def _pieces(frame: Frame) -> list[Frame]:
    if len(frame) <= MAX_PIECE:
        return [frame]
    view = memoryview(frame)
    return [view[start : start + MAX_PIECE] for start in range(0, len(view), MAX_PIECE)]


def piece_sizes(nbytes: int) -> list[int]:
    """The bytes of each frame that an array of ``nbytes`` comes in: all full but the last."""
    full, rest = divmod(nbytes, MAX_PIECE)
    return [MAX_PIECE] * full + ([rest] if rest or not full else [])


def too_wide(wire: list[Any], workers: int, longest_ipc: int) -> str:
    """Why a spec (in wire form) does not fit the STATUS of a server of so many workers, or ""."""
    room = MAX_HEADER - MAX_CAUSE - REST_STATUS - (WORKER_STATUS + longest_ipc) * workers
    size = len(msgpack.packb(wire, use_bin_type=True, unicode_errors="replace"))
    arrays = _arrays_of(wire)
    if size <= room and arrays <= MAX_LEAVES:
        return ""
    return (
        f"an element has {arrays} arrays, whose description takes {size} bytes where {MAX_LEAVES} "
        f"and {room} fit ({workers} workers); stack those of one dtype into one array"
    )


def _arrays_of(wire: list[Any]) -> int:
    return 1 if wire[0] == "array" else sum(map(_arrays_of, wire[3]))


def decode_header(header: bytes) -> tuple[int, Message | ItemHeader]:
    """(number, message) of a first frame; `RemoteProtocolError` for anything else than ours."""
    fields = _unpack(header)
    code, number = fields.get("k"), fields.get("l")
    if type(code) is not int or type(number) is not int or number < 0:
        raise RemoteProtocolError("header: no kind or no message number")
    try:
        kind = Kind(code)
    except ValueError:
        raise RemoteProtocolError("header: unknown kind of message") from None
    values = read(kind, fields)
    if kind is Kind.ITEM:
        return number, _item_header(values, fields)
    return number, _CLASSES[kind](**values)


def parts_of(item: ItemHeader, spec: ElementSpec) -> list[Part]:
    """What must be had, in this order: frames that follow, and places in shared memory.

    All sizes are Python integers (rule D5).
    """
    parts: list[Part] = []
    for (_, leaf), array in _pairs(item, spec):
        parts += _array_parts(item.n, leaf, array)
    if len(parts) > MAX_FRAMES or any(_size(part) > MAX_FRAME for part in parts):
        raise RemoteProtocolError("item: too many or too large frames")
    return parts


def placed_in(item: ItemHeader) -> list[Placed]:
    """The places that an ITEM names, of a stream whose spec is not known any more."""
    named = (array for array in item.arrays if isinstance(array, tuple) and array)
    return [_placed(array, 0) for array in named if type(array[0]) is int and array[0] == PLACED]


def decode_item(item: ItemHeader, memory: Sequence[Frame], spec: ElementSpec) -> Item:
    """The message, its columns as read-only views of ``memory``, which holds each of the parts.

    Lengths are checked again.
    """
    have = [memoryview(frame).nbytes for frame in memory]
    if have != [_size(part) for part in parts_of(item, spec)]:
        raise RemoteProtocolError(f"item: {len(have)} frames of other sizes than announced")
    from .payload import chunk_of  # which knows numpy

    arrays = [(leaf, array) for (_, leaf), array in _pairs(item, spec)]
    return Item(item.stream, item.first, chunk_of(item.n, arrays, memory))


def _size(part: Part) -> int:
    return part.nbytes if isinstance(part, Placed) else part


def _unpack(header: bytes) -> dict[Any, Any]:
    if len(header) > MAX_HEADER:
        raise RemoteProtocolError(f"header: {len(header)} bytes, at most {MAX_HEADER} are allowed")
    size = len(header)
    try:
        if size > PLAIN_HEADER:
            _count(header)
        fields = msgpack.unpackb(
            header, raw=False, strict_map_key=True, use_list=False, max_str_len=size,
            max_bin_len=size, max_array_len=size, max_map_len=size, max_ext_len=0,
        )  # fmt: skip
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        # ValueError covers msgpack's own errors, UTF-8 and trailing bytes alike.
        raise RemoteProtocolError(f"header: not ours ({type(error).__name__})") from None
    if not isinstance(fields, dict):
        raise RemoteProtocolError("header: not a map")
    return fields


def _count(header: bytes) -> None:
    """Refuse what claims more values than it has, before memory is made for them: lists nested a
    thousand deep, each of 64 Ki values that never come, took 80 MB."""
    scanner = msgpack.Unpacker(max_buffer_size=MAX_HEADER)
    scanner.feed(header)
    scanner.skip()


def _item_header(values: dict[str, Any], fields: dict[Any, Any]) -> ItemHeader:
    n, arrays = fields.get("n"), fields.get("a")
    if type(n) is not int or not 1 <= n <= MAX_CHUNK or not isinstance(arrays, tuple):
        raise RemoteProtocolError("item: malformed")
    return ItemHeader(values["stream"], values["first"], n, arrays)


def _pairs(item: ItemHeader, spec: ElementSpec) -> list[tuple[tuple[str, ArraySpec], object]]:
    leaves = spec.leaves()
    if len(leaves) != len(item.arrays):
        raise RemoteProtocolError(
            f"item: {len(item.arrays)} arrays, the element spec has {len(leaves)}"
        )
    return list(zip(leaves, item.arrays, strict=True))


def checked_shape(n: int, leaf: ArraySpec, shape: object) -> tuple[int, ...]:
    """A checked shape that starts with ``n`` and goes on as the spec admits."""
    if not isinstance(shape, tuple) or not shape:
        raise RemoteProtocolError("item: no shape")
    if len(shape) != 1 + len(leaf.shape):  # first: nothing is computed of 64 000 foreign sizes
        raise RemoteProtocolError(f"item: {len(shape)} dimensions do not fit chunks of {leaf}")
    if any(type(dim) is not int or not 0 <= dim <= MAX_DIM for dim in shape):
        raise RemoteProtocolError("item: malformed shape")
    if count_of(tuple(max(1, dim) for dim in shape)) > MAX_FRAME:
        raise RemoteProtocolError("item: too large a shape")  # numpy refuses it even without data
    if shape[0] != n or not leaf.admits(shape[1:]):
        raise RemoteProtocolError(f"item: shape {list(shape)} does not fit {n} elements of {leaf}")
    return shape


def count_of(shape: tuple[int, ...]) -> int:
    """Items of an array."""
    count = 1
    for dim in shape:
        count *= dim
    return count


def _placed(array: tuple[object, ...], nbytes: int) -> Placed:
    numbers = array[2:]
    if len(numbers) != 3 or any(type(n) is not int or not 0 <= n < 2**63 for n in numbers):
        raise RemoteProtocolError("item: malformed place of an array")
    return Placed(*numbers, nbytes)  # type: ignore[arg-type]  # checked to be three ints


def _array_parts(n: int, leaf: ArraySpec, array: object) -> Sequence[Part]:
    if isinstance(array, dict):
        return []
    if not isinstance(array, tuple) or len(array) < 2 or type(array[0]) is not int:
        raise RemoteProtocolError("item: malformed array")
    count = count_of(checked_shape(n, leaf, array[1]))
    text = leaf.dtype in TEXT
    if array[0] == FRAME and len(array) == 2 and not text:
        return [count * DTYPES[leaf.dtype].itemsize]
    if array[0] == PLACED and not text:
        return [_placed(array, count * DTYPES[leaf.dtype].itemsize)]
    if array[0] == TEXT_FRAMES and len(array) == 3 and text:
        if type(array[2]) is not int or array[2] < 0:
            raise RemoteProtocolError("item: malformed length of texts")
        return [(count + 1) * 8, array[2]]
    if array[0] == TEXT_INLINE and len(array) == 3 and text:
        return []
    raise RemoteProtocolError(f"item: an array that is not {leaf}")
