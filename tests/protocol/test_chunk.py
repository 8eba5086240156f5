"""Chunks: what is copied, what is stacked, and when a chunk is full."""

from __future__ import annotations

import numpy as np
import pytest
from genserver.protocol.chunk import ChunkBuilder
from genserver.protocol.codec import ItemHeader, decode_header, decode_item, encode
from genserver.protocol.columns import (
    ALIGNMENT,
    CHUNK_BYTES,
    CHUNK_ELEMENTS,
    INLINE,
    LARGE_CHUNK_BYTES,
    LARGE_CHUNK_ELEMENTS,
    LARGE_ELEMENT,
    aligned_empty,
)
from genserver.protocol.errors import ElementError
from genserver.protocol.link import Numbered
from genserver.protocol.messages import Item
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
        assert builder.n < 2000
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


@pytest.mark.parametrize(
    ("size", "count"),
    [
        (LARGE_ELEMENT, LARGE_CHUNK_ELEMENTS),
        (LARGE_CHUNK_BYTES // 4, 4),
        (LARGE_CHUNK_BYTES + 1, 1),
    ],
)
def test_large_elements_are_stacked_by_larger_limits(size: int, count: int) -> None:
    """Sixteen elements or 16 MiB, and what is larger travels alone."""
    builder = filled(size)
    assert builder.n == count
    assert builder.take().columns[0].shape == (count, size)


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


def test_columns_are_plain_views_of_what_the_allocator_gave() -> None:
    """It is asked for just the bytes of large columns, and finds its memory as their base."""
    given: list[np.ndarray] = []

    def allocate(nbytes: int) -> np.ndarray:
        given.append(np.frombuffer(bytearray(nbytes), np.uint8))
        return given[-1]

    rows = LARGE_CHUNK_BYTES // (2**21 + 8)
    builder = ChunkBuilder(parse_spec("(float32[524288], int64)"), allocate)
    builder.add([np.zeros(2**19, np.float32), np.array(3)])
    column, label = builder.take().columns
    assert [memory.nbytes for memory in given] == [rows * 2**21]
    assert column.base is given[0]
    assert rows * label.itemsize <= INLINE


@pytest.mark.parametrize("nbytes", [1, 4096, 10**6])
def test_own_memory_is_aligned(nbytes: int) -> None:
    """numpy's memory begins where TensorFlow can alias it, and has the size that was asked for."""
    memory = aligned_empty(nbytes)
    assert memory.ctypes.data % ALIGNMENT == 0
    assert memory.nbytes == nbytes


@pytest.mark.parametrize(("room", "rows"), [((3, 10**9), 3), ((9, 250), 3), ((9, 0), 1)])
def test_columns_are_no_longer_than_the_credit(room: tuple[int, int], rows: int) -> None:
    """Memory is asked for the elements that may be begun, and for one at least."""
    builder = ChunkBuilder(BYTES)
    builder.add([np.zeros(100, np.uint8)], room)
    assert builder.stack is not None
    assert builder.stack.rows == rows


def test_what_is_added_after_a_take_fills_the_same_columns() -> None:
    """A chunk that was sent early does not cost new memory for the next element."""
    builder = ChunkBuilder(parse_spec("float32[50000]"))
    chunks = []
    for i in range(4):
        builder.add([np.full(50_000, i, np.float32)])
        chunks.append(builder.take())
    assert [chunk.columns[0][0, 0] for chunk in chunks] == [0, 1, 2, 3]
    assert len({id(chunk.columns[0].base) for chunk in chunks}) == 1


def test_a_batch_is_one_element() -> None:
    """Rows are stacked below a dimension of elements, texts too; a half-made batch is not sent."""
    builder = ChunkBuilder(parse_spec("(int16[2], str)"), batch=3)
    for i in range(7):
        builder.add([np.full(2, i, np.int16), TextArray((), (b"%d" % i,))])
    assert (builder.n, builder.midway) == (2, 1)
    chunk = builder.take()
    assert chunk.columns[0][..., 0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert chunk.columns[1] == TextArray((2, 3), (b"0", b"1", b"2", b"3", b"4", b"5"))
    assert builder.n == 0
    (rest,) = builder.seal(remainder=True)
    assert (rest.n, rest.columns[0].tolist()) == (1, [[[6, 6]]])
    assert rest.columns[1] == TextArray((1, 1), (b"6",))
    assert chunk.nbytes + rest.nbytes == 7 * (4 + 8 + 1)


def test_a_half_made_batch_is_lost_unless_it_is_asked_for() -> None:
    """Sealing without the remainder keeps whole batches only."""
    builder = ChunkBuilder(parse_spec("int8"), batch=2)
    for i in range(3):
        builder.add([np.array(i, np.int8)])
    assert [chunk.columns[0].tolist() for chunk in builder.seal()] == [[[0, 1]]]
    assert builder.seal(remainder=True) == []


def test_rows_of_one_batch_have_one_shape() -> None:
    """Another shape within a batch is refused by path; between two batches it is fine."""
    builder = ChunkBuilder(parse_spec("(int8, uint8[None])"), batch=2)
    sizes = [3, 3, 4, 4, 4]
    for size in sizes:
        leaves = [np.array(0, np.int8), np.zeros(size, np.uint8)]
        if not builder.accepts(leaves):
            assert builder.take().columns[1].shape == (1, 2, 3)
        builder.add(leaves)
    with pytest.raises(ElementError) as caught:
        builder.add([np.array(0, np.int8), np.zeros(5, np.uint8)])
    assert str(caught.value).startswith("element[1]: cannot be batched: shape [5] after [4]")


def test_the_limits_of_a_chunk_count_batches() -> None:
    """A batch above the large size is stacked by the larger limits."""
    builder = ChunkBuilder(parse_spec("float32[1000]"), batch=100)
    builder.add([np.zeros(1000, np.float32)])
    assert builder.stack is not None
    assert builder.stack.rows == 100 * LARGE_CHUNK_ELEMENTS


def lent(builder: ChunkBuilder, shape: tuple[int, ...], dtype: str) -> np.ndarray | None:
    """What a generator gets that asks for an array."""
    index = builder.wanted(shape, np.dtype(dtype))
    if index is None or not builder.lends(index, shape):
        return None
    return builder.lend(index, shape)


def test_a_lent_row_that_is_added_is_not_copied() -> None:
    """It is the chunk's memory from the beginning, in each row, and read-only from then on."""
    builder = ChunkBuilder(parse_spec("(float32[20,30], float32[20,30], int64)"))
    for i in range(3):
        rows = [lent(builder, (20, 30), "float32") for _ in range(2)]
        assert lent(builder, (20, 30), "float32") is None
        for row in rows:
            row[:] = i
        builder.add([*rows, np.array(i)])
        for row in rows:
            with pytest.raises(ValueError, match="read-only"):
                row[0] = 9
    first, second, _ = builder.take().columns
    assert [first[:, 0, 0].tolist(), second[:, 5, 5].tolist()] == [[0, 1, 2], [0, 1, 2]]
    assert np.shares_memory(rows[0], first)
    assert np.shares_memory(rows[1], second)


def test_lent_rows_that_are_added_in_another_place_are_copied() -> None:
    """Two lent arrays in the other order, one of them twice, or a turned view of one."""
    for order in ([1, 0], [0, 0], [1, 1]):
        builder = ChunkBuilder(parse_spec("(int16[2,2], int16[2,2])"))
        rows = [lent(builder, (2, 2), "int16") for _ in range(2)]
        for i, row in enumerate(rows):
            row[:] = [[i, 1], [2, 3]]
        builder.add([rows[order[0]], rows[order[1]].T])
        columns = builder.take().columns
        assert columns[0][0].tolist() == [[order[0], 1], [2, 3]]
        assert columns[1][0].tolist() == [[order[1], 2], [1, 3]]


def test_a_lent_row_that_is_not_added_is_overwritten() -> None:
    """The element that was added instead is sent, and the lent array becomes read-only."""
    builder = ChunkBuilder(parse_spec("int16[4]"))
    for value in (7, 8):
        row = lent(builder, (4,), "int16")
        row[:] = 1
        builder.add([np.full(4, value, np.int16)])
        assert not row.flags.writeable
    assert builder.take().columns[0].tolist() == [[7] * 4, [8] * 4]


def test_free_sizes_are_lent_as_they_are_asked_for() -> None:
    """The first row of a chunk decides; another size is lent from the next chunk on."""
    builder = ChunkBuilder(parse_spec("(float32[None,None], uint8[None])"))
    image, mask = lent(builder, (60, 50), "float32"), lent(builder, (9,), "uint8")
    builder.add([image, mask])
    assert lent(builder, (61, 50), "float32") is None
    (chunk,) = builder.seal()
    assert [np.shares_memory(a, b) for a, b in zip((image, mask), chunk.columns, strict=True)]
    larger = lent(builder, (61, 50), "float32")
    builder.add([larger, np.zeros(3, np.uint8)])
    assert np.shares_memory(larger, builder.take().columns[0])


def test_a_lent_row_gives_way_to_an_element_of_other_shapes() -> None:
    """What is added decides the columns, and the lent array is copied into them."""
    builder = ChunkBuilder(parse_spec("(int16[None], int16[None])"))
    rows = [lent(builder, (3,), "int16"), lent(builder, (4,), "int16")]
    rows[0][:] = 5
    builder.add([rows[0], np.zeros(2, np.int16)])
    first, second = builder.take().columns
    assert (first.tolist(), second.tolist()) == ([[5] * 3], [[0, 0]])
    assert not any(row.flags.writeable for row in rows)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((4,), "float32"), ((3,), "float64"), ((), "S3"), ((-3,), "float32")]
)
def test_only_what_the_spec_has_is_lent(shape: tuple[int, ...], dtype: str) -> None:
    """Another shape or dtype, and texts, are none of the builder's memory."""
    builder = ChunkBuilder(parse_spec("(float32[3], bytes)"))
    assert lent(builder, shape, dtype) is None


@pytest.mark.parametrize("size", [2, 3000])
def test_batches_travel_as_the_batched_spec_says(size: int) -> None:
    """Whole batches, the smaller last one and texts arrive as they were, inline and in frames."""
    spec = parse_spec(f"(float32[{size}], str)")
    builder = ChunkBuilder(spec, batch=4)
    for i in range(10):
        builder.add([np.full(size, i, np.float32), TextArray((), (b"x" * i,))])
    for chunk in builder.seal(remainder=True):
        header, *frames = encode(Numbered(0, Item(1, 0, chunk)))
        assert isinstance(header, bytes)
        _, item = decode_header(header)
        assert isinstance(item, ItemHeader)
        arrived = decode_item(item, frames, spec.batched(4, drop_remainder=False)).chunk
        assert (arrived.n, arrived.nbytes) == (chunk.n, chunk.nbytes)
        assert all(map(same, arrived.columns, chunk.columns))
