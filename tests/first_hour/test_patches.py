"""examples/patches: series as volumes, patches that lie where they say, the shuffle buffer."""

from __future__ import annotations

import gc
import runpy
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from ..support.processes import PATIENCE

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "patches"
SERIES = runpy.run_path(str(EXAMPLES / "dicom_series.py"))
read_series, SeriesError = SERIES["read_series"], SERIES["SeriesError"]
random_patches = runpy.run_path(str(EXAMPLES / "cutting.py"))["random_patches"]
SHUFFLED = runpy.run_path(str(EXAMPLES / "shuffled.py"))
shuffled, payload = SHUFFLED["shuffled"], SHUFFLED["payload"]

#: Real slices inside the pydicom wheel; nothing is downloaded.
WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"
SCANS = WHEEL / "dicomdirtests"
CT = SCANS / "98892001" / "CT5N"  # 5 slices of 16 x 16, whose files go from the top downwards

Change = Callable[[int, pydicom.Dataset], object]
Series = Callable[[Change], Path]


@pytest.fixture
def series(tmp_path: Path) -> Series:
    """Write the slices of `CT`, each changed by a function of its number and header."""

    def write(change: Change) -> Path:
        for number, path in enumerate(sorted(CT.iterdir())):
            piece = pydicom.dcmread(path)
            change(number, piece)
            piece.save_as(tmp_path / path.name)
        return tmp_path

    return write


def stored(folder: Path) -> list[pydicom.Dataset]:
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def test_a_series_is_sorted_by_position_and_rescaled() -> None:
    """Upwards whatever the files' names say, in Hounsfield units, with the spacing in mm."""
    volume, spacing = read_series(CT)
    upwards = sorted(stored(CT), key=lambda piece: piece.ImagePositionPatient[2])
    assert [piece.InstanceNumber for piece in upwards] == [10, 9, 8, 7, 6]
    assert (volume.shape, volume.dtype, spacing.dtype) == ((5, 16, 16), np.float32, np.float32)
    for place, piece in zip(volume, upwards, strict=True):
        assert np.array_equal(place, piece.pixel_array.astype(np.float32) - 1024)
    assert np.allclose(spacing, [2.5, 0.488281, 0.488281])


def test_slices_that_lie_obliquely_are_sorted_along_their_normal(series: Series) -> None:
    """No axis of the patient decides: here y falls while the slices go on, 5 mm apart."""
    places = [3, 0, 4, 1, 2]

    def turn(number: int, piece: pydicom.Dataset) -> None:
        piece.ImageOrientationPatient = [0.6, 0.8, 0, 0, 0, 1]  # the normal is (0.8, -0.6, 0)
        piece.ImagePositionPatient = [4 * places[number], 7 - 3 * places[number], 7]

    folder = series(turn)
    volume, spacing = read_series(folder)
    for place, piece in zip(places, stored(folder), strict=True):
        assert np.array_equal(volume[place], piece.pixel_array.astype(np.float32) - 1024)
    assert spacing[0] == 5


def test_every_slice_has_a_scale_of_its_own(series: Series) -> None:
    """As in PET, where the slope differs from slice to slice."""

    def scale(number: int, piece: pydicom.Dataset) -> None:
        piece.RescaleSlope, piece.RescaleIntercept = 0.5 + number, -number

    folder = series(scale)
    volume, _ = read_series(folder)
    for number, piece in enumerate(stored(folder)):  # the files go downwards
        expected = piece.pixel_array.astype(np.float32) * (0.5 + number) - number
        assert np.array_equal(volume[4 - number], expected)


def test_without_positions_the_slices_are_in_the_order_of_their_numbers(series: Series) -> None:
    """The distance is then the header's; files that are no pictures do not matter."""

    def strip(number: int, piece: pydicom.Dataset) -> None:
        del piece.ImagePositionPatient
        piece.InstanceNumber = 9 - number

    folder = series(strip)
    (folder / "README").write_text("no picture")
    volume, spacing = read_series(folder)
    assert np.array_equal(volume, read_series(CT).volume)
    assert spacing[0] == 2.5


def another_series(number: int, piece: pydicom.Dataset) -> None:
    if number == 2:
        piece.SeriesInstanceUID = "1.2.3"


def another_shape(number: int, piece: pydicom.Dataset) -> None:
    if number == 2:
        piece.Rows, piece.Columns = 8, 32


def another_spacing(number: int, piece: pydicom.Dataset) -> None:
    if number == 2:
        piece.PixelSpacing = [1, 1]


def another_direction(number: int, piece: pydicom.Dataset) -> None:
    if number == 2:
        piece.ImageOrientationPatient = [0, 1, 0, 0, 0, 1]


def one_missing(number: int, piece: pydicom.Dataset) -> None:
    if number >= 3:
        piece.ImagePositionPatient[2] -= 2.5


def one_twice(number: int, piece: pydicom.Dataset) -> None:
    if number == 3:
        piece.ImagePositionPatient[2] += 2.5


def no_order(number: int, piece: pydicom.Dataset) -> None:
    del piece.ImagePositionPatient, piece.InstanceNumber


def no_pictures(number: int, piece: pydicom.Dataset) -> None:
    del piece.PixelData


def no_spacing(number: int, piece: pydicom.Dataset) -> None:
    del piece.PixelSpacing


def many_frames(number: int, piece: pydicom.Dataset) -> None:
    piece.NumberOfFrames = 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (another_series, "slices of 2 series: 1.2.3, 1.3.6"),
        (another_shape, "slices of 2 shapes: 16 x 16, 8 x 32"),
        (another_spacing, "slices of 2 pixel spacings"),
        (another_direction, "not parallel"),
        (one_missing, "2.5 to 5 mm apart: some are missing"),
        (one_twice, "0 to 5 mm apart: some are missing, or there twice"),
        (no_order, "cannot be put in order"),
        (no_pictures, "no DICOM file with a picture"),
        (no_spacing, "without PixelSpacing"),
        (many_frames, "2 slices in a file"),
    ],
)
def test_what_is_no_volume_is_refused(series: Series, change: Change, words: str) -> None:
    """In one sentence that names the folder and what is wrong with it."""
    folder = series(change)
    with pytest.raises(SeriesError, match=words) as caught:
        read_series(folder)
    assert str(folder) in str(caught.value)


def test_a_folder_of_two_real_series_is_refused() -> None:
    """A scanner's folder with three plane pictures of each of two series is not mixed together."""
    with pytest.raises(SeriesError, match="slices of 3 series"):
        read_series(SCANS / "98892003" / "MR2")


def test_patches_are_inside_the_volume_and_equal_to_it() -> None:
    """At the position that they name and with the flips that they name, to the bit."""
    volume = np.arange(9 * 8 * 7, dtype=np.float32).reshape(9, 8, 7)
    volume.flags.writeable = False  # as it is in shared memory
    patches = list(random_patches(np.random.default_rng(1), volume, size=(4, 3, 7), count=200))
    for element in patches:
        patch, position, flipped = element["patch"], element["position"], element["flipped"]
        assert (patch.shape, patch.dtype) == ((4, 3, 7), np.float32)
        assert (position.shape, position.dtype) == ((3,), np.int32)
        assert (flipped.shape, flipped.dtype) == ((3,), np.bool_)
        x, y, z = position
        assert min(position) >= 0
        found = volume[x : x + 4, y : y + 3, z : z + 7]
        assert np.array_equal(np.flip(patch, np.flatnonzero(flipped)), found)
        assert patch.flags.writeable
        assert patch.flags.c_contiguous
    assert {tuple(element["position"]) for element in patches} == {
        (x, y, 0) for x in range(6) for y in range(6)
    }
    assert len({tuple(element["flipped"]) for element in patches}) == 8


def test_the_same_seed_cuts_the_same_patches() -> None:
    """And another seed others."""
    volume = np.random.default_rng(0).random((9, 9, 9), dtype=np.float32)

    def cut(seed: int) -> list[bytes]:
        rng = np.random.default_rng(seed)
        return [p["patch"].tobytes() for p in random_patches(rng, volume, size=(4, 4, 4), count=9)]

    assert cut(1) == cut(1) != cut(2)


@pytest.mark.parametrize("size", [(10, 4, 4), (4, 4, 10)])
def test_a_patch_larger_than_the_volume_is_refused(size: tuple[int, int, int]) -> None:
    """In a sentence with both shapes."""
    volume = np.zeros((9, 9, 9), np.float32)
    with pytest.raises(ValueError, match=r"does not fit into a volume of \(9, 9, 9\)"):
        next(random_patches(np.random.default_rng(1), volume, size=size, count=1))


# The shuffle buffer.


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "shuffled"]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """After every test."""
    yield
    assert threads() == []


class Source:
    """Elements of given sizes in bytes, 8 of them a number; knows how much is under way."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.made = self.drawn = self.most = 0  # bytes
        self.closed_by: threading.Thread | None = None

    def __iter__(self) -> Iterator[tuple[int, Any]]:
        try:
            for number, size in enumerate(self.sizes):
                self.made += size
                self.most = max(self.most, self.made - self.drawn)
                yield number, np.zeros(size - 8, np.uint8)
        finally:
            self.closed_by = threading.current_thread()

    def drawn_from(self, nbytes: int) -> list[int]:
        """The numbers of all elements, through a buffer of so many bytes."""
        numbers = []
        for number, array in shuffled(self, nbytes=nbytes, rng=rng()):
            self.drawn += 8 + array.nbytes
            numbers.append(number)
        return numbers


def slowly(source: Iterable[Any]) -> Iterator[Any]:
    """The same, after some work for each element."""
    for element in source:
        sum(range(10_000))
        yield element


def as_arrays(numbers: Iterator[int] | range) -> Iterator[Any]:
    return (np.array(number) for number in numbers)  # 8 bytes each


def test_every_element_comes_once_and_in_another_order() -> None:
    """Near the source's order at first, since only what is in the buffer can be drawn."""
    drawn = [int(e) for e in shuffled(as_arrays(range(1000)), nbytes=1600, rng=rng())]
    assert sorted(drawn) == list(range(1000))
    assert drawn != sorted(drawn)
    assert drawn[0] < 100  # of 200 elements half are the pool
    assert all(number < at + 100 for at, number in enumerate(drawn))


def test_everything_fits_into_a_large_buffer() -> None:
    """Then every order of the whole is possible, and a source without elements has none."""
    drawn = [int(e) for e in shuffled(as_arrays(range(100)), nbytes=1 << 20, rng=rng())]
    assert sorted(drawn) == list(range(100))
    assert max(drawn[:20]) > 60
    assert list(shuffled([], nbytes=8, rng=rng())) == []


def test_the_draw_is_uniform() -> None:
    """Of 8 elements in the pool each is the first one about as often."""
    firsts = []
    for seed in range(400):
        drawing = shuffled(as_arrays(range(8)), nbytes=1 << 10, rng=rng(seed))
        firsts.append(int(next(drawing)))
        drawing.close()
    assert np.bincount(firsts, minlength=8).min() > 25  # 50 expected


@pytest.mark.parametrize("size", [8, 100, 333, 1000])
def test_never_more_bytes_than_allowed(size: int) -> None:
    """Made and not drawn yet, at any time, and close to it: the buffer is used."""
    source = Source([size] * 300)
    assert sorted(source.drawn_from(1000)) == list(range(300))
    # An element that is drawn has left the buffer a moment before the count here knows it.
    assert 1000 - size < source.most <= 1000 + size


@pytest.mark.parametrize("size", [8, 100, 333, 1000])
def test_the_buffer_is_filled_to_the_cap_and_not_beyond(size: int) -> None:
    """Exactly, before the first draw, and however slow the source: as many elements as fit."""

    class Witness:
        """An rng that notes how much there is when the first draw is made."""

        made = 0

        def spawn(self, _number: int) -> list[Witness]:
            return [self]

        def integers(self, _number: int) -> int:
            self.made = self.made or source.made
            return 0

    source, witness = Source([size] * 300), Witness()
    assert len(list(shuffled(slowly(source), nbytes=1000, rng=witness))) == 300
    assert witness.made == 1000 // size * size


def test_sizes_that_differ_stay_below_the_cap_but_for_a_record() -> None:
    """Only an element that is larger than all before it goes beyond, by its own size."""
    sizes = [int(size) for size in np.random.default_rng(2).integers(8, 400, size=500)]
    for first in (400, 8):
        source = Source([first, *sizes])
        assert sorted(source.drawn_from(1000)) == list(range(501))
        assert source.most <= 1000 + 400


@pytest.mark.parametrize("sizes", [[5000] * 5, [8, 5000, 8, 5000, 5000], [8] * 9])
def test_one_element_always_fits(sizes: list[int]) -> None:
    """However large it is, and however small the buffer."""
    source = Source(sizes)
    assert sorted(source.drawn_from(10)) == list(range(len(sizes)))
    assert source.most <= 2 * max(sizes)  # one is here already, as above


def test_elements_without_bytes_are_bounded_too() -> None:
    """Each counts as one byte, so an endless source of empty arrays is read no further."""
    made = count()
    drawing = shuffled((np.zeros(next(made) * 0) for _ in range(10_000)), nbytes=50, rng=rng())
    assert len(list(islice(drawing, 200))) == 200
    drawing.close()
    assert next(made) <= 250


def test_a_seed_gives_the_same_order_in_every_run() -> None:
    """Whichever thread is faster: once the source waits for each draw, once it is far ahead."""
    sizes = [int(size) for size in np.random.default_rng(3).integers(8, 60, size=300)]

    def order(source: Any, seed: int, late: bool) -> list[int]:
        numbers = []
        for number, _ in shuffled(source, nbytes=500, rng=rng(seed)):
            sum(range(10_000 if late else 0))
            numbers.append(number)
        return numbers

    expected = order(Source(sizes), 5, late=False)
    assert order(slowly(Source(sizes)), 5, late=False) == expected
    assert order(Source(sizes), 5, late=True) == expected
    assert order(Source(sizes), 6, late=False) != expected


def test_the_source_may_use_the_same_rng() -> None:
    """The draws come from a child of it, so neither thread changes what the other gets."""

    def run() -> list[float]:
        mine = rng(7)
        return [
            float(e) for e in shuffled((mine.random() for _ in range(200)), nbytes=200, rng=mine)
        ]

    assert run() == run()
    assert sorted(run()) == sorted(rng(7).random(200))


def test_an_exception_of_the_source_comes_after_its_elements() -> None:
    """Itself, with the traceback of the line that raised it."""

    def source() -> Iterator[Any]:
        yield from as_arrays(range(50))
        raise OSError("the disk is gone")

    drawn: list[int] = []
    with pytest.raises(OSError, match="the disk is gone") as caught:
        drawn.extend(map(int, shuffled(source(), nbytes=160, rng=rng())))  # keeps what came
    assert sorted(drawn) == list(range(50))
    assert caught.traceback[-1].name == "source"


def test_an_exception_keeps_no_elements() -> None:
    """Once it was handled, nothing of the source lives on until a collector comes by."""

    class Marked:
        """Something that can be referred to weakly."""

    def source(marked: Marked) -> Iterator[Any]:
        yield 1
        raise OSError(str(marked))

    marked = Marked()
    seen = weakref.ref(marked)
    gc.disable()
    try:
        with pytest.raises(OSError, match="Marked"):
            list(shuffled(source(marked), nbytes=100, rng=rng()))
        del marked
        assert seen() is None
    finally:
        gc.enable()


def test_a_drawn_element_is_not_kept() -> None:
    """While the source makes the next one, those that were drawn and dropped are gone."""
    go_on = threading.Event()

    def source() -> Iterator[Any]:
        yield np.zeros(100, np.uint8)
        assert go_on.wait(PATIENCE)
        yield np.zeros(100, np.uint8)

    drawing = shuffled(source(), nbytes=100, rng=rng())
    seen = weakref.ref(next(drawing))
    assert seen() is None
    go_on.set()
    assert len(list(drawing)) == 1


@pytest.mark.parametrize("taken", [1, 30])
def test_closing_ends_the_thread_and_the_source(taken: int) -> None:
    """An endless source is closed in the thread that read it, before `close` returns."""
    source = Source([8] * 10_000_000)
    drawing = shuffled(iter(source), nbytes=80, rng=rng())
    assert len(list(islice(drawing, taken))) == taken
    (thread,) = threads()
    drawing.close()
    assert not thread.is_alive()
    assert source.closed_by is thread


def test_closing_waits_for_the_element_in_work() -> None:
    """The source is in the middle of one: `close` returns when it is made, and no other begins."""
    begun, go_on, made = threading.Event(), threading.Event(), []

    def source() -> Iterator[Any]:
        yield from as_arrays(range(20))
        begun.set()
        assert go_on.wait(PATIENCE)
        made.append("slow")
        yield np.array(20)
        made.append("another")

    drawing = shuffled(source(), nbytes=160, rng=rng())
    next(drawing)
    assert begun.wait(PATIENCE)
    closing = threading.Thread(target=drawing.close)
    closing.start()
    go_on.set()
    closing.join(PATIENCE)
    assert not closing.is_alive()
    assert made == ["slow"]


def test_a_source_that_does_not_return_cannot_hold_the_closing_for_ever() -> None:
    """After a bounded time it warns; the thread ends with its element."""
    begun, go_on = threading.Event(), threading.Event()

    def source() -> Iterator[Any]:
        yield from as_arrays(range(20))
        begun.set()
        assert go_on.wait(PATIENCE)

    drawing = shuffled(source(), nbytes=160, rng=rng())
    next(drawing)
    assert begun.wait(PATIENCE)
    (thread,) = threads()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("STOP_SECONDS", "TURN_SECONDS"):
            patch.setitem(drawing.gi_frame.f_globals, name, 0.05)
        with pytest.warns(RuntimeWarning, match="its thread ends after that"):
            drawing.close()
    go_on.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_nothing_starts_before_the_first_draw() -> None:
    """A generator that nobody reads has no thread, and wrong sizes are refused at once."""
    drawing = shuffled(as_arrays(range(9)), nbytes=80, rng=rng())
    assert threads() == []
    drawing.close()
    with pytest.raises(ValueError, match="nbytes must be 1 or more"):
        shuffled([], nbytes=0, rng=rng())


def test_the_payload_counts_arrays_at_any_depth() -> None:
    """Dicts, tuples and lists in each other; numbers as numpy has them."""
    array = np.zeros((3, 4), np.float32)
    assert payload(array) == 48
    assert payload({"a": array, "b": (array, [array, np.int16(1)])}) == 3 * 48 + 2
