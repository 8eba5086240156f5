"""The picture of a result of `bench.py`: elements per second over plain, one panel a workload.

    python benchmarks/plot.py bench.json bench.svg

Its background is transparent and its ink is grey, so that it can be read on white and dark pages.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from _case import PEERS
from _figures import Slice
from _report import Row, number
from _workloads import WORKLOADS

INK, GRID = "#808080", "#80808040"
OURS, PLAIN, THEIRS = "#2f81c7", "#808080", "#c98a2b"
#: Inches of a bar, of what stands around a panel's bars, and of the picture's width.
BAR, AROUND, WIDTH = 0.24, 0.75, 8.0


def draw(rows: Sequence[Row], path: Path) -> None:
    """Write the picture; needs matplotlib."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    panels = _panels(rows)
    heights = [len(panel) * BAR + AROUND for panel in panels.values()]
    with pyplot.rc_context(_style()):
        figure, axes = pyplot.subplots(
            len(panels), 1, sharex=True, squeeze=False, layout="constrained",
            figsize=(WIDTH, sum(heights) + 0.5), gridspec_kw={"height_ratios": heights},
        )  # fmt: skip
        for axis, (workload, panel) in zip(axes[:, 0], panels.items(), strict=True):
            _panel(axis, WORKLOADS[workload].title, panel)
        axes[0, 0].set_xscale("log")
        for which in (axes[0, 0].xaxis.set_major_formatter, axes[0, 0].xaxis.set_minor_formatter):
            which(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "125" else "")
        _, right = axes[0, 0].get_xlim()
        axes[0, 0].set_xlim(right=right * 3)  # room for the text beside the longest bar
        axes[-1, 0].set_xlabel("times plain from_generator, elements per second (log scale)")
        undated = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, transparent=True, dpi=150, metadata=undated)
        pyplot.close(figure)


def _panels(rows: Sequence[Row]) -> dict[str, list[Row]]:
    panels: dict[str, list[Row]] = {}
    for row in rows:
        if row.of_plain:
            panels.setdefault(row.workload, []).append(row)
    return panels


def _panel(axis: Any, title: str, rows: Sequence[Row]) -> None:
    for place, row in enumerate(rows):
        ratio = median(row.of_plain)
        # From 1 on: what is slower than plain points to the left.
        axis.barh(place, ratio - 1, left=1, color=_color(row), height=0.72)
        rate = median(one.rate for one in row.slices)
        text = f" {number(ratio)} x   {number(rate)}/s"
        axis.annotate(text, (max(ratio, 1), place), va="center", fontsize=8)
    axis.set_yticks(range(len(rows)), [row.way for row in rows])
    axis.invert_yaxis()
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axis.axvline(1, color=INK, linewidth=1)
    axis.grid(axis="x", color=GRID, linewidth=0.5)
    axis.set_axisbelow(True)
    axis.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)


def _color(row: Row) -> str:
    way = row.way.split(" ")[0]
    return OURS if way == "genserver" else THEIRS if way in PEERS else PLAIN


def _style() -> Any:
    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
    return dict.fromkeys(inks, INK) | {
        "font.size": 9,
        "svg.fonttype": "path",
        "svg.hashsalt": "bench",
    }


def main(source: str, target: str) -> None:
    """Draw a file that `bench.py --json` wrote."""
    document = json.loads(Path(source).read_text())
    rows = [
        Row(**(row | {"slices": [Slice(**one) for one in row["slices"]]}))
        for row in document["rows"]
    ]
    draw(rows, Path(target))


if __name__ == "__main__":
    main(*sys.argv[1:3])
