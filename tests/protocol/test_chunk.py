"""Chunks: what is copied, what is stacked, and when a chunk is full."""

from __future__ import annotations

import numpy as np
import pytest
from genserver.protocol.chunk import CHUNK_BYTES, CHUNK_ELEMENTS, LARGE_ELEMENT, ChunkBuilder
from genserver.protocol.normalize import TextArray
from genserver.protocol.spec import parse_spec
from hypothesis import given

from ..support.strategies import Sample, samples

BYTES = parse_spec("uint8[None]")


def filled(size: int) -> ChunkBuilder:
    """A builder that holds as many elements of a size as it accepts."""
    builder = ChunkBuilder(BYTES)
    while builder.accepts([np.zeros(size, np.uint8)]):
        builder.add([np.zeros(size, np.uint8)])
        assert builder.n < 1000
    return builder


def test_adding_copies() -> None:
    """A generator may write to its buffer again as soon as the element was added."""
    builder = ChunkBuilder(parse_spec("int32[3]"))
    buffer = np.arange(3, dtype=np.int32)
    for _ in range(2):
        builder.add([buffer])
        buffer += 10
    (column,) = builder.take().columns
    assert column.tolist() == [[0, 1, 2], [10, 11, 12]]


def test_a_taken_chunk_is_not_written_again() -> None:
    """Elements that are added later go into other memory."""
    builder = ChunkBuilder(parse_spec("int8"))
    builder.add([np.array(1, np.int8)])
    first = builder.take()
    builder.add([np.array(2, np.int8)])
    assert first.columns[0].tolist() == [1]
    assert builder.take().columns[0].tolist() == [2]


def test_another_shape_waits_for_the_next_chunk() -> None:
    """An element of another shape is not accepted until the chunk was taken."""
    builder = ChunkBuilder(BYTES)
    builder.add([np.zeros(3, np.uint8)])
    assert builder.accepts([np.zeros(3, np.uint8)])
    assert not builder.accepts([np.zeros(4, np.uint8)])
    builder.take()
    assert builder.accepts([np.zeros(4, np.uint8)])


def test_another_text_shape_waits_for_the_next_chunk() -> None:
    """Texts of one shape are stacked whatever their lengths."""
    builder = ChunkBuilder(parse_spec("str[None]"))
    builder.add([TextArray((2,), (b"a", b""))])
    assert builder.accepts([TextArray((2,), (b"", b"long"))])
    assert not builder.accepts([TextArray((1,), (b"a",))])


@pytest.mark.parametrize("size", [LARGE_ELEMENT, CHUNK_BYTES * 2])
def test_large_elements_travel_alone(size: int) -> None:
    """From the large size on a chunk holds one element, and no room for more."""
    builder = filled(size)
    assert builder.n == 1
    assert builder.take().columns[0].base.nbytes == size


@pytest.mark.parametrize(
    ("size", "count"),
    [(0, CHUNK_ELEMENTS), (1, CHUNK_ELEMENTS), (50_000, CHUNK_BYTES // 50_000)],
)
def test_small_chunks_are_limited(size: int, count: int) -> None:
    """Small elements are stacked up to the limits in elements and in bytes."""
    assert filled(size).n == count


def test_texts_are_limited_in_bytes() -> None:
    """Texts that grow within a chunk still end it at the limit in bytes."""
    builder = ChunkBuilder(parse_spec("bytes"))
    long = TextArray((), (bytes(CHUNK_BYTES // 2),))
    builder.add([TextArray((), (b"",))])
    assert builder.accepts([long])
    builder.add([long])
    assert not builder.accepts([long])


@given(samples())
def test_chunks_hold_what_was_added(sample: Sample) -> None:
    """Each row of a chunk is the element that was added, and its weight is the sum of theirs."""
    builder = ChunkBuilder(sample.spec)
    weights = [builder.add(row) for row in sample.rows]
    chunk = builder.take()
    assert (chunk.n, chunk.nbytes) == (len(sample.rows), sum(weights))
    for i, row in enumerate(sample.rows):
        for column, leaf in zip(chunk.rows(i, i + 1), row, strict=True):
            assert column.shape == (1, *leaf.shape)
            assert same(column, leaf)


def same(column, leaf) -> bool:
    """Whether a column of one row holds the leaf, to the bit."""
    if isinstance(leaf, TextArray):
        return column.items == leaf.items
    return column.dtype == leaf.dtype and column.tobytes() == leaf.tobytes()


def test_rows_are_views() -> None:
    """Rows share the chunk's memory."""
    builder = ChunkBuilder(parse_spec("(int8[2], str[2])"))
    for i in range(4):
        builder.add([np.full(2, i, np.int8), TextArray((2,), (b"%d" % i, b""))])
    chunk = builder.take()
    numbers, texts = chunk.rows(1, 3)
    assert np.shares_memory(numbers, chunk.columns[0])
    assert numbers.tolist() == [[1, 1], [2, 2]]
    assert texts == TextArray((2, 2), (b"1", b"", b"2", b""))
