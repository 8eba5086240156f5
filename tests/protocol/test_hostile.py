"""Headers that are made to cost their reader: memory, time, a long answer."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import msgpack
import pytest
from genserver.protocol.codec import (
    ItemHeader,
    decode_header,
    decode_item,
    encode,
    parts_of,
    placed_in,
)  # fmt: skip
from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.errors import EndpointError, LocalProtocolError, RemoteProtocolError
from genserver.protocol.fields import MAX_HEADER
from genserver.protocol.link import Numbered
from genserver.protocol.messages import Close, Error
from genserver.protocol.spec import ElementSpec, parse_spec

STATUS = {"k": 4, "l": 0, "st": "", "g": "", "sh": "", "sd": 0, "ca": 0, "h": "", "ws": []}
#: A dtype of 64 000 zeros, each of which an error would write as four characters.
LONG_DTYPE = msgpack.packb(STATUS | {"sp": ["array", "\0" * 64_000, []]})


def item(*arrays: Any, n: int = 1) -> bytes:
    """The header of an ITEM with these array descriptions."""
    return msgpack.packb({"k": 7, "l": 0, "s": 0, "q": 0, "n": n, "a": list(arrays)})


def refusal(header: bytes, spec: str = "uint8[None]") -> str:
    """What is said of a header that is refused."""
    try:
        _, message = decode_header(header)
        assert isinstance(message, ItemHeader)
        parts_of(message, parse_spec(spec))
    except RemoteProtocolError as error:
        return str(error)
    pytest.fail("was read")


@pytest.mark.parametrize(
    "header",
    [LONG_DTYPE, item([0, [1] * 64_000]), item([0, [1, *[10**9] * 13_000]])],
    ids=["dtype", "ones", "sizes"],
)
def test_a_breach_is_told_in_few_words(header: bytes) -> None:
    """What quotes the peer is cut, so that the answer to it fits a header and the log a line."""
    text = refusal(header)
    assert len(text) <= 500
    (answer,) = encode(Numbered(0, Error("stranger", text)))
    assert decode_header(bytes(answer)) == (0, Error("stranger", text))


def test_our_own_breach_is_told_in_few_words_too() -> None:
    """It is logged like the peer's."""
    assert len(str(LocalProtocolError("x" * 10_000))) <= 500


@pytest.mark.parametrize("size", [1, 127])
def test_nothing_is_computed_of_a_shape_that_cannot_fit(size: int) -> None:
    """A product of 64 000 foreign sizes takes a second: their number is looked at first."""
    header = item([0, [1, *[size] * 64_000]])
    began = time.process_time()
    assert "64001 dimensions" in refusal(header)
    assert time.process_time() - began < 0.3


@pytest.mark.parametrize(
    ("spec", "array", "memory"),
    [
        ("uint8", [False, [1]], (b"\0",)),
        ("uint8", [0.0, [1]], (b"\0",)),
        ("uint8", [3.0, [1], 0, 0, 0], (b"\0",)),
        ("bytes", [True, [1], 1], (bytes(8) + b"\1" + bytes(7), b"x")),
        ("bytes", [2.0, [1], [b"x"]], ()),
    ],
)
def test_the_form_of_an_array_is_an_int(spec: str, array: Any, memory: tuple[bytes, ...]) -> None:
    """No bool or float stands for it, as everywhere in a header."""
    _, message = decode_header(item(array))
    assert isinstance(message, ItemHeader)
    with pytest.raises(RemoteProtocolError, match="malformed array"):
        decode_item(message, memory, parse_spec(spec))
    good = ItemHeader(0, 0, 1, ((int(array[0]), *message.arrays[0][1:]),))  # type: ignore[index]
    assert decode_item(good, memory, parse_spec(spec)).chunk.n == 1
    assert placed_in(message) == []


@pytest.mark.parametrize(
    "text",
    ["tcp://h:\u00b2", "tcp://h:\u0663", "tcp://h:" + "9" * 5000, "tcp://h:-1", "ipc://\ud800",
     "ipc:///run/\udcff.sock", "tcp://[]:0", "tcp://[[::1]]:0", "tcp://]:0"],
    ids=ascii,
)  # fmt: skip
def test_whatever_is_no_endpoint_is_refused_as_one(text: str) -> None:
    """Digits that int() does not read, more than it reads, paths that are no UTF-8, brackets around
    nothing or around others."""
    with pytest.raises(EndpointError):
        parse_endpoint(text)


PEAK = """
import sys
from genserver.protocol.codec import decode_header
from genserver.protocol.errors import RemoteProtocolError

def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) // 1024

header = sys.stdin.buffer.read()
decode_header(bytes.fromhex("83a16b0ca16c00a17301"))
before = status("VmRSS")
try:
    decode_header(header)
except RemoteProtocolError:
    pass
print(status("VmHWM") - before)
"""
#: One value; a header full of it makes as much of 64 KiB as can be made.
WORST = {
    "empty lists": b"\x90",
    "empty maps": b"\x80",
    "lists of one": b"\x91\xc0",
    "maps of one": b"\x81\xa0\xc0",
    "maps in maps": b"\x81\xa0\x81\xa0\xc0",
    "maps of many": b"\x8f" + b"".join(b"\xa1%c\xc0" % key for key in range(15)),
    "floats": b"\xca\0\0\0\1",
    "numbers": b"\xce\xff\xff\xff\xff",
    "texts": b"\xa1\x7f",
    "texts beyond Latin": b"\xa4\xf0\x9f\x90\x8d",
    "extensions": b"\xc7\x00\x05",
}


def peak(header: bytes) -> int:
    """MiB that decoding a header takes at most, in a process of its own."""
    assert len(header) <= MAX_HEADER
    done = subprocess.run(
        [sys.executable, "-c", PEAK], input=header, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return int(done.stdout)


def full_of(value: bytes) -> bytes:
    """A CLOSE that has nothing but this value under a key that is not known."""
    close = msgpack.packb({"k": 12, "l": 0, "s": 1})
    count = (MAX_HEADER - 32) // len(value)
    return b"\x84" + close[1:] + b"\xa1x\xdd" + count.to_bytes(4, "big") + value * count


@pytest.mark.linux
@pytest.mark.parametrize("value", WORST.values(), ids=WORST)
def test_64_kib_of_header_take_little_memory(value: bytes) -> None:
    """The densest headers that are read: below 16 MiB each (rule D2)."""
    header = full_of(value)
    assert decode_header(header) == (0, Close(1))
    assert peak(header) < 16


@pytest.mark.linux
@pytest.mark.parametrize("opening", [b"\xdc\xff\xf0", b"\xdd\0\0\xff\xf0"], ids=["16", "32"])
def test_what_a_header_claims_and_has_not_takes_no_memory(opening: bytes) -> None:
    """Lists in lists, each of 64 Ki values that never come, for which memory was made."""
    header = (b"\x81\xa1x" + opening * 1000).ljust(MAX_HEADER, b"\xc0")
    assert peak(header) < 16


def test_the_arrays_of_all_branches_are_counted_together() -> None:
    """A spec of twice 3000 arrays is refused, as one of 6000 is."""
    branch = ["tuple", "", [str(i) for i in range(3000)], [["array", "bool", []]] * 3000]
    with pytest.raises(RemoteProtocolError, match="more than 4096 arrays"):
        ElementSpec.from_wire(["tuple", "", ["0", "1"], [branch, branch]])
