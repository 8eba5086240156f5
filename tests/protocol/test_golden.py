"""The frames of version 1, byte by byte: what was said once is understood for ever.

Nothing here may change. What a minor version adds has frames of its own.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import msgpack
import numpy as np
import pytest
from genserver.protocol.chunk import Chunk
from genserver.protocol.codec import (
    ItemHeader,
    Placed,
    decode_header,
    decode_item,
    encode,
    parts_of,
)  # fmt: skip
from genserver.protocol.dtypes import numpy_dtype
from genserver.protocol.errors import RemoteProtocolError
from genserver.protocol.fields import FIELDS, REQUIRED
from genserver.protocol.link import Numbered, kind_of
from genserver.protocol.messages import (
    NO_MORE,
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
    WorkerStatus,
)  # fmt: skip
from genserver.protocol.normalize import TextArray
from genserver.protocol.spec import parse_spec
from genserver.protocol.telemetry import Snapshot, TrainerTotals, WorkerTotals
from genserver.protocol.transport.lender import FORGET, LINK, SEGMENT

SPEC = parse_spec("({image: float32[None,3], name: str}, bfloat16[], uint8[2,2])")

SNAPSHOT = Snapshot(
    at=5_000_000, cores=2, memory=2**34, most=7,
    workers=(
        WorkerTotals(
            index=0, elements=1000, nbytes=2**33, making=4_000_000, blocked=70_000, p50=4000,
            p99=9000, kept=2**20, room=2**27, replayed=3, lost=0, restarts=1, rss=2**26,
            cpu=3_900_000, error="SIGKILL",
        ),
        WorkerTotals(index=1),
    ),
    trainers=(
        TrainerTotals(
            session=2**64 - 1, elements=990, nbytes=2**33, waiting=2_000_000, using=3_000_000,
            steps=True,
        ),
    ),
)  # fmt: skip
#: The message's number, the message, its header.
MESSAGES: dict[str, tuple[int, Message, str]] = {
    "hello": (
        0,
        Hello(2**64 - 1, 3, (1, 70_000), features=("memory",), memory=2**30),
        "8aa16b01a16c00a16da967656e736572766572a17601a17700a16691a66d656d6f7279a174cf"
        "ffffffffffffffffa16503a16f9201ce00011170a26d62ce40000000",
    ),
    "hello of a simple trainer": (
        0,
        Hello(5, 1),
        "88a16b01a16c00a16da967656e736572766572a17601a17700a17405a16501a16f90",
    ),
    "welcome": (
        0,
        Welcome(2**64 - 1, features=("memory",), streams=(1, 70_000)),
        "87a16b02a16c00a17601a17700a16691a66d656d6f7279a169cfffffffffffffffffa16f9201ce00011170",
    ),
    "welcome of a worker that has nothing": (
        0,
        Welcome(7, streams=()),
        "86a16b02a16c00a17601a17700a16907a16f90",
    ),
    "welcome of a supervisor": (
        0,
        Welcome(7),
        "85a16b02a16c00a17601a17700a16907",
    ),
    "error": (
        300,
        Error("protocol", "a bool is not an int"),
        "84a16b03a16ccd012ca163a870726f746f636f6ca178b46120626f6f6c206973206e6f7420616e20696e74",
    ),
    "error of a stream": (
        1,
        Error("too_many_streams", "close an iterator first", 9),
        "85a16b03a16c01a163b0746f6f5f6d616e795f73747265616d73a178b7636c6f736520616e20"
        "6974657261746f72206669727374a17309",
    ),
    "status": (
        1,
        Status(
            "ready",
            "scans:patches",
            "dynamic",
            2**64 - 1,
            -2,
            "4be5-host",
            SPEC,
            (
                WorkerStatus(0, "ready", 4711, "/run/gs/0.sock", 0),
                WorkerStatus(1, "backoff", 0, "", 5556, "killed by SIGKILL", 3, 70_000),
            ),
            "no",
            "stream",
            "0123456789abcdef",
            1000,
            2,
        ),
        "8fa16b04a16c01a27374a57265616479a167ad7363616e733a70617463686573a27368a76479"
        "6e616d6963a27364cfffffffffffffffffa26361fea168a9346265352d686f7374a2737094a5"
        "7475706c65a093a130a131a1329394a464696374a092a5696d616765a46e616d659293a56172"
        "726179a7666c6f6174333292c00393a56172726179a37374729093a56172726179a862666c6f"
        "617431369093a56172726179a575696e7438920202a27773929800a57265616479cd1267ae2f"
        "72756e2f67732f302e736f636b00a000009801a76261636b6f666600a0cd15b4b16b696c6c65"
        "64206279205349474b494c4c03ce00011170a178a26e6fa27263a673747265616da161b03031"
        "3233343536373839616263646566a26974cd03e8a2757002",
    ),
    "status of one that replays": (
        1,
        Status(
            "ready",
            "scans:patches",
            "dynamic",
            2**64 - 1,
            -2,
            "4be5-host",
            SPEC,
            (
                WorkerStatus(0, "ready", 4711, "/run/gs/0.sock", 0),
                WorkerStatus(1, "backoff", 0, "", 5556, "killed by SIGKILL", 3, 70_000),
            ),
            "no",
            "stream",
            "0123456789abcdef",
            1000,
            2,
            16,
        ),
        "de0010a16b04a16c01a27374a57265616479a167ad7363616e733a70617463686573a27368a7"
        "64796e616d6963a27364cfffffffffffffffffa26361fea168a9346265352d686f7374a27370"
        "94a57475706c65a093a130a131a1329394a464696374a092a5696d616765a46e616d659293a5"
        "6172726179a7666c6f6174333292c00393a56172726179a37374729093a56172726179a86266"
        "6c6f617431369093a56172726179a575696e7438920202a27773929800a57265616479cd1267"
        "ae2f72756e2f67732f302e736f636b00a000009801a76261636b6f666600a0cd15b4b16b696c"
        "6c6564206279205349474b494c4c03ce00011170a178a26e6fa27263a673747265616da161b0"
        "30313233343536373839616263646566a26974cd03e8a2757002a2727010",
    ),
    "status of a simple producer": (
        1,
        Status("starting", "", "static", 0, -1, "", None),
        "8aa16b04a16c01a27374a87374617274696e67a167a0a27368a6737461746963a2736400a263"
        "61ffa168a0a27370c0a2777390",
    ),
    "open": (
        2,
        Open(4, 1, 3, 7, 2**64 - 1, 70_000, 16, True, 300, 2**63, (2, 6), True),
        "8ea16b05a16c02a17304a16901a16e03a16507a172cfffffffffffffffffa162ce00011170a1"
        "7a10a164c3a177cd012ca167cf8000000000000000a27570920206a27368c3",
    ),
    "open of a simple trainer": (
        2,
        Open(1, 0, 1, epoch=0, seed=5),
        "88a16b05a16c02a17301a16900a16e01a16500a17205a16200",
    ),
    "grant": (
        3,
        Grant(4, 8192, 134_217_728, 20),
        "86a16b06a16c03a17304a16ecd2000a162ce08000000a16114",
    ),
    "end": (
        4,
        End(4, 2**63 - 1),
        "84a16b08a16c04a17304a16ecf7fffffffffffffff",
    ),
    "end_ack": (
        5,
        EndAck(4),
        "83a16b09a16c05a17304",
    ),
    "fail": (
        6,
        Fail(4, 12, "ValueError", "kein Schädel", "Traceback ..."),
        "87a16b0aa16c06a17304a1710ca163aa56616c75654572726f72a178ad6b65696e20536368c3"
        "a464656ca27462ad54726163656261636b202e2e2e",
    ),
    "beat": (
        2**32,
        Beat(),
        "82a16b0ba16ccf0000000100000000",
    ),
    "beat with all that is measured": (
        3,
        Beat(SNAPSHOT, TrainerTotals(session=5, elements=7, nbytes=8, waiting=9, using=10)),
        "84a16b0ba16c03a17496ce004c4b4002cf000000040000000007929f00cd03e8cf00000002000000"
        "00ce003d0900ce00011170cd0fa0cd2328ce00100000ce08000000030001ce04000000ce003b8260"
        "a75349474b494c4c9f0100000000ffff00000000000000a09196cfffffffffffffffffcd03decf00"
        "00000200000000ce001e8480ce002dc6c0c3a17296050708090ac2",
    ),
    "close": (
        7,
        Close(4),
        "83a16b0ca16c07a17304",
    ),
    "goaway": (
        8,
        GoAway("recycled", returns=True),
        "84a16b0da16c08a178a872656379636c6564a162c3",
    ),
    "goaway for good": (
        8,
        GoAway("the trainer is done"),
        "83a16b0da16c08a178b374686520747261696e657220697320646f6e65",
    ),
    "release": (
        9,
        Release(((0, 1), (3, 70_000))),
        "83a16b0ea16c09a170929200019203ce00011170",
    ),
    "take": (
        10,
        Take(4, 66),
        "84a16b0fa16c0aa17304a16e42",
    ),
    "work": (
        11,
        Work(4, 65, 70_000, skip=3),
        "86a16b10a16c0ba17304a16f41a169ce00011170a16203",
    ),
    "work that begins": (
        11,
        Work(4, 66, 0),
        "85a16b10a16c0ba17304a16f42a16900",
    ),
    "work that ends": (
        11,
        Work(4, 67, NO_MORE),
        "85a16b10a16c0ba17304a16f43a169ff",
    ),
    "done": (
        12,
        Done(4, 65, 1024),
        "85a16b11a16c0ca17304a16f41a16ecd0400",
    ),
    "done of none": (
        12,
        Done(4, 66, 1024, total=1000),
        "86a16b11a16c0ca17304a16f42a16ecd0400a174cd03e8",
    ),
}

#: The element spec, the columns, the header of an ITEM, the frames behind it.
ITEMS: dict[str, tuple[str, tuple[Any, ...], str, list[bytes]]] = {
    "in frames": (
        "int16[2050]",
        (np.tile(np.array([1, -2], np.int16), 1025)[None],),
        "86a16b07a16c02a17304a171ce00011170a16e01a1619192009201cd0802",
        [b"\x01\x00\xfe\xff" * 1025],
    ),
    "in the header": (
        "(bool, bfloat16[2], {a: float64})",
        (
            np.array([True, False]),
            np.array([[1, 2], [3, 4]]).astype(numpy_dtype("bfloat16")),
            np.array([0.5, -1.0]),
        ),
        "86a16b07a16c02a17304a171ce00011170a16e02a1619385c4026e64c3c40474797065a37c62"
        "31c4046b696e64c400c40573686170659102c40464617461c402010085c4026e64c3c4047479"
        "7065a33c7532c4046b696e64c400c4057368617065920202c40464617461c408803f00404040"
        "804085c4026e64c3c40474797065a33c6638c4046b696e64c400c40573686170659102c40464"
        "617461c410000000000000e03f000000000000f0bf",
        [],
    ),
    "texts in frames": (
        "str",
        (TextArray((2,), (b"a" * 5000, "é".encode())),),
        "86a16b07a16c02a17304a171ce00011170a16e02a1619193019102cd138a",
        [
            bytes.fromhex("000000000000000088130000000000008a13000000000000"),
            b"a" * 5000 + b"\xc3\xa9",
        ],
    ),
    "texts in the header": (
        "(bytes[2], str)",
        (
            TextArray((1, 2), (b"", b"\xff\0")),
            TextArray((1,), ("é".encode(),)),
        ),
        "86a16b07a16c02a17304a171ce00011170a16e01a16192930292010292c400c402ff009302910191c402c3a9",
        [],
    ),
    "in shared memory": (
        "uint8[5000]",
        (np.arange(5000, dtype=np.uint8)[None],),
        "86a16b07a16c02a17304a171ce00011170a16e01a1619195039201cd138803ce0001117040",
        [],
    ),
    "nothing at all": (
        "float32[None]",
        (np.zeros((3, 0), np.float32),),
        "86a16b07a16c02a17304a171ce00011170a16e03a1619185c4026e64c3c40474797065a33c66"
        "34c4046b696e64c400c4057368617065920300c40464617461c400",
        [],
    ),
    "of batches": (
        "int32[None]",
        (np.array([[1, 2, 3]], np.int32),),
        "86a16b07a16c02a17304a171ce00011170a16e01a1619185c4026e64c3c40474797065a33c69"
        "34c4046b696e64c400c4057368617065920103c40464617461c40c0100000002000000030000"
        "00",
        [],
    ),
}
#: Where the array of "in shared memory" lies.
PLACE = Placed(3, 70_000, 64, 5000)

#: A message of each kind with every key, and its header.
WHOLE = {
    kind_of(message): (message, header)
    for _, message, header in sorted(
        MESSAGES.values(), key=lambda golden: len(msgpack.unpackb(bytes.fromhex(golden[2])))
    )
}
OPTIONAL = [
    (kind, field.key)
    for kind, rows in FIELDS.items()
    for field in rows
    if field.default is not REQUIRED
]


def placed(name: str, array: np.ndarray[Any, Any]) -> Placed | None:
    return PLACE if name == "in shared memory" else None


def item_of(columns: tuple[Any, ...]) -> Item:
    return Item(4, 70_000, Chunk(columns[0].shape[0], 0, columns))


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_has_these_bytes(name: str) -> None:
    """And these bytes are the message."""
    number, message, header = MESSAGES[name]
    assert [bytes(frame).hex() for frame in encode(Numbered(number, message))] == [header]
    assert decode_header(bytes.fromhex(header)) == (number, message)


@pytest.mark.parametrize("name", ITEMS)
def test_an_item_has_these_frames(name: str) -> None:
    """In every form that an array can travel in, and they are its arrays."""
    spec, columns, header, frames = ITEMS[name]
    sent = encode(Numbered(2, item_of(columns)), lambda array: placed(name, array))
    assert [bytes(frame) for frame in sent] == [bytes.fromhex(header), *frames]
    number, item = decode_header(bytes.fromhex(header))
    assert isinstance(item, ItemHeader)
    assert (number, item.stream, item.first, item.n) == (2, 4, 70_000, columns[0].shape[0])
    parts = parts_of(item, parse_spec(spec))
    assert [part for part in parts if isinstance(part, Placed)] == (
        [PLACE] if placed(name, columns[0]) else []
    )
    memory = [columns[0].tobytes()] if placed(name, columns[0]) else frames
    back = decode_item(item, memory, parse_spec(spec)).chunk
    for ours, theirs in zip(columns, back.columns, strict=True):
        if isinstance(ours, TextArray):
            assert ours == theirs
        else:
            assert (ours.dtype, ours.tolist()) == (theirs.dtype, theirs.tolist())


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_and_key_is_golden(kind: Kind) -> None:
    """Whoever adds a message or a key writes its frame down."""
    headers = [header for _, message, header in MESSAGES.values() if kind_of(message) is kind]
    if kind is Kind.ITEM:
        headers = [header for _, _, header, _ in ITEMS.values()]
    keys = {key for header in headers for key in msgpack.unpackb(bytes.fromhex(header))}
    own = {"n", "a"} if kind is Kind.ITEM else set()
    assert keys == {"k", "l", *own, *(field.key for field in FIELDS[kind])}


@pytest.mark.parametrize(("kind", "key"), OPTIONAL, ids=lambda value: getattr(value, "name", value))
def test_a_key_that_is_left_out_has_its_default(kind: Kind, key: str) -> None:
    """And is left out by us where it has it, so that who never heard of it never sees it."""
    message, header = WHOLE[kind]
    (field,) = (field for field in FIELDS[kind] if field.key == key)
    content = msgpack.unpackb(bytes.fromhex(header))
    assert key in content
    del content[key]
    plain = replace(message, **{field.name: field.default})  # type: ignore[type-var]  # a message
    assert decode_header(msgpack.packb(content))[1] == plain
    assert key not in msgpack.unpackb(bytes(encode(Numbered(0, plain))[0]))
    (attribute,) = (own for own in fields(message) if own.name == field.name)
    assert attribute.default == field.default


@pytest.mark.parametrize("kind", Kind)
def test_a_key_that_must_be_there(kind: Kind) -> None:
    """Without it the header is refused."""
    header = ITEMS["in frames"][2] if kind is Kind.ITEM else WHOLE[kind][1]
    content = msgpack.unpackb(bytes.fromhex(header))
    optional = {field.key for field in FIELDS[kind] if field.default is not REQUIRED}
    for key in set(content) - optional:
        less = {name: value for name, value in content.items() if name != key}
        with pytest.raises(RemoteProtocolError):
            decode_header(msgpack.packb(less))


@pytest.mark.parametrize("header", [golden[2] for golden in (*MESSAGES.values(), *ITEMS.values())])
def test_keys_of_a_later_minor_are_ignored(header: str) -> None:
    """Whatever they hold."""
    content = msgpack.unpackb(bytes.fromhex(header))
    more = {**content, "zz": [1, {"a": None}], "later": b"bytes"}
    assert decode_header(msgpack.packb(more)) == decode_header(bytes.fromhex(header))


def test_datagrams_of_shared_memory() -> None:
    """Session and fence, a segment's number and size, a segment that is gone."""
    assert LINK.pack(2**64 - 1, 3).hex() == "ffffffffffffffff0000000000000003"
    assert SEGMENT.pack(3, 70_000).hex() == "00000000000000030000000000011170"
    assert SEGMENT.pack(3, FORGET).hex() == "00000000000000030000000000000000"
