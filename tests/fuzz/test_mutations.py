"""Valid frames, changed: a typed error, or a message of the closed schema."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
from genserver.protocol.chunk import ChunkBuilder
from genserver.protocol.codec import encode
from genserver.protocol.errors import RemoteProtocolError
from genserver.protocol.link import Numbered
from genserver.protocol.messages import Item, Message
from genserver.protocol.spec import ElementSpec, parse_spec
from hypothesis import given, settings
from hypothesis import strategies as st

from ..support.strategies import Sample, anything, messages, samples
from .target import decoded, packed_input, run

#: Spec and frames of a message.
Frames = tuple[ElementSpec, list[bytes]]


def _item(sample: Sample) -> Frames:
    builder = ChunkBuilder(sample.spec)
    for row in sample.rows:
        builder.add(row)
    frames = encode(Numbered(1, Item(3, 5, builder.take())))
    return sample.spec, [bytes(frame) for frame in frames]


def _message(message: Message) -> Frames:
    return parse_spec("int64"), [bytes(encode(Numbered(2, message))[0])]


#: Each test has so many, in every run of the suite; the fuzzer has a million a minute.
few = settings(max_examples=30)

valid: st.SearchStrategy[Frames] = samples().map(_item) | messages.map(_message)


def read(spec: ElementSpec, frames: list[bytes]) -> None:
    """Decode as an end does; anything but the typed error or a sound message fails the test."""
    with contextlib.suppress(RemoteProtocolError):
        decoded(frames[0], spec, lambda _: list(frames[1:]))


@few
@given(valid, st.data())
def test_a_bit_that_flipped(frames: Frames, data: st.DataObject) -> None:
    """Anywhere in any frame: refused, or sound."""
    spec, parts = frames
    which = data.draw(st.sampled_from([i for i, part in enumerate(parts) if part]))
    changed = bytearray(parts[which])
    bit = data.draw(st.integers(0, 8 * len(changed) - 1))
    changed[bit // 8] ^= 1 << bit % 8
    read(spec, [*parts[:which], bytes(changed), *parts[which + 1 :]])


@few
@given(valid, st.data())
def test_bytes_that_are_missing_or_come_twice(frames: Frames, data: st.DataObject) -> None:
    """A piece of any frame, and a frame as a whole: refused, or sound."""
    spec, parts = frames
    which = data.draw(st.integers(0, len(parts) - 1))
    old = parts[which]
    begin = data.draw(st.integers(0, len(old)))
    end = data.draw(st.integers(begin, len(old)))
    again = data.draw(st.sampled_from([0, 2, 3]))
    new = old[:begin] + old[begin:end] * again + old[end:]
    read(spec, [*parts[:which], new, *parts[which + 1 :]])
    if which > 0:
        read(spec, [*parts[:which], *parts[which : which + 1] * again, *parts[which + 1 :]])


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value in a header."""
    inner = node.items() if isinstance(node, dict) else enumerate(node)
    found = []
    for key, value in inner:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += _places(value, (*path, key))
    return found


@few
@given(valid, anything | st.just(msgpack.ExtType(5, b"")), st.data())
def test_one_value_of_any_type(frames: Frames, value: Any, data: st.DataObject) -> None:
    """In the place of any other, at any depth of a header: refused, or sound."""
    spec, (header, *parts) = frames
    fields = node = msgpack.unpackb(header)
    *outer, last = data.draw(st.sampled_from(_places(fields)))
    for key in outer:
        node = node[key]
    node[last] = value
    read(spec, [msgpack.packb(fields), *parts])


@few
@given(valid, st.data())
def test_a_key_that_comes_twice(frames: Frames, data: st.DataObject) -> None:
    """With another's value: refused, or sound, and never both of its values."""
    spec, (header, *parts) = frames
    fields = msgpack.unpackb(header)
    key, other = (data.draw(st.sampled_from(sorted(fields))) for _ in range(2))
    twice = bytes([header[0] + 1]) + header[1:] + msgpack.packb(key) + msgpack.packb(fields[other])
    read(spec, [twice, *parts])


@few
@given(st.integers(0, 31), st.integers(0, 2), st.lists(st.binary(max_size=40), max_size=2))
def test_any_input_of_the_fuzzer(what: int, way: int, pieces: list[bytes]) -> None:
    """The target reads every input, also one that is cut."""
    data = packed_input(what, way, *pieces)
    for end in (len(data), len(data) // 2, 1):
        run(data[:end])
