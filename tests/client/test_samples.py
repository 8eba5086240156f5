"""Statistics of elements: what numpy says of all values together, in one pass, without copies."""

from __future__ import annotations

import zlib
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from genserver.client import samples
from genserver.client.samples import Statistics, Tally, blocks
from genserver.protocol.dtypes import numpy_dtype
from genserver.protocol.rows import value_at
from genserver.protocol.spec import ArraySpec
from hypothesis import given
from hypothesis import strategies as st

from ..support.strategies import Sample, arrays, random_leaf
from ..support.strategies import samples as drawn_samples


def tallied(dtype: str, values: list[Any]) -> Statistics:
    tally = Tally("element", ArraySpec(dtype, ()), len(values))
    for value in values:
        tally.add(value)
    return tally.statistics


@given(drawn_samples())
def test_any_element_can_be_counted(sample: Sample) -> None:
    """Every dtype, any bit pattern, empty ones, numbers and texts."""
    for number, (path, leaf) in enumerate(sample.spec.leaves()):
        tally = Tally(path, leaf, len(sample.rows))
        for row in sample.rows:
            tally.add(as_value(row[number], leaf))
        found = tally.statistics
        assert found.elements == len(sample.rows)
        assert found.nan + found.inf + found.finite == found.values


def as_value(leaf: Any, spec: ArraySpec) -> Any:
    """As `Client` gives it."""
    if isinstance(leaf, np.ndarray):
        return leaf
    return value_at(type(leaf)((1, *leaf.shape), leaf.items), 0, spec)


@given(
    st.sampled_from(["bool", "uint8", "int16", "int64", "uint64", "float16", "float32", "float64",
                     "bfloat16", "float8_e4m3fn", "complex64"]),
    st.lists(st.lists(st.integers(0, 9), max_size=3).map(tuple), min_size=1, max_size=4),
    st.integers(0, 2**32), st.sampled_from([3, 2**18]),
)  # fmt: skip
def test_statistics_are_what_numpy_says(
    dtype: str, shapes: list[tuple[int, ...]], seed: int, size: int
) -> None:
    """Of all values together, whatever the blocks; NaN and infinity are counted, not added."""
    rng = np.random.default_rng(seed)
    values = [np.asarray(random_leaf(rng, dtype, shape)) for shape in shapes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "BLOCK", size)
        found = tallied(dtype, values)
    with np.errstate(all="ignore"):
        flat = np.concatenate([value.reshape(-1) for value in values])
        real = np.abs(flat) if dtype == "complex64" else flat
        numbers = real.astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        assert found.values == flat.size
        assert found.nan == np.isnan(numbers).sum()
        assert found.inf == np.isinf(numbers).sum()
        assert found.zeros == (numbers == 0).sum()
        if finite.size == 0:
            assert (found.low, found.high, found.mean, found.std) == (None, None, None, None)
            return
        exact = real if dtype.startswith(("int", "uint")) else finite
        assert (found.low, found.high) == (exact.min().item(), exact.max().item())
        assert found.distinct == len(np.unique(exact)) or found.distinct is None
        scale = float(np.abs(finite).max())
        if scale < 1e100:  # beyond, squares do not fit into float64, numpy's neither
            assert found.mean == pytest.approx(finite.mean(), abs=1e-9 * scale)
            assert found.std == pytest.approx(finite.std(), abs=1e-7 * scale)


def test_few_values_are_counted_and_many_are_not() -> None:
    """Labels with their shares; of pixels only that there are many."""
    labels = tallied("int64", [np.array([0, 0, 5]), np.array([0, 0, 0])])
    assert labels.common == ((0, 5 / 6), (5, 1 / 6))
    assert labels.few
    noise = tallied("float32", [np.random.default_rng(1).random(10_000, np.float32)])
    assert (noise.distinct, noise.common, noise.few) == (None, (), False)


def test_texts_are_cut_and_cannot_steer_a_terminal() -> None:
    """Escapes are written out, long texts end in dots, lengths are exact."""
    found = tallied("str", ["\x1b[31mred", "x" * 1000])
    (first, _), (second, _) = found.common
    assert "\x1b" not in str(first)
    assert second == "'" + "x" * 20 + "..."
    assert (found.low, found.high, found.text) == (8, 1000, True)


def test_sizes_are_those_that_were_seen() -> None:
    """Free dimensions as smallest and largest, equal elements as one."""
    found = tallied("float32", [np.zeros((3, 8)), np.zeros((5, 8)), np.zeros((3, 8))])
    assert (found.smallest, found.largest) == ((3, 8), (5, 8))
    assert (found.elements, found.different) == (3, 2)


def test_elements_that_differ_are_told_apart_and_empty_ones_are_not_compared() -> None:
    """Also two that have the same CRC-32; texts, too."""
    words = [b"plumless", b"buckeroo"]
    assert zlib.crc32(words[0]) == zlib.crc32(words[1])
    numbers = [np.frombuffer(word, np.uint8) for word in words]
    nothing = np.zeros((0, 8), np.uint8)
    found = tallied("uint8", [*numbers, numbers[0], nothing, nothing])
    assert (found.different, found.filled, found.empty) == (2, 3, 2)
    texts = tallied("str", [np.array([word.decode()], object) for word in words])
    assert (texts.different, texts.filled, texts.empty) == (2, 2, 0)


def test_a_large_volume_is_not_copied() -> None:
    """Blocks are views of it, also where its rows do not lie side by side."""
    volume = np.zeros((40, 100, 200), np.float32)
    for array in (volume, volume[:, :, ::2], volume.transpose(2, 0, 1)[:7]):
        parts = list(blocks(array))
        assert sum(part.size for part in parts) == array.size
        assert max(part.size for part in parts) <= samples.BLOCK
    assert all(np.shares_memory(part, volume) for part in blocks(volume))


def test_what_is_kept_for_a_histogram_is_bounded() -> None:
    """As many values of each element, spread over it."""
    tally = Tally("element", ArraySpec("float32", (300_000,)), 4)
    for _ in range(4):
        tally.add(np.arange(300_000, dtype=np.float32))
    sample = tally.statistics.sample
    assert samples.SAMPLE / 2 < len(sample) <= samples.SAMPLE
    assert max(sample) > 299_000


@given(arrays)
def test_every_dtype_has_its_numbers(spec: ArraySpec) -> None:
    """ml_dtypes' as well as numpy's."""
    if spec.dtype in ("str", "bytes"):
        return
    found = tallied(spec.dtype, [np.ones((2, 2), numpy_dtype(spec.dtype))])
    assert (found.low, found.mean, found.std) == (1, 1.0, 0.0)


def test_small_floats_are_read_as_they_are() -> None:
    """bfloat16 has its own rounding, which the figures show."""
    found = tallied("bfloat16", [np.array([0.1, 0.3], ml_dtypes.bfloat16)])
    assert found.low == pytest.approx(0.1001, abs=1e-4)
