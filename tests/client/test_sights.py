"""What of an element is a picture, what is drawn over what, and where volumes are cut: a table."""

from __future__ import annotations

import numpy as np
import pytest
from genserver.client.album import Album, short
from genserver.client.samples import Array
from genserver.client.shades import overlay, range_of, shaded
from genserver.client.sights import (
    Facts,
    Form,
    Group,
    cuts_of,
    facts_of,
    form_of,
    grouped,
    is_batched,
)
from genserver.protocol.spec import parse_spec


@pytest.mark.parametrize(
    ("shape", "form"),
    [
        ((), None), ((100,), None), ((4, 4), None), ((0, 64), None), ((8, 1000), None),
        ((28, 28), Form(2)), ((8, 8), Form(2)), ((28, 28, 1), Form(2, "last")),
        ((64, 48, 3), Form(2, "last")), ((64, 48, 4), Form(2, "last")),
        ((3, 64, 48), Form(2, "first")), ((1, 64, 48), Form(2, "first")),
        ((5, 64, 64), Form(3)), ((64, 64, 2), Form(3)), ((32, 32, 32), Form(3)),
        ((2, 3, 4), None), ((32, 32, 32, 1), Form(3, "last")),
        ((1, 32, 32, 32), Form(3, "first")),
        ((16, 64, 64, 3), Form(3, "last")), ((1, 64, 64, 3), Form(2, "last", 1)),
        ((7, 20, 32, 32, 1), Form(3, "last", 1)), ((9, 9, 2, 2, 2), None),
    ],
)  # fmt: skip
def test_a_shape_says_whether_it_is_a_picture(shape: tuple[int, ...], form: Form | None) -> None:
    """Sides of 8 at least, channels where nothing else can be meant."""
    assert form_of(shape) == form


FLOAT, LABEL = Facts("float32", (64, 64)), Facts("uint8", (64, 64), 3)


@pytest.mark.parametrize(
    ("facts", "groups", "others"),
    [
        ([FLOAT, LABEL], [(0, (1,))], []),
        ([LABEL, FLOAT], [(1, (0,))], []),
        ([Facts("float32", (64, 64), 1), LABEL], [(0, (1,))], []),  # an image that is all zero
        ([Facts("uint8", (64, 64), 1), LABEL], [(0, (1,))], []),
        ([Facts("uint8", (64, 64, 3), 1), LABEL], [(0, (1,))], []),
        ([FLOAT, Facts("float32", (64, 64), 2)], [(0, (1,))], []),
        ([FLOAT, Facts("float32", (64, 64, 5), 2, one_hot=True)], [(0, (1,))], []),
        ([FLOAT, Facts("bool", (64, 64), 2), LABEL], [(0, (1, 2))], []),
        ([FLOAT, FLOAT], [(0, ()), (1, ())], []),
        ([FLOAT, Facts("uint8", (32, 32), 3)], [(0, ()), (None, (1,))], []),
        ([LABEL], [(None, (0,))], []),
        ([Facts("float32", (64, 64), 1)], [(0, ())], []),
        ([Facts("bool", (64, 64), 1)], [(None, (0,))], []),
        ([Facts("float32", (32, 32, 32, 1)), Facts("uint8", (32, 32, 32), 3)], [(0, (1,))], []),
        ([Facts("int64", ()), FLOAT, Facts("str", (9, 9))], [(1, ())], [0, 2]),
    ],
)  # fmt: skip
def test_masks_go_over_the_image_of_their_size(
    facts: list[Facts], groups: list[tuple[int | None, tuple[int, ...]]], others: list[int]
) -> None:
    """Integers of few values, bools and one-hot classes, over a float image or the first one."""
    found, rest = grouped(facts)
    assert [(group.base, group.masks) for group in found] == groups
    assert rest == others


@pytest.mark.parametrize(
    ("value", "facts"),
    [
        (np.zeros((9, 9)), Facts("float64", (9, 9), 1)),
        (np.arange(81.0).reshape(9, 9), Facts("float64", (9, 9))),
        (np.arange(81).reshape(9, 9) % 5, Facts("int64", (9, 9), 5)),
        (np.full((9, 9), np.nan), Facts("float64", (9, 9), 1)),
        (np.eye(4)[np.ones((9, 9), int)], Facts("float64", (9, 9, 4), 2, one_hot=True)),
        (np.ones((9, 9, 2)), Facts("float64", (9, 9, 2), 1)),
    ],
)
def test_the_values_of_one_element_are_looked_at(value: Array, facts: Facts) -> None:
    """How many there are where they are few, and whether they are classes in channels."""
    assert facts_of(str(value.dtype), value) == facts


@pytest.mark.parametrize(
    ("spec", "shapes", "batched"),
    [
        ("(float32[16,28,28,1], int64[16])", [(16, 28, 28, 1), (16,)], True),
        ("(float32[None,28,28,1], int64[None])", [(5, 28, 28, 1), (5,)], True),
        ("float32[None,28,28,1]", [(5, 28, 28, 1)], True),
        ("float32[None,64]", [(20, 64)], False),
        ("(float32[32,32,32,1], uint8[32,32,32])", [(32, 32, 32, 1), (32, 32, 32)], False),
        ("(float32[32,32,32], int64[32])", [(32, 32, 32), (32,)], False),  # it may be a profile
        ("(float32[16,28,28,1], int64[])", [(16, 28, 28, 1), ()], False),
        ("(float32[16,8,8], int64[4])", [(16, 8, 8), (4,)], False),
        ("()", [], False),
    ],
)
def test_batches_are_known_by_their_labels_or_a_free_size(
    spec: str, shapes: list[tuple[int, ...]], batched: bool
) -> None:
    """What is not sure is an element."""
    assert is_batched(parse_spec(spec), shapes) == batched


def test_a_volume_is_cut_where_its_mask_is() -> None:
    """Across each axis in the plane that has most of it, the middle one if nothing is marked."""
    volume, mask = np.zeros((20, 24, 28), np.float32), np.zeros((20, 24, 28), np.uint8)
    facts = [Facts("float32", volume.shape), Facts("uint8", mask.shape, 2)]
    group = Group(0, (1,), Form(3))
    cuts = cuts_of(group, facts, [volume, mask])
    assert [(cut.axis, cut.at) for cut in cuts] == [(0, 10), (1, 12), (2, 14)]
    mask[3, 17:19, 20:26] = 1
    cuts = cuts_of(group, facts, [volume, mask])
    assert [cut.axis for cut in cuts] == [0, 1, 2]
    assert cuts[0].at == 3
    assert cuts[1].at in (17, 18)
    assert cuts[0].masks[0] is not None
    assert cuts[0].masks[0].sum() == 12


def test_a_flat_volume_is_cut_three_times_across_its_short_axis() -> None:
    """The middle cut shows the mask."""
    volume, mask = np.zeros((40, 64, 9)), np.zeros((40, 64, 9), bool)
    mask[9:12, 9:12, 6] = True
    facts = [Facts("float64", volume.shape, 1), Facts("bool", mask.shape, 2)]
    cuts = cuts_of(Group(0, (1,), Form(3)), facts, [volume, mask])
    assert [cut.axis for cut in cuts] == [2, 2, 2]
    assert cuts[1].at == 6
    assert cuts[0].at < 6 < cuts[2].at < 9


def test_what_is_cut_is_a_small_copy() -> None:
    """A picture keeps no element, and no more pixels than it can show."""
    image = np.zeros((1000, 2000, 3), np.uint8)
    (cut,) = cuts_of(Group(0, (), Form(2, "last")), [Facts("uint8", image.shape)], [image])
    assert cut.image is not None
    assert max(cut.image.shape) <= 384
    assert not np.shares_memory(cut.image, image)


def test_greys_are_the_same_for_all_and_what_is_no_number_glares() -> None:
    """One range for all elements, infinity aside; outliers do not make everything black."""
    images = [np.array([[0.0, 1.0]]), np.array([[np.nan, 3.0], [np.inf, 0.0]])]
    assert range_of(images) == (0.0, 3.0)
    drawn = shaded(images[1], 0.0, 3.0)
    assert drawn[0, 0].tolist() == drawn[1, 0].tolist() == [1.0, 0.0, 1.0]
    assert drawn[0, 1].tolist() == [1.0, 1.0, 1.0]
    dim = np.random.default_rng(1).random((100, 100))
    dim[5, 5] = 1e9
    assert range_of([dim])[1] < 1.1
    assert shaded(np.full((2, 2), 7.0), 7.0, 7.0)[0, 0].tolist() == [0.5, 0.5, 0.5]


def test_each_class_has_its_colour_and_zero_has_none() -> None:
    """So that what lies below is seen."""
    drawn = overlay(np.array([[0, 2]]), [(1.0, "#000000"), (2.0, "#ff0000")], 0.5)
    assert drawn[0].tolist() == [[0.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.5]]


def looked(spec: str, *elements: list[object]) -> Album:
    album = Album(parse_spec(spec), len(elements), pictures=True)
    for element in elements:
        album.add(element)
    return album


NOISE = np.random.default_rng(1).random((64, 64), np.float32)


@pytest.mark.parametrize(
    ("spec", "elements", "kind"),
    [
        ("float32[64,64]", [np.zeros((64, 64))] * 2, "all_zero"),
        ("int64[]", [np.int64(3)] * 3, "constant"),
        ("float32[64,64]", [NOISE] * 3, "repeated"),
        ("float32[64,64]", [NOISE, NOISE, NOISE + 1], "repeated"),
        ("float32[None,64]", [NOISE, NOISE[:0], NOISE], "repeated"),
        ("float32[64,64]", [NOISE * 255], "not_normalised"),
        ("float32[2]", [np.array([1, np.nan])], "nan"),
        ("float32[2]", [np.array([1, np.inf])], "inf"),
        ("float32[0]", [np.zeros(0)], "empty"),
        ("str[]", ["", ""], "empty_texts"),
        ("float32[3,64,64]", [np.stack([NOISE] * 3)], "channels_first"),
    ],
)  # fmt: skip
def test_the_usual_bugs_are_named(spec: str, elements: list[object], kind: str) -> None:
    """Each alone, and none of the others."""
    assert [w.kind for w in looked(spec, *([e] for e in elements)).warnings()] == [kind]


@pytest.mark.parametrize(
    ("spec", "elements"),
    [
        ("float32[64,64]", [NOISE, NOISE + 1]),
        ("uint8[64,64]", [(NOISE * 255).astype(np.uint8)]),  # pixels as they are stored
        ("(float32[64,64], uint8[64,64])", [[NOISE, NOISE > 2], [NOISE + 1, NOISE > 2],
                                            [NOISE + 2, NOISE > 0.5]]),  # some masks are empty
        ("int64[]", [np.int64(3)]),
        ("float32[100]", [np.arange(100)]),
        # Two without any crop are no repetition.
        ("float32[None,64,64]", [NOISE[None], NOISE[:0, None], NOISE[None] + 1, NOISE[:0, None]]),
    ],
)  # fmt: skip
def test_what_is_well_is_not_warned_of(spec: str, elements: list[object]) -> None:
    """A warning that is often wrong is not read."""
    rows = [e if isinstance(e, list) else [e] for e in elements]
    assert looked(spec, *rows).warnings() == []


def test_batches_are_drawn_row_by_row() -> None:
    """With the label of each above it."""
    album = looked("(float32[4,28,28], int64[4])", [np.zeros((4, 28, 28)), np.arange(4)])
    assert [column.title for column in album.columns][:2] == ["batch 0, row 0", "batch 0, row 1"]
    assert [column.values for column in album.columns] == [(f"[1] {n}",) for n in range(4)]


def test_elements_of_other_sizes_than_the_first_are_drawn_or_left_out() -> None:
    """A free dimension may be anything, 0 too."""
    spec = "(float32[16,None], uint8[16,None])"
    album = looked(spec, *([np.ones((16, n)), np.ones((16, n), np.uint8)] for n in (20, 0, 9)))
    assert [len(column.cuts[0]) for column in album.columns] == [1, 0, 1]


@pytest.mark.parametrize(
    ("spec", "shapes", "cuts"),
    [
        # Several to an element, of which the first is drawn: one has none.
        ("(float32[None,64,64,3], int64[])", [(1, 64, 64, 3), (3, 64, 64, 3), (0, 64, 64, 3)],
         [1, 1, 0]),
        ("(float32[64,64,None], int64[])", [(64, 64, 3), (64, 64, 0)], [1, 0]),  # no channel
        ("(bool[None,64,64], int64[])", [(1, 64, 64), (5, 64, 64), (1, 64, 64)], [1, 0, 1]),
        ("(bool[None,64,64], int64[])", [(5, 64, 64), (1, 64, 64), (0, 64, 64)], [3, 0, 0]),
    ],
)  # fmt: skip
def test_an_element_whose_size_makes_no_picture_of_that_form_is_left_out(
    spec: str, shapes: list[tuple[int, ...]], cuts: list[int]
) -> None:
    """Nothing is drawn of it, rather than something that cannot be."""
    album = looked(spec, *([np.ones(shape), np.int64(7)] for shape in shapes))
    assert [len(column.cuts[0]) for column in album.columns] == cuts


def test_an_empty_mask_leaves_its_image() -> None:
    """Also one that has a channel for each class, and none here."""
    classes = np.eye(4, dtype=np.uint8)[np.arange(256).reshape(16, 16) % 4]
    image = np.arange(256).reshape(16, 16)
    album = looked(
        "(float32[16,16], uint8[16,16,None])", [image, classes], [image, classes[..., :0]]
    )
    assert [[[mask is None for mask in cut.masks] for cut in column.cuts[0]]
            for column in album.columns] == [[[False]], [[True]]]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "name"),
    [("element", "element"), ("element[0]", "[0]"), ("element['x']", "x"), ("element.x", "x"),
     ("element['a b']", "['a b']"), ("element[0]['x']", "[0]['x']")],
)  # fmt: skip
def test_paths_are_short_where_that_is_clear(path: str, name: str) -> None:
    """A plain key or field stands alone."""
    assert short(path) == name
