"""What `genserver peek` shows: the table's lines, and the panels of a picture."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import replace
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from genserver.client.album import Album
from genserver.client.peek_page import WIDTH, Page, as_json, page
from genserver.client.picture import DPI, drawn, figure_of
from genserver.client.shades import PALETTE
from genserver.protocol.dtypes import TEXT
from genserver.protocol.rows import value_at
from genserver.protocol.spec import parse_spec
from genserver.protocol.text import width_of
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from ..support.strategies import Sample, samples


def looked(spec: str, *elements: list[Any]) -> tuple[Album, Page]:
    album = Album(parse_spec(spec), len(elements), pictures=True)
    for element in elements:
        album.add(element)
    return album, told(album)


def told(album: Album) -> Page:
    return Page(
        endpoint="tcp://127.0.0.1:5555", generator="scans:cubes", spec=album._spec, epoch=0,
        wanted=album.elements, elements=album.elements, seconds=1.0, why_fewer="",
        batched=album.batched, statistics=album.statistics, warnings=album.warnings(),
    )  # fmt: skip


def panels(figure: Figure, kind: str) -> list[str]:
    return [str(a.get_label()) for a in figure.axes if str(a.get_label()).startswith(kind)]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def scans(*, marked: bool = True) -> list[list[Any]]:
    """Two dim images, each with a box in its mask, and a label."""
    found = []
    for number in range(2):
        mask = np.zeros((40, 60), np.uint8)
        mask[10:30, 20:40] = marked
        image = np.full((40, 60, 1), 0.1, np.float32)
        image[:, :5] = number + np.arange(40)[:, None, None] / 50
        found.append([image, np.int64(7 + number), mask])
    return found


SPEC = "{image: float32[40,60,1], label: int64[], mask: uint8[40,60]}"


def test_a_picture_has_a_column_for_each_element_and_a_plot_for_each_array() -> None:
    """The image alone and with its mask; labels stand above, classes below."""
    figure = figure_of(*looked(SPEC, *scans()))
    assert panels(figure, "picture") == [f"picture 0 {r} {c}" for r in range(2) for c in range(2)]
    assert len(panels(figure, "plot")) == 3
    (legend,) = [a.get_legend() for a in figure.axes if a.get_legend() is not None]
    assert [text.get_text() for text in legend.get_texts()] == ["mask:", "1"]
    assert {"element 0", "element 1", "label 7", "label 8", "image", "with the mask"} <= {
        *texts(figure)
    }


def test_a_volume_has_a_row_for_each_cut() -> None:
    """Three across its axes; one more without the mask."""
    volume = np.random.default_rng(1).random((16, 16, 16), np.float32)
    album = looked("(float32[16,16,16], bool[16,16,16])", [volume, volume > 0.9])
    figure = figure_of(*album)
    assert len(panels(figure, "picture")) == 4
    assert {"across axis 0", "across axis 1", "across axis 2"} <= {*texts(figure)}


def test_a_file_shows_the_mask_in_its_colour_where_it_is() -> None:
    """Decoded again: grey beside the box, the class's colour over the grey within it."""
    album, page_ = looked(SPEC, *scans())
    figure = figure_of(album, page_)
    pixels = matplotlib.image.imread(io.BytesIO(drawn(album, page_, "png")))
    (axes,) = [a for a in figure.axes if a.get_label() == "picture 0 1 0"]
    box = axes.get_position()
    height, width = pixels.shape[:2]
    assert (height, width) == pytest.approx(
        [side * DPI for side in figure.get_size_inches()[::-1]], abs=1
    )

    def at(x: float, y: float) -> Any:
        """A pixel, by its place in the image from the upper left, both from 0 to 1."""
        column = (box.x0 + x * box.width) * width
        row = (1 - box.y1 + y * box.height) * height
        return pixels[int(row), int(column), :3]

    grey = at(0.9, 0.9)
    assert np.ptp(grey) < 0.02
    colour = np.array([int(PALETTE[0][k : k + 2], 16) / 255 for k in (1, 3, 5)])
    mixed = at(0.5, 0.5)
    share = (mixed - grey) @ (colour - grey) / ((colour - grey) @ (colour - grey))
    assert 0.3 < share < 0.6
    assert mixed == pytest.approx(grey + share * (colour - grey), abs=0.02)


@pytest.mark.parametrize(
    ("kind", "begins"),
    [("png", b"\x89PNG"), ("jpg", b"\xff\xd8"), ("svg", b"<?xml"), ("pdf", b"%PDF")],
)
def test_each_kind_of_file_is_one(kind: str, begins: bytes) -> None:
    """By its first bytes."""
    assert drawn(*looked("float32[9,9]", [np.eye(9)]), kind).startswith(begins)


@settings(max_examples=12)
@given(samples())
def test_anything_that_can_be_served_can_be_drawn_and_told(sample: Sample) -> None:
    """Of any structure, dtype and bit pattern; lines fit the terminal, JSON is JSON."""
    album = Album(sample.spec, len(sample.rows), pictures=True)
    leaves = [leaf for _, leaf in sample.spec.leaves()]
    for row in sample.rows:
        album.add([
            value_at(type(value)((1, *value.shape), value.items), 0, leaf)
            if leaf.dtype in TEXT else value
            for value, leaf in zip(row, leaves, strict=True)
        ])  # fmt: skip
    page_ = told(album)
    assert all(width_of(line) <= WIDTH for line in page(page_))
    assert len(json.loads(as_json(page_, None))["arrays"]) == len(leaves)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as `drawn` does: letters that the font lacks
        assert len(panels(figure_of(album, page_), "plot")) == min(12, len(leaves))


@pytest.mark.parametrize(
    "value", [0.0, 1e308, -1e308, 5e-324, 1.0, np.inf, np.nan], ids=lambda value: str(value)
)
def test_extreme_images_are_drawn(value: float) -> None:
    """All equal, or the largest and smallest that floats have beside each other."""
    image = np.full((9, 9), value)
    image[0, 0] = -value
    assert drawn(*looked("float64[9,9]", [image], [image + 0]), "png").startswith(b"\x89PNG")


def test_names_of_others_are_text_and_no_formulas() -> None:
    """Dollar signs, backslashes and line ends in a dict's key; a letter that no font has."""
    spec = r"{'$\frac$': float32[9,9], '漢\n': int64[]}"
    assert drawn(*looked(spec, [np.eye(9), np.int64(1)]), "png").startswith(b"\x89PNG")


def test_the_table_has_a_line_for_each_array_and_its_warnings_below() -> None:
    """Aligned, with the classes of a mask."""
    _, page_ = looked(SPEC, *scans(marked=False))
    lines = page(page_)
    assert lines[:2] == ["tcp://127.0.0.1:5555  scans:cubes", "2 elements of epoch 0, in 1.0 s"]
    assert [line.split()[:3] for line in lines[4:7]] == [
        ["image", "float32", "40x60x1"], ["label", "int64", "-"], ["mask", "uint8", "40x60"],
    ]  # fmt: skip
    assert lines[8] == "! mask: all zero"
    assert (
        len({line.index(word) for line, word in zip(lines[4:7], ("fl", "in", "ui"), strict=True)})
        == 1
    )


def test_hundreds_of_arrays_are_cut_off_for_a_terminal_only() -> None:
    """JSON has them all."""
    spec = "(" + ", ".join(["float32[]"] * 100) + ")"
    _, page_ = looked(spec, [np.float32(1)] * 100)
    lines = page(page_)
    assert "and 60 arrays more (--json has all)" in lines
    assert len(json.loads(as_json(page_, None))["arrays"]) == 100
    assert len(page(replace(page_, warnings=()))) < 60


@given(st.text(min_size=1, max_size=60))
def test_a_name_that_is_odd_breaks_no_line(name: str) -> None:
    """Neither the width nor the terminal."""
    spec = parse_spec("float32[2]")
    album = Album(spec, 1, pictures=False)
    album.add([np.zeros(2)])
    (one,) = album.statistics
    odd = replace(told(album), statistics=[replace(one, path=f"element[{name!r}][{name!r}]")])
    for line in page(odd):
        assert line.isprintable()
        assert width_of(line) <= WIDTH
