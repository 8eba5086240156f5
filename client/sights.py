"""Which arrays of an element are pictures, which are masks over which, and what is cut of them.

Decides by shapes and by the values of one element, and names nothing that is not sure. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from genserver.protocol.dtypes import TEXT
from genserver.protocol.spec import ElementSpec

from .samples import LABELS, Array, blocks, is_integer

__all__ = [
    "Cut", "Facts", "Form", "Group", "cuts_of", "facts_of", "form_of", "grouped", "is_batched",
]  # fmt: skip

#: Least side of a picture; what is smaller is a table of numbers.
SIDE = 8
#: A picture is not so many times as long as it is wide.
ASPECT = 32
#: As many distinct floats make a mask.
FLOAT_LABELS = 8
#: Most channels of a mask that has one channel for each class.
CLASSES = 32
#: Most pixels along a side of what is cut; larger ones are thinned out.
PIXELS = 384
#: A plane with so much of the mask of the fullest one shows it as well.
NEARLY = 0.75


@dataclass(frozen=True, slots=True)
class Form:
    """An array as a picture. Its axes: ``skip`` leading ones of which the first entry is taken,
    maybe the channels, two or three of space, maybe the channels."""

    #: 2 for an image, 3 for a volume.
    space: int
    #: "first", "last" or "".
    channels: str = ""
    skip: int = 0

    def spatial(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The sizes in space of an array of that form."""
        begin = self.skip + (self.channels == "first")
        return tuple(shape[begin : begin + self.space])


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one array of one element."""

    dtype: str
    shape: tuple[int, ...]
    #: How many different values there are in it, or None for many.
    distinct: int | None = None
    #: Whether its last axis has a 1 in one place and 0 in all others.
    one_hot: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Arrays that are drawn over each other, by their numbers in the element."""

    #: The image or volume; None for masks alone.
    base: int | None
    masks: tuple[int, ...]
    form: Form

    @property
    def first(self) -> int:
        """The array that says where it is cut."""
        return self.masks[0] if self.base is None else self.base


@dataclass(frozen=True, slots=True)
class Cut:
    """Two dimensions of a group in one element: what is drawn."""

    #: Which axis of space was cut, and where; -1 for an image.
    axis: int
    at: int
    #: (height, width), or with three colours; None for masks alone.
    image: Array | None
    masks: tuple[Array | None, ...]


def form_of(shape: Sequence[int], skip: int = 0) -> Form | None:
    """The form of an array that can be drawn as a picture, by its shape alone; else None."""
    own = tuple(shape[skip:])
    if len(own) < 2 or 0 in own:
        return None
    if len(own) == 2:
        return Form(2, "", skip) if _is_plane(own) else None
    if len(own) == 3:
        if own[2] in (1, 3, 4) and _is_plane(own[:2]):
            return Form(2, "last", skip)
        if own[0] in (1, 3) and _is_plane(own[1:]):
            return Form(2, "first", skip)
        return Form(3, "", skip) if _is_space(own) else None
    if len(own) == 4:
        if own[3] <= 4 and _is_space(own[:3]):
            return Form(3, "last", skip)
        if own[0] <= 4 < own[3] and _is_space(own[1:]):
            return Form(3, "first", skip)
    return form_of(shape, skip + 1)


def _is_plane(sides: Sequence[int]) -> bool:
    return min(sides) >= SIDE and max(sides) <= ASPECT * min(sides)


def _is_space(sides: Sequence[int]) -> bool:
    small, *large = sorted(sides)
    return small >= 2 and _is_plane(large)


def facts_of(dtype: str, value: Array) -> Facts:
    """Of one array of one element. Stops to look when it knows."""
    if dtype in TEXT or value.ndim < 2:
        return Facts(dtype, value.shape)
    with np.errstate(all="ignore"):  # NaN of bfloat16
        return _facts(dtype, value)


def _facts(dtype: str, value: Array) -> Facts:
    most = LABELS if is_integer(dtype) else FLOAT_LABELS
    found: Array = np.zeros(0)
    for block in blocks(value):
        numbers = np.abs(block) if block.dtype.kind == "c" else block
        if not is_integer(dtype):
            numbers = numbers.astype(np.float64)
        # Of most arrays the first few values tell.
        for part in (numbers[: 8 * LABELS], numbers):
            if part.min() == part.max():
                part = part[:1]  # nothing to sort
            found = np.union1d(found, np.unique(part))
            if len(found) > most:
                return Facts(dtype, value.shape)
    return Facts(dtype, value.shape, len(found), _is_one_hot(value, found))


def _is_one_hot(value: Array, found: Array) -> bool:
    if value.ndim < 3 or not 2 <= value.shape[-1] <= CLASSES or value.dtype.kind == "c":
        return False
    if found.tolist() != [0, 1]:
        return False
    return all((plane.astype(np.float32).sum(axis=-1) == 1).all() for plane in value)


def grouped(facts: Sequence[Facts]) -> tuple[list[Group], list[int]]:
    """What is drawn together, and the numbers of the arrays that are no pictures."""
    forms: dict[int, Form] = {}
    for number, fact in enumerate(facts):
        form = _mask_form(fact) if fact.one_hot else form_of(fact.shape)
        if form is not None and fact.dtype not in TEXT:
            forms[number] = form
    places: dict[tuple[int, ...], list[int]] = {}
    for number, form in forms.items():
        places.setdefault(form.spatial(facts[number].shape), []).append(number)
    groups: list[Group] = []
    for numbers in places.values():
        groups += _groups(facts, forms, numbers)
    groups.sort(key=lambda group: group.first)
    return groups, [number for number in range(len(facts)) if number not in forms]


def _mask_form(fact: Facts) -> Form | None:
    """Of a mask with a channel for each class."""
    space = len(fact.shape) - 1
    plain = form_of(fact.shape[:-1])
    if plain is None or plain.skip or plain.channels:
        return form_of(fact.shape)
    return Form(space, "last")


def _groups(facts: Sequence[Facts], forms: dict[int, Form], numbers: list[int]) -> list[Group]:
    """Of arrays with the same sizes in space."""
    masks = [n for n in numbers if _may_be_mask(facts[n], forms[n])]
    images = [n for n in numbers if n not in masks]
    if not images:
        # An image may be all zero, or of few greys: then it is a float one, or the first.
        plain = [n for n in masks if facts[n].dtype != "bool" and not facts[n].one_hot]
        floats = [n for n in plain if not is_integer(facts[n].dtype)]
        blank = [n for n in plain if facts[n].distinct == 1 and len(masks) == 1]
        images = (floats or blank or (plain if len(masks) > 1 else []))[:1]
        masks = [n for n in masks if n not in images]
    if not images:
        return [Group(None, (mask,), forms[mask]) for mask in masks]
    first, *others = images
    rest = [Group(other, (), forms[other]) for other in others]
    return [Group(first, tuple(masks), forms[first]), *rest]


def _may_be_mask(fact: Facts, form: Form) -> bool:
    if fact.dtype == "bool" or fact.one_hot:
        return True
    channels = fact.shape[form.skip if form.channels == "first" else -1] if form.channels else 1
    return channels == 1 and fact.distinct is not None


def is_batched(spec: ElementSpec, shapes: Sequence[Sequence[int]]) -> bool:
    """Whether the generator yields batches: their first dimension is free in every array, or it is
    the same in all and one array has nothing else (a label for each). ``shapes`` are those of one
    element."""
    leaves = [leaf for _, leaf in spec.leaves()]
    if not leaves or any(not leaf.shape for leaf in leaves):
        return False
    if any(len(shape) == 0 or shape[0] != shapes[0][0] for shape in shapes):
        return False
    if all(leaf.shape[0] is None for leaf in leaves):
        return len(leaves) > 1 or len(shapes[0]) > 3
    rows = shapes[0][0]
    labels = any(len(shape) == 1 for shape in shapes)
    cube = any(len(shape) > 2 and shape[1] == rows == shape[2] for shape in shapes)
    return labels and rows > 0 and len(leaves) > 1 and not cube


def cuts_of(group: Group, facts: Sequence[Facts], values: Sequence[Array]) -> list[Cut]:
    """What is drawn of a group in one element, whose ``values`` may have other sizes than the
    first one's; small copies. Nothing where the sizes no longer make a picture."""
    # With a free size of 0 there is no first entry to take, no channel, no class.
    if values[group.first].size == 0:
        return []
    image = None if group.base is None else _in_space(values[group.base], group.form)
    masks = [_mask_in_space(values[number], facts[number]) for number in group.masks]
    size = (image if image is not None else masks[0]).shape[: group.form.space]
    if len(size) < group.form.space:
        return []
    fitting = [mask if mask.shape == size else None for mask in masks]
    if image is None and fitting[0] is None:
        return []  # by its own size it is a picture of another form
    if group.form.space == 2:
        return [
            Cut(-1, 0, None if image is None else _thin(image), tuple(map(_thin_mask, fitting)))
        ]
    rgb = image is not None and image.ndim == 4
    cuts = []
    for axis, at in _places(size, [m for m in fitting if m is not None], frames=rgb):
        plane = None if image is None else _thin(image.take(at, axis=axis))
        marks = (None if mask is None else mask.take(at, axis=axis) for mask in fitting)
        cuts.append(Cut(axis, at, plane, tuple(map(_thin_mask, marks))))
    return cuts


def _in_space(value: Array, form: Form) -> Array:
    """Without what is not drawn: a view with two or three axes, and three colours behind them."""
    array: Array = value[(0,) * form.skip]
    if form.channels == "first":
        array = np.moveaxis(array, 0, -1)
    if not form.channels:
        return array
    coloured = array.shape[-1] == 3 or (array.shape[-1] == 4 and array.dtype == np.uint8)
    drawn: Array = array[..., :3] if coloured else array[..., 0]
    return drawn


def _mask_in_space(value: Array, fact: Facts) -> Array:
    """Its classes as numbers; an empty one as it is, which covers nothing."""
    if value.size == 0:
        return value
    if fact.one_hot:
        classes: Array = value.argmax(axis=-1).astype(np.uint8)
        return classes
    form = form_of(value.shape)
    return value if form is None else _in_space(value, form)


def _places(
    size: Sequence[int], masks: Sequence[Array], *, frames: bool
) -> list[tuple[int, int]]:  # fmt: skip
    """Three pairs (axis, where): a plane across each axis, or three across one that is short."""
    marked = _marked(size, masks)
    small, *large = sorted(size)
    if not frames and 2 * small > large[0]:
        return [(axis, _largest(marked[axis], n)) for axis, n in enumerate(size)]
    axis = 0 if frames else min(range(3), key=lambda a: size[a])
    n = size[axis]
    if n <= 3:
        return [(axis, at) for at in range(n)]
    middle = min(max(_largest(marked[axis], n), 1), n - 2)
    return [(axis, middle // 2), (axis, middle), (axis, (middle + n) // 2)]


def _marked(size: Sequence[int], masks: Sequence[Array]) -> list[Array]:
    """How much is marked in each plane across each axis; plane by plane, without a copy of all."""
    counts = [np.zeros(n, np.int64) for n in size]
    for mask in masks:
        for at, plane in enumerate(mask):
            there = plane != 0
            counts[0][at] += int(np.count_nonzero(there))
            counts[1] += there.sum(axis=1)
            counts[2] += there.sum(axis=0)
    return counts


def _largest(counts: Array, n: int) -> int:
    """Where most is marked, or nearly so: then the place that is nearest to the middle."""
    good = np.flatnonzero(counts >= NEARLY * counts.max())
    return int(good[np.abs(good - n // 2).argmin()])


def _thin(plane: Array) -> Array:
    """A copy of at most `PIXELS` along each side."""
    rows, columns = (-(-side // PIXELS) for side in plane.shape[:2])
    return np.array(plane[::rows, ::columns])


def _thin_mask(plane: Array | None) -> Array | None:
    return None if plane is None else _thin(plane)
