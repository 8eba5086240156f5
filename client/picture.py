"""Draws what `genserver peek --save` writes; the one file that imports matplotlib.

Opens no window and asks for no display: the figure is drawn into memory, whatever MPLBACKEND and
the user's own settings say. One thread.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from genserver.protocol.text import clean, fit
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .album import Album, short
from .peek_page import Page
from .samples import Statistics
from .shades import PALETTE, classes_of, overlay, range_of, shaded
from .sights import Cut, Group

__all__ = ["drawn", "figure_of"]

PAPER, INK, FAINT, ALARM, BAR = "#14161a", "#e8e6e1", "#8d9199", "#ff8c69", "#6f8fb5"
#: In inches: margins, an element's column with one, with many of them, the gap, a line of text, a
#: histogram.
LEFT, EDGE, WIDE, NARROW, GAP, LINE, PLOT = 1.25, 0.25, 2.2, 1.42, 0.07, 0.19, 1.15
#: Histograms beside each other, and at most.
ACROSS, PLOTS = 4, 12
#: Lines of text above a histogram and below it.
ABOVE, BELOW = 2.5, 1.5
#: Magnitudes that a histogram can be drawn of.
TINY, HUGE = 1e-30, 1e30
#: Lines of warnings.
ALARMS = 5
DPI = 110
#: How much a mask hides.
ALPHA = 0.42


def drawn(album: Album, told: Page, kind: str) -> bytes:
    """The file: "png", "svg", "pdf" or "jpg"."""
    data = io.BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A font that lacks a letter of somebody's dict key.
        warnings.simplefilter("ignore", UserWarning)
        matplotlib.rcdefaults()
        figure = figure_of(album, told)
        pixels = kind in ("png", "jpg")
        small: dict[str, Any] = {"pil_kwargs": {"optimize": True}} if pixels else {}
        figure.savefig(data, format=kind, dpi=DPI, facecolor=PAPER, **small)
    return data.getvalue()


def figure_of(album: Album, told: Page) -> Figure:
    """The figure, with a labelled axes for each panel."""
    return _Sheet(album, told).figure


class _Sheet:
    """Panels at fixed places, from top to bottom: in inches, so that nothing overlaps."""

    def __init__(self, album: Album, told: Page) -> None:
        self._album, self._told = album, told
        self._statistics = list(told.statistics)
        columns = album.columns if album.groups else []
        self._side = WIDE if len(columns) <= 4 else NARROW
        self._width = max(8.0, LEFT + len(columns) * (self._side + GAP) + EDGE)
        self._groups = [(group, _Rows(album, number)) for number, group in enumerate(album.groups)]
        #: Of each class of a mask: (array, value) -> colour.
        self._colours: dict[tuple[int, float], str] = {}
        self._height = self._measure()
        self.figure = Figure(figsize=(self._width, self._height), facecolor=PAPER)
        self._at = 0.22
        self._head()
        if self._groups:
            self._titles()
        for group, rows in self._groups:
            self._group(group, rows)
        self._plots()

    def _measure(self) -> float:
        height = 0.22 + 2.4 * LINE + self._alarms() * LINE
        if self._groups:
            height += self._title_lines() * LINE + 0.12
        for group, rows in self._groups:
            heights = rows.heights(self._side)
            height += sum(heights) + GAP * len(heights) + self._below(group)
        lines = -(-min(len(self._statistics), PLOTS) // ACROSS)
        return height + lines * (PLOT + (ABOVE + BELOW) * LINE)

    def _text(
        self, x: float, text: str, *, size: float = 9.0, colour: str = INK, side: str = "left",
        bold: bool = False,
    ) -> None:  # fmt: skip
        """At ``x`` and the height that is reached, both in inches."""
        self.figure.text(
            x / self._width, 1 - self._at / self._height, clean(text), fontsize=size,
            color=colour, va="top", ha=side, weight="bold" if bold else "normal", parse_math=False,
        )  # fmt: skip

    def _axes(self, x: float, y: float, width: float, height: float, label: str) -> Axes:
        box = (
            x / self._width, 1 - (y + height) / self._height, width / self._width,
            height / self._height,
        )  # fmt: skip
        axes = self.figure.add_axes(box, label=label)
        axes.set_facecolor(PAPER)
        return axes

    def _alarms(self) -> int:
        return min(len(self._told.warnings), ALARMS)

    def _head(self) -> None:
        told = self._told
        room = int(self._width * 11)
        self._text(EDGE, fit(clean(f"{told.generator}  {told.spec}"), room), size=11, bold=True)
        self._at += 1.3 * LINE
        what = "batches" if told.batched else "elements"
        text = f"{told.endpoint}, {told.elements} {what} of epoch {told.epoch}"
        text += f" ({told.why_fewer})" if told.why_fewer else ""
        left_out = self._album.left_out
        text += f"; {left_out} more pictures of each are not drawn" if left_out else ""
        self._text(EDGE, text, colour=FAINT)
        self._at += 1.1 * LINE
        for number, warned in enumerate(told.warnings[:ALARMS]):
            more = len(told.warnings) - ALARMS
            text = f"! {short(warned.path)}: {warned.text}"
            if number == ALARMS - 1 and more > 0:
                text = f"! and {more + 1} warnings more"
            self._text(EDGE, fit(text, int(self._width * 13)), colour=ALARM)
            self._at += LINE

    def _title_lines(self) -> int:
        return 1 + max((len(column.values) for column in self._album.columns), default=0)

    def _titles(self) -> None:
        self._at += 0.1
        top = self._at
        for number, column in enumerate(self._album.columns):
            x = LEFT + number * (self._side + GAP) + self._side / 2
            self._text(x, column.title, side="center")
            for value in column.values:
                self._at += LINE
                value = fit(value, int(self._side * 15))
                self._text(x, value, size=8.5, colour=PALETTE[0], side="center")
            self._at = top
        self._at += self._title_lines() * LINE + 0.02

    def _group(self, group: Group, rows: _Rows) -> None:
        names = [short(path) for path, _ in self._album.leaves]
        low, high = range_of([cut.image for cut in rows.cuts])
        colours = self._colour(group, rows)
        grey = "" if group.base is None else f"{low:.3g} to {high:.3g}"
        for row, height in enumerate(rows.heights(self._side)):
            self._label(names[group.first], rows, row, height, grey)
            for number in range(len(rows.columns)):
                cut = rows.cut(row, number)
                if cut is not None:
                    x = LEFT + number * (self._side + GAP)
                    label = f"picture {group.first} {row} {number}"
                    axes = self._axes(x, self._at, self._side, height, label)
                    _show(axes, cut, low, high, [] if rows.plain(row) else colours)
            self._at += height + GAP
        if group.masks:
            self._legend(group, names, colours)
        self._at += self._below(group)

    def _below(self, group: Group) -> float:
        """Inches behind a group's last row."""
        return (1.6 if group.masks else 0.5) * LINE

    def _colour(self, group: Group, rows: _Rows) -> list[list[tuple[float, str]]]:
        """For each mask of the group, the colour of each class that is drawn anywhere."""
        found, used = [], 0
        for place, number in enumerate(group.masks):
            mine = []
            for value in classes_of(cut.masks[place] for cut in rows.cuts):
                colour = PALETTE[used % len(PALETTE)]
                if not self._album.facts[number].one_hot:  # its values are no classes
                    self._colours[number, value] = colour
                mine.append((value, colour))
                used += 1
            found.append(mine)
        return found

    def _label(self, name: str, rows: _Rows, row: int, height: float, grey: str) -> None:
        """What a row is, to its left."""
        lines = [fit(name, 17)] if row == 0 else []
        axis = rows.axis(row)
        lines += [f"across axis {axis}"] if axis >= 0 else []
        if row == 0 and grey:
            lines += [grey] if len(grey) <= 18 else grey.replace(" to ", " to\n").split("\n")
        lines += ["with the mask"] if row > 0 and rows.plain(row - 1) else []
        top = self._at
        self._at += height / 2 - len(lines) * LINE / 2
        for number, line in enumerate(lines):
            size, colour = (9, INK) if row == 0 and number == 0 else (8, FAINT)
            self._text(LEFT - 0.1, line, size=size, colour=colour, side="right")
            self._at += LINE
        self._at = top

    def _legend(
        self, group: Group, names: list[str], colours: list[list[tuple[float, str]]]
    ) -> None:
        handles = []
        for number, classes in zip(group.masks, colours, strict=True):
            name = f"{fit(clean(names[number]), 24)}:{'' if classes else ' nothing is marked'}"
            handles.append(Patch(alpha=0, label=name))
            handles += [Patch(color=colour, label=f"{value:g}") for value, colour in classes[:10]]
            if len(classes) > 10:
                handles.append(Patch(alpha=0, label=f"and {len(classes) - 10} more"))
        width = self._width - LEFT - EDGE
        axes = self._axes(LEFT - 0.2, self._at, width, 1.2 * LINE, f"legend {group.first}")
        axes.set_axis_off()
        legend = axes.legend(
            handles=handles, loc="center left", ncol=len(handles), frameon=False, fontsize=8.5,
            labelcolor=INK, borderaxespad=0, handlelength=1.0, columnspacing=1.0, borderpad=0,
        )  # fmt: skip
        for text in legend.get_texts():
            text.set_parse_math(False)

    def _plots(self) -> None:
        shown = self._statistics[:PLOTS]
        if not shown:
            return
        across = min(ACROSS, len(shown))
        width = (self._width - 2 * EDGE + 0.3) / across
        for number, one in enumerate(shown):
            if number % across == 0:
                self._at += ABOVE * LINE
            x = EDGE + number % across * width
            axes = self._axes(x, self._at, width - 0.3, PLOT, f"plot {number}")
            room = int((width - 0.3) * 13)  # characters
            _plot(axes, one, {v: c for (n, v), c in self._colours.items() if n == number}, room)
            _plot_title(axes, one, room)
            if number % across == across - 1 or number == len(shown) - 1:
                self._at += PLOT + BELOW * LINE


class _Rows:
    """What is drawn of a group: by row and column. Under a mask that covers everything nothing of
    an image is seen, so its first plane is shown without one, too."""

    def __init__(self, album: Album, number: int) -> None:
        group = album.groups[number]
        self.columns = [column.cuts[number] for column in album.columns]
        self.cuts = [cut for column in self.columns for cut in column]
        self._more = int(group.base is not None and len(group.masks) > 0)

    def plain(self, row: int) -> bool:
        """Whether it is the image alone, of several rows."""
        return row < self._more

    def cut(self, row: int, column: int) -> Cut | None:
        """What is there, if anything."""
        at, cuts = max(0, row - self._more), self.columns[column]
        return cuts[at] if at < len(cuts) else None

    def axis(self, row: int) -> int:
        """Across which one a row is cut; -1 for images."""
        cuts = (self.cut(row, column) for column in range(len(self.columns)))
        return next(cut.axis for cut in cuts if cut is not None)

    def heights(self, side: float) -> list[float]:
        """Of each row, in inches, where a column is ``side`` wide."""
        most = max(map(len, self.columns), default=0)
        heights = []
        for row in range(most + self._more if most else 0):
            cuts = [self.cut(row, column) for column in range(len(self.columns))]
            ratio = max(_ratio(cut) for cut in cuts if cut is not None)
            heights.append(side * min(1.6, max(0.25, ratio)))
        return heights


def _ratio(cut: Cut) -> float:
    """Its height, where its width is 1."""
    layer = cut.image if cut.image is not None else next(m for m in cut.masks if m is not None)
    height, width = layer.shape[:2]
    return float(height / width)


def _show(
    axes: Axes, cut: Cut, low: float, high: float, colours: list[list[tuple[float, str]]]
) -> None:
    """One panel."""
    if cut.image is not None:
        axes.imshow(shaded(cut.image, low, high), interpolation="nearest")
    for mask, classes in zip(cut.masks, colours, strict=False):  # none where it is plain
        if mask is not None:
            alpha = ALPHA if cut.image is not None else 1.0
            axes.imshow(overlay(mask, classes, alpha), interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_color("#3a3e46")
    if cut.axis >= 0:
        axes.text(
            0.03, 0.03, str(cut.at), transform=axes.transAxes, fontsize=7, color=INK,
            bbox={"facecolor": PAPER, "alpha": 0.6, "edgecolor": "none", "pad": 1.2},
        )  # fmt: skip


def _plot(axes: Axes, one: Statistics, colours: dict[float, str], room: int) -> None:
    """Bars for few values, else a histogram."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(FAINT)
    axes.tick_params(colors=FAINT, labelsize=7.5, length=2)
    axes.set_yticks([])
    if one.common and (one.text or (one.telling and len(one.common) == one.distinct)):
        common = list(one.common) if one.text else sorted(one.common, key=_number)
        shares = [share for _, share in common]
        most = room // len(common) - 2
        names = [fit(v, most) if isinstance(v, str) else f"{v:.4g}" for v, _ in common]
        picked = [BAR if isinstance(v, str) else colours.get(float(v), BAR) for v, _ in common]
        axes.bar(range(len(common)), shares, color=picked, width=0.7)
        axes.set_xticks(range(len(common)), names, parse_math=False)
        axes.set_xlim(-0.8, max(len(common), 3) - 0.2)
        for at, share in enumerate(shares):
            axes.text(at, share, f"{share:.0%}", ha="center", va="bottom", fontsize=7, color=INK)
        axes.set_ylim(0, max(shares) * 1.2)
        return
    _histogram(axes, one.sample)


def _number(pair: tuple[float | str, float]) -> float:
    assert not isinstance(pair[0], str)  # of numbers
    return pair[0]


def _histogram(axes: Axes, sample: Sequence[float]) -> None:
    values = np.asarray(sample, np.float64)
    largest = float(np.abs(values).max()) if values.size else 0.0
    # Of what floats can hardly divide matplotlib makes axes without end.
    if not values.size or not (largest == 0 or TINY < largest < HUGE):
        axes.set_xticks([])
        axes.text(
            0.5, 0.4, "no histogram", ha="center", color=FAINT, transform=axes.transAxes, fontsize=8
        )  # fmt: skip
        return
    low, high = float(values.min()), float(values.max())
    if high - low <= 1e-6 * largest:  # of equal values one bar in the middle
        low, high = low - max(largest, 1.0) / 2, high + max(largest, 1.0) / 2
    counts, edges = np.histogram(values, bins=48, range=(low, high))
    axes.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=BAR)
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.4g}")


def _plot_title(axes: Axes, one: Statistics, room: int) -> None:
    """Name and dtype, and below them the figures."""
    axes.text(
        0, 1.30, fit(clean(f"{short(one.path)}  {one.dtype}"), room), transform=axes.transAxes,
        fontsize=8.5, color=INK, weight="bold", va="bottom", parse_math=False,
    )  # fmt: skip
    if one.low is None or one.text:
        figures = "" if one.text else "no finite value"
    else:
        figures = f"{one.low:.3g} to {one.high:.3g}, mean {one.mean:.3g}, std {one.std:.3g}"
    axes.text(
        0, 1.14, fit(figures, room + 6), transform=axes.transAxes, fontsize=7.5, color=FAINT,
        va="bottom",
    )  # fmt: skip
