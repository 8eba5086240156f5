"""Messages to bytes and back; foreign bytes are ours, or refused with one error."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
from typing import Any

import msgpack
import msgpack_numpy
import numpy as np
import pytest
from genserver.protocol.chunk import Chunk, ChunkBuilder
from genserver.protocol.codec import (
    MAX_PIECE,
    ItemHeader,
    Placed,
    decode_header,
    decode_item,
    encode,
    parts_of,
    piece_sizes,
    placed_in,
)  # fmt: skip
from genserver.protocol.columns import INLINE
from genserver.protocol.dtypes import numpy_dtype
from genserver.protocol.errors import LocalProtocolError, RemoteProtocolError
from genserver.protocol.fields import MAX_HEADER
from genserver.protocol.link import Numbered
from genserver.protocol.messages import Beat, Close, Fail, GoAway, Item, Message
from genserver.protocol.normalize import TextArray
from genserver.protocol.payload import INLINE_TOTAL
from genserver.protocol.spec import ElementSpec, parse_spec
from hypothesis import given
from hypothesis import strategies as st

from ..support.strategies import Sample, anything, messages, samples

GOOD_BOOL = {b"nd": True, b"type": "|b1", b"kind": b"", b"shape": [1], b"data": b"\1"}


def item_of(sample: Sample) -> Item:
    """The sample's elements as one chunk."""
    builder = ChunkBuilder(sample.spec)
    for row in sample.rows:
        builder.add(row)
    return Item(3, 5, builder.take())


def column_item(*columns: Any) -> Item:
    """An ITEM of these columns."""
    return Item(1, 0, Chunk(columns[0].shape[0], 0, columns))


def received(frames: list[Any], spec: ElementSpec) -> Message:
    """What the other end makes of frames."""
    _, message = decode_header(bytes(frames[0]))
    if isinstance(message, ItemHeader):
        return decode_item(message, [bytes(frame) for frame in frames[1:]], spec)
    return message


def refused_or_read(frames: list[Any], spec: ElementSpec) -> None:
    """Any other exception than RemoteProtocolError goes through, and fails the test."""
    with contextlib.suppress(RemoteProtocolError):
        received(frames, spec)


def item_header(spec: str, *arrays: Any, n: int = 1) -> ItemHeader:
    """What decode_header makes of an ITEM with these array descriptions."""
    packed = msgpack.packb({"k": 7, "l": 0, "s": 0, "q": 0, "n": n, "a": list(arrays)})
    _, header = decode_header(packed)
    assert isinstance(header, ItemHeader)
    return header


def refuse_item(spec: str, *arrays: Any, n: int = 1, frames: tuple[bytes, ...] = ()) -> None:
    """The ITEM is a breach of the protocol."""
    with pytest.raises(RemoteProtocolError, match="item: "):
        decode_item(item_header(spec, *arrays, n=n), frames, parse_spec(spec))


@given(messages, st.integers(0, 2**64 - 1))
def test_round_trip(message: Message, number: int) -> None:
    """Every message arrives as it was sent, with its number."""
    (header,) = encode(Numbered(number, message))
    assert decode_header(bytes(header)) == (number, message)


@given(samples())
def test_item_round_trip(sample: Sample) -> None:
    """Every chunk arrives to the bit, with its dtypes and weight, and cannot be written to."""
    item = item_of(sample)
    frames = encode(Numbered(9, item))
    number, header = decode_header(bytes(frames[0]))
    assert number == 9
    assert parts_of(header, sample.spec) == [memoryview(f).nbytes for f in frames[1:]]
    back = received(frames, sample.spec)
    assert (back.stream, back.first, back.chunk.n) == (3, 5, item.chunk.n)
    assert back.chunk.nbytes == item.chunk.nbytes
    for ours, theirs in zip(item.chunk.columns, back.chunk.columns, strict=True):
        check_column(ours, theirs)


@given(samples(), st.data())
def test_arrays_in_shared_memory_are_named_and_not_sent(
    sample: Sample, data: st.DataObject
) -> None:
    """Whatever lies there for the peer travels as its place, all else as before."""
    item = item_of(sample)
    known: dict[int, bytes] = {}

    def place(array: np.ndarray[Any, Any]) -> Placed | None:
        if not data.draw(st.booleans()):
            return None
        known[len(known)] = array.tobytes()
        return Placed(len(known) - 1, 7, 64, array.nbytes)

    frames = encode(Numbered(0, item), place)
    _, header = decode_header(bytes(frames[0]))
    assert isinstance(header, ItemHeader)
    parts = parts_of(header, sample.spec)
    placed = [part for part in parts if isinstance(part, Placed)]
    assert [(part.segment, part.generation, part.offset) for part in placed] == [
        (number, 7, 64) for number in range(len(known))
    ]
    assert [(part.segment, part.generation) for part in placed_in(header)] == [
        (part.segment, part.generation) for part in placed
    ]
    sent = iter(frames[1:])
    memory = [known[p.segment] if isinstance(p, Placed) else next(sent) for p in parts]
    assert next(sent, None) is None
    back = decode_item(header, memory, sample.spec)
    for ours, theirs in zip(item.chunk.columns, back.chunk.columns, strict=True):
        check_column(ours, theirs)


@pytest.mark.parametrize("extra", [-1, 0, 1, MAX_PIECE - 1, MAX_PIECE, MAX_PIECE + 5])
def test_what_is_large_comes_in_pieces(extra: int) -> None:
    """No frame is larger than the receiver allows, and together they are the array."""
    array = np.arange(MAX_PIECE + extra, dtype=np.uint8)[None]
    item = Item(0, 0, Chunk(1, array.nbytes, (array,)))
    header, *frames = encode(Numbered(0, item))
    _, decoded = decode_header(bytes(header))
    assert isinstance(decoded, ItemHeader)
    (size,) = parts_of(decoded, parse_spec("uint8[None]"))
    assert isinstance(size, int)
    assert [len(frame) for frame in frames] == piece_sizes(size)
    assert max(piece_sizes(size)) <= MAX_PIECE
    assert b"".join(frames) == array.tobytes()


def test_nothing_is_one_piece() -> None:
    """An array without bytes has a frame as well."""
    assert piece_sizes(0) == [0]


def check_column(ours: Any, theirs: Any) -> None:
    """A column that arrived is the one that was sent."""
    if isinstance(ours, TextArray):
        assert ours == theirs
        return
    assert (ours.dtype, ours.shape, ours.tobytes()) == (
        theirs.dtype,
        theirs.shape,
        theirs.tobytes(),
    )
    assert not theirs.flags.writeable


@pytest.mark.parametrize("name", ["bool", "bfloat16", "float8_e4m3fn", "float8_e5m2", "complex128"])
@pytest.mark.parametrize("size", [3, INLINE * 2])
def test_large_and_small_arrays(name: str, size: int) -> None:
    """Dtypes that numpy does not know arrive as themselves, inline and in frames."""
    dtype = numpy_dtype(name)
    column = (np.arange(2 * size) % 2).astype(dtype).reshape(2, size)
    frames = encode(Numbered(0, column_item(column)))
    assert len(frames) == (1 if column.nbytes <= INLINE else 2)
    (back,) = received(frames, parse_spec(f"{name}[None]")).chunk.columns
    check_column(column, back)


@pytest.mark.parametrize("spec", ["str[None]", "bytes[None]"])
def test_long_texts_travel_in_frames(spec: str) -> None:
    """Long texts take a frame of offsets and one of bytes, and arrive as they were."""
    column = TextArray((2, 3), (b"", b"a" * 5000, b"", "é".encode(), b"\0", b"b"))
    frames = encode(Numbered(0, column_item(column)))
    assert len(frames) == 3
    assert received(frames, parse_spec(spec)).chunk.columns == (column,)


def test_text_frames_must_be_utf8_for_str() -> None:
    """Bytes that are no UTF-8 pass as bytes and are refused as str."""
    frames = encode(Numbered(0, column_item(TextArray((1,), (b"\xff" * 5000,)))))
    assert received(frames, parse_spec("bytes")).chunk.columns[0].items == (b"\xff" * 5000,)
    with pytest.raises(RemoteProtocolError, match="not UTF-8"):
        received(frames, parse_spec("str"))
    refuse_item("str", [2, [1], [b"\xff"]])


def test_payload_frames_are_views() -> None:
    """A large array is sent from the chunk's memory and read in the frame's, without a copy."""
    column = np.zeros((2, INLINE), np.uint8)
    frames = encode(Numbered(0, column_item(column)))
    assert np.shares_memory(np.frombuffer(frames[1], np.uint8), column)
    received_frame = bytearray(frames[1])
    _, header = decode_header(bytes(frames[0]))
    (back,) = decode_item(header, [received_frame], parse_spec("uint8[None]")).chunk.columns
    received_frame[0] = 7
    assert back[0, 0] == 7
    assert not back.flags.writeable


def test_strided_and_foreign_columns() -> None:
    """Columns of any layout and byte order travel as little-endian C order."""
    column = np.arange(6000, dtype=">i4").reshape(2, 3000)[:, ::2]
    (back,) = received(
        encode(Numbered(0, column_item(column))), parse_spec("int32[None]")
    ).chunk.columns
    assert back.dtype == np.dtype("<i4")
    assert np.array_equal(back, column)


def test_inline_each() -> None:
    """An array rides in the header up to the threshold, and in a frame beyond it."""
    assert len(encode(Numbered(0, column_item(np.zeros((1, INLINE), np.uint8))))) == 1
    assert len(encode(Numbered(0, column_item(np.zeros((1, INLINE + 1), np.uint8))))) == 2


def test_inline_total() -> None:
    """All arrays that ride in one header stay below the common threshold."""
    frames = encode(Numbered(0, column_item(*[np.zeros((1, INLINE), np.uint8)] * 40)))
    assert len(frames) == 1 + 40 - 3
    assert len(frames[0]) < INLINE_TOTAL + 40 * 20


def test_a_text_that_is_no_unicode_still_travels() -> None:
    """An exception's text with a lone surrogate (a file name) does not break its own report."""
    (header,) = encode(Numbered(0, Fail(1, 0, "OSError", "no \udc80 file", "")))
    assert decode_header(bytes(header))[1].text == "no ? file"


def test_a_header_that_is_too_long_is_our_bug() -> None:
    """A message whose header the peer would refuse is never sent."""
    with pytest.raises(LocalProtocolError, match="GOAWAY needs a header of"):
        encode(Numbered(0, GoAway("x" * MAX_HEADER)))


def test_long_headers_are_refused_before_unpacking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A header above the limit is not even looked at."""
    monkeypatch.setattr(msgpack, "unpackb", unreachable)
    with pytest.raises(RemoteProtocolError, match="at most 65536"):
        decode_header(b"\x80" * (MAX_HEADER + 1))


def unreachable(*args: object, **kwargs: object) -> None:
    """Stands in for what must not be called."""
    raise AssertionError("was called")


def test_objects_never_reach_the_unpickler(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inline array that claims to hold objects is refused in front of msgpack-numpy."""
    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, unreachable)
    monkeypatch.setattr(msgpack_numpy, "decode", unreachable)
    evil = {**GOOD_BOOL, b"kind": b"O", b"data": pickle.dumps(print)}
    for change in ({}, {b"type": "O"}, {b"type": "|O"}, {b"kind": "O"}, {b"kind": b"V"}):
        refuse_item("bool", evil | change)
        refuse_item("str", evil | change)


AUDITED = """
import sys, msgpack
import numpy as np
from genserver.protocol.codec import decode_header, decode_item
from genserver.protocol.errors import RemoteProtocolError
from genserver.protocol.spec import parse_spec

def hook(event, args):
    if event.startswith(("pickle", "marshal", "exec", "compile", "import", "open", "subprocess")):
        print(event, args)

arrays = [{b"nd": True, b"type": t, b"kind": k, b"shape": [1], b"data": d}
          for t in ("|b1", "O", "|O", "<f4", [["a", "O"]]) for k in (b"", b"O", b"V", "O")
          for d in (b"\\1", b"\\x80\\x04cos\\nsystem\\n.")]
headers = [msgpack.packb({"k": 7, "l": 0, "s": 0, "q": 0, "n": 1, "a": [a]}) for a in arrays]
headers += [msgpack.packb({"k": 1, "l": 0, "m": msgpack.ExtType(1, b"x")})]
spec = parse_spec("bool")
decode_item(decode_header(headers[0])[1], [], spec)
sys.addaudithook(hook)
for header in headers:
    try:
        decode_item(decode_header(header)[1], [], spec)
    except RemoteProtocolError:
        pass
"""


def test_decoding_runs_nothing() -> None:
    """Hostile arrays make the decoder neither unpickle, import, compile nor open anything."""
    done = subprocess.run(
        [sys.executable, "-c", AUDITED], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@given(st.binary(max_size=60) | anything.map(lambda value: msgpack.packb(value)))
def test_any_header_is_read_or_refused(header: bytes) -> None:
    """No bytes make decode_header raise anything but RemoteProtocolError."""
    refused_or_read([header], parse_spec("int64"))


@given(messages)
def test_truncated_headers(message: Message) -> None:
    """A header that is cut at any byte, or goes on, is refused."""
    (header,) = encode(Numbered(0, message))
    for cut in [*(header[:at] for at in range(len(header))), header + b"\0"]:
        with pytest.raises(RemoteProtocolError):
            decode_header(bytes(cut))


@given(samples(), st.data())
def test_truncated_items(sample: Sample, data: st.DataObject) -> None:
    """An ITEM's header that is cut at any byte is refused."""
    frames = encode(Numbered(0, item_of(sample)))
    at = data.draw(st.integers(0, len(frames[0]) - 1))
    with pytest.raises(RemoteProtocolError):
        received([frames[0][:at], *frames[1:]], sample.spec)


@given(messages, st.data(), anything)
def test_one_field_of_anything(message: Message, data: st.DataObject, value: Any) -> None:
    """A header with one arbitrary field is refused, or read as the message that it then is."""
    (header,) = encode(Numbered(0, message))
    fields = msgpack.unpackb(header)
    fields[data.draw(st.sampled_from(sorted(fields)))] = value
    refused_or_read([msgpack.packb(fields)], parse_spec("int64"))


@given(samples(), st.data(), anything)
def test_one_field_of_an_item(sample: Sample, data: st.DataObject, value: Any) -> None:
    """An ITEM with one arbitrary value anywhere in its header is refused, or read."""
    frames = encode(Numbered(0, item_of(sample)))
    fields = msgpack.unpackb(frames[0])
    node: Any = fields
    while True:
        key = data.draw(st.sampled_from(keys(node)))
        if not isinstance(node[key], dict | list) or not node[key] or data.draw(st.booleans()):
            break
        node = node[key]
    node[key] = value
    refused_or_read([msgpack.packb(fields), *frames[1:]], sample.spec)


def keys(node: Any) -> list[Any]:
    """What a map or list can be indexed with."""
    return list(node) if isinstance(node, dict) else list(range(len(node)))


@given(samples(), samples())
def test_an_item_of_another_spec(sample: Sample, other: Sample) -> None:
    """A chunk of one spec under another is refused, or read as what fits it."""
    refused_or_read(encode(Numbered(0, item_of(sample))), other.spec)


@given(samples(), st.data(), st.binary(max_size=9))
def test_frames_of_any_bytes(sample: Sample, data: st.DataObject, noise: bytes) -> None:
    """Frames with other bytes of the right length are refused, or read."""
    frames = [bytearray(frame) for frame in encode(Numbered(0, large(item_of(sample))))]
    index = data.draw(st.integers(0, len(frames) - 1))
    at = data.draw(st.integers(0, len(frames[index])))
    frames[index][at : at + len(noise)] = noise[: max(0, len(frames[index]) - at)]
    refused_or_read(frames, sample.spec)


def large(item: Item) -> Item:
    """The item with its first column repeated so often that it travels in frames."""
    times = 3000
    columns = tuple(
        TextArray((c.shape[0] * times, *c.shape[1:]), c.items * times)
        if isinstance(c, TextArray)
        else np.repeat(c, times, axis=0)
        for c in item.chunk.columns
    )
    return Item(item.stream, item.first, Chunk(item.chunk.n * times, 0, columns))


@pytest.mark.parametrize("change", ["missing", "extra", "shorter", "longer", "swapped"])
def test_frames_that_were_not_announced(change: str) -> None:
    """Frames that differ in number or length from what the header says are refused."""
    columns = np.zeros((1, 5000), np.uint8), TextArray((1,), (b"x" * 6000,))
    header, *payload = [bytes(f) for f in encode(Numbered(0, column_item(*columns)))]
    changed = {
        "missing": payload[:-1],
        "extra": [*payload, b""],
        "shorter": [payload[0][:-1], *payload[1:]],
        "longer": [payload[0] + b"\0", *payload[1:]],
        "swapped": payload[::-1],
    }[change]
    with pytest.raises(RemoteProtocolError, match="frames of other sizes than announced"):
        received([header, *changed], parse_spec("(uint8[None], bytes)"))


@pytest.mark.parametrize(
    "shape",
    [
        [], [1], [2, 1], [1, 1, 1], [-1, -1], [1, -1], [1, True], [True, 1], [1, 1.0], [1, "1"],
        [1, None], [1, float("nan")], [1, 2**31], [1, 2**62], [2**63, 2], None, "11", {"1": 1}, 1,
    ],
)  # fmt: skip
def test_malformed_shapes(shape: Any) -> None:
    """A shape that is no list of small sizes after the number of elements is refused."""
    refuse_item("uint8[None]", [0, shape], frames=(b"\0",))
    refuse_item("bool[None]", GOOD_BOOL | {b"shape": shape})
    refuse_item("str[None]", [2, shape, [b""]])


@pytest.mark.parametrize(
    "tail", [[2**31 - 1] * 3, [2**31 - 1, 2**31 - 1, 0], [2**16] * 4, [2**31 - 1] * 31]
)
def test_shapes_that_overflow(tail: list[int]) -> None:
    """A product of sizes beyond any frame is refused, even when a zero makes it nothing."""
    spec = f"uint8[{','.join(['None'] * len(tail))}]"
    refuse_item(spec, [0, [1, *tail]], frames=(b"",))
    refuse_item(spec.replace("uint8", "bytes"), [2, [1, *tail], []])
    with pytest.raises(RemoteProtocolError):
        parts_of(item_header(spec, [0, [1, *tail]]), parse_spec(spec))


@pytest.mark.parametrize(
    "change",
    [
        {b"type": "|i1"}, {b"type": b"|b1"}, {b"type": "V0"}, {b"type": "S0"}, {b"type": "?"},
        {b"type": [["a", "|b1"]]}, {b"type": 1}, {b"kind": b"V"}, {b"kind": ""}, {b"nd": False},
        {b"nd": 1}, {b"data": b""}, {b"data": b"\1\1"}, {b"data": "\1"}, {b"data": b"\2"},
        {b"data": [1]}, {b"more": 1}, {"data": b"\1"},
    ],
)  # fmt: skip
def test_inline_arrays_are_guarded(change: dict[Any, Any]) -> None:
    """An inline array with any other field than the spec's is refused."""
    assert decode_item(item_header("bool", GOOD_BOOL), [], parse_spec("bool")).chunk.n == 1
    refuse_item("bool", GOOD_BOOL | change)


@pytest.mark.parametrize("key", sorted(GOOD_BOOL))
def test_inline_arrays_are_complete(key: bytes) -> None:
    """An inline array that lacks a field is refused."""
    refuse_item("bool", {k: v for k, v in GOOD_BOOL.items() if k != key})


@pytest.mark.parametrize(
    ("spec", "array", "frames"),
    [
        ("bool", [0, [1]], (b"\2",)),
        ("str", [0, [1]], (b"",)),
        ("uint8", [1, [1], 0], (bytes(16), b"")),
        ("uint8", [2, [1], [b""]], ()),
        ("uint8", [3, [1]], (b"\0",)),
        ("uint8", [4, [1]], (b"\0",)),
        ("uint8", [3, [1], 0, 0], (b"\0",)),
        ("uint8", [3, [1], 0, 0, 0, 0], (b"\0",)),
        ("uint8", [3, [1], 0, 0, -1], (b"\0",)),
        ("uint8", [3, [1], True, 0, 0], (b"\0",)),
        ("uint8", [3, [1], 2**63, 0, 0], (b"\0",)),
        ("bytes", [3, [1], 0, 0, 0], (b"\0",)),
        ("uint8", [False, [1]], (b"\0", b"")),
        ("uint8", [0], ()),
        ("uint8", [0, [1], 0], (b"\0",)),
        ("bytes", [1, [1]], (bytes(16), b"")),
        ("bytes", [1, [1], -1], (bytes(16), b"")),
        ("bytes", [1, [1], True], (bytes(16), b"x")),
        ("bytes", [1, [1], 2**40], (bytes(16), b"")),
        ("bytes", [2, [1], []], ()),
        ("bytes", [2, [1], ["text"]], ()),
        ("bytes", [2, [1], [1]], ()),
        ("bytes", [2, [1], b"x"], ()),
        ("uint8", None, ()),
        ("uint8", b"\0", ()),
    ],
)
def test_malformed_arrays(spec: str, array: Any, frames: tuple[bytes, ...]) -> None:
    """A description that is not of the spec's sort of array is refused."""
    refuse_item(spec, array, frames=frames)


@pytest.mark.parametrize("size", [-1, -(2**62)])
def test_no_frame_has_a_negative_size(size: int) -> None:
    """A transport that makes room for the announced frames is never asked for less than none."""
    with pytest.raises(RemoteProtocolError, match="malformed length"):
        parts_of(item_header("bytes", [1, [1], size]), parse_spec("bytes"))


@pytest.mark.parametrize("marks", [[1, 3], [0, 2], [0, 2**63], [2, 0], [3, 3], [0, 2**64 - 1]])
def test_offsets_must_divide_the_texts(marks: list[int]) -> None:
    """Offsets that do not rise from zero to the end are refused."""
    refuse_item("bytes", [1, [1], 3], frames=(np.array(marks, "<u8").tobytes(), b"abc"))


def test_offsets_must_rise() -> None:
    """Offsets that step back are refused, although they begin and end well."""
    marks = np.array([0, 3, 1, 3], "<u8").tobytes()
    refuse_item("bytes[3]", [1, [1, 3], 3], frames=(marks, b"abc"))


@pytest.mark.parametrize("n", [0, -1, True, 1.0, None, "1", 2**21])
def test_malformed_counts(n: Any) -> None:
    """An ITEM of no elements, or of a number that is none, is refused."""
    with pytest.raises(RemoteProtocolError, match="malformed"):
        item_header("uint8", [0, [1]], n=n)


def test_arrays_as_many_as_the_spec_has() -> None:
    """An ITEM with more or fewer arrays than the spec is refused."""
    refuse_item("(uint8, uint8)", [0, [1]], frames=(b"\0",))
    refuse_item("uint8", [0, [1]], [0, [1]], frames=(b"\0", b"\0"))


@pytest.mark.parametrize(
    "change",
    [
        {"k": True}, {"k": 0}, {"k": 14}, {"k": 255}, {"k": "12"}, {"k": 12.0}, {"l": -1},
        {"l": True}, {"l": None}, {"s": True}, {"s": -1}, {"s": 2**63}, {"s": 1.0}, {"s": None},
    ],
)  # fmt: skip
def test_exact_types(change: dict[str, Any]) -> None:
    """A header's ints are ints in their range: no bool, float or text stands for one."""
    good = {"k": 12, "l": 0, "s": 1}
    assert decode_header(msgpack.packb(good)) == (0, Close(1))
    with pytest.raises(RemoteProtocolError):
        decode_header(msgpack.packb(good | change))


@pytest.mark.parametrize("key", ["k", "l", "s"])
def test_required_keys(key: str) -> None:
    """A header that lacks a required key is refused."""
    good = {"k": 12, "l": 0, "s": 1}
    del good[key]
    with pytest.raises(RemoteProtocolError):
        decode_header(msgpack.packb(good))


@given(messages, st.dictionaries(st.text(min_size=6, max_size=9), anything, max_size=3))
def test_unknown_keys_are_ignored(message: Message, extra: dict[str, Any]) -> None:
    """Keys that a later minor version adds change nothing."""
    (header,) = encode(Numbered(0, message))
    assert decode_header(msgpack.packb(msgpack.unpackb(header) | extra)) == (0, message)


def test_optional_keys_may_be_left_out() -> None:
    """A HELLO of an end that knows no features is read without them."""
    assert decode_header(msgpack.packb({"k": 11, "l": 4})) == (4, Beat())
    error = {"k": 3, "l": 0, "c": "version", "x": "no"}
    assert decode_header(msgpack.packb(error))[1].stream is None


@pytest.mark.parametrize(
    "header",
    [
        b"", b"\xc1", b"\x90", b"\xc0", b"\x81" * 60000, b"\x91" * 60000,
        b"\x81\x01\x02", b"\x81\xc4\x01\x80\x00", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff", b"\xd6\xff\0\0\0\0", b"\xa1\xff", b"\x81\x90\x01",
    ],
)  # fmt: skip
def test_headers_that_are_no_maps(header: bytes) -> None:
    """Bombs, extensions, bad UTF-8, keys that are no texts: all are refused alike."""
    with pytest.raises(RemoteProtocolError):
        decode_header(header)


def test_a_header_full_of_maps_is_read() -> None:
    """The densest header that the limit allows is read, and what it holds beside ours dropped."""
    bomb = msgpack.packb({"k": 12, "l": 0, "s": 1, "x": [{}] * (MAX_HEADER - 100)})
    assert len(bomb) <= MAX_HEADER
    assert decode_header(bomb) == (0, Close(1))
