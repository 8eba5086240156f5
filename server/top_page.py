"""What `top` shows: which figures, in which words, columns and colours, in how much room. Pure.

`page` is the whole table as lines for a terminal of some width and height, `plain` the same in one
line. Columns that there is no room for are left out, the least important first; nothing wraps but
the verdict.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from genserver.protocol.messages import Status
from genserver.protocol.telemetry import UNKNOWN, Span, TrainerSpan, WorkerSpan, WorkerTotals
from genserver.protocol.text import clean, fit, pad
from genserver.protocol.verdict import Bottleneck, judge

from .figures import (
    BLOCKS,
    Line,
    Piece,
    amount,
    duration,
    megabytes,
    memory,
    number,
    share,
    sparkline,
)
from .history import SECONDS, History

__all__ = ["Scene", "page", "plain"]

#: Between two columns.
GAP = "  "
#: How wide a trend may be: bars of 2 seconds, of 3, of 5.
TRENDS = (30, 20, 12)
#: Lines that errors may take, and the verdict.
MAX_ERRORS, MAX_VERDICT = 5, 4
#: How urgent a column is whose figures are all 0, and once one is not.
QUIET, LOUD = 20, 3

STATES = {"ready": "good", "stalled": "bad", "failed": "bad", "stopped": "dim"}
VERDICTS = {
    Bottleneck.PRODUCER: "warn", Bottleneck.WIRE: "warn", Bottleneck.TRAINER: "good",
    Bottleneck.UNKNOWN: "dim",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A server as it is known at a moment."""

    endpoint: str
    status: Status
    history: History
    #: Why it does not serve, or "", and for how long (seconds) it has said nothing, if for long.
    absence: str = ""
    silent: float = 0.0

    @property
    def trouble(self) -> str:
        """Why these are old figures, or ""."""
        if self.absence:
            return f"the server is {clean(self.absence)}"
        return f"the server has said nothing for {self.silent:.0f} s" if self.silent else ""


@dataclass(frozen=True, slots=True)
class _Row:
    """Of a worker, or of all."""

    name: str
    state: Piece
    span: WorkerSpan | None
    trend: dict[int, float]


@dataclass(frozen=True, slots=True)
class _Column:
    """``rank`` says who stays when there is too little room: the lowest."""

    heading: str
    rank: int
    cells: tuple[Piece, ...]
    right: bool = True
    least: int = 5

    @property
    def width(self) -> int:
        return max(len(self.heading), self.least, *(len(cell.text) for cell in self.cells))


def page(scene: Scene, *, width: int, height: int, blocks: str = BLOCKS) -> list[Line]:
    """At most so many lines of at most so many columns."""
    span = scene.history.span
    lines = [_head(scene, span, width), *_verdict(scene, span, width), ()]
    workers, errors = _rows(scene, span), _errors(span, width)
    trainers = span.trainers if span is not None else ()
    # What is below the workers goes first where there is too little height, but for one trainer.
    room = height - len(lines) - 1
    shown = trainers[: max(1, (room - 3) // 3)]
    below = 3 + len(shown) if trainers else 0
    errors = errors[: max(0, room - below - 2)]
    lines += _worker_table(
        scene, workers, width, max(1, room - below - len(errors) - (len(errors) > 0)), blocks
    )
    if errors:
        lines += [(), *errors]
    if shown:
        lines += [(), *_trainer_table(scene, shown, len(trainers), width, blocks)]
    return [_cut(line, width) for line in lines[:height]]


def plain(scene: Scene) -> str:
    """Everything in one line: rates, shares, the verdict."""
    if scene.trouble:
        return scene.trouble
    span = scene.history.span
    if span is None:
        return f"{scene.status.state}, no figures yet"
    making, blocked = _means(span)
    count, ready = len(scene.status.workers), _ready(scene.status)
    reading = len(span.trainers)
    made = sum(worker.elements for worker in span.workers)
    taken = sum(trainer.nbytes for trainer in span.trainers)
    waits = f"{_count(reading, 'trainer')} waiting {share(span.wait)}" if reading else "no trainer"
    return (
        f"{number(span.elements if reading else made)} elements/s, {megabytes(taken)} MB/s, "
        f"{waits}, {ready} of {_count(count, 'worker')} ready, making {share(making)}, "
        f"blocked {share(blocked)}; {judge(span).sentence}"
    )


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _ready(status: Status) -> int:
    return sum(worker.state == "ready" for worker in status.workers)


def _means(span: Span) -> tuple[float, float]:
    """The shares of all workers' time that they make elements and that they are blocked."""
    count = max(1, len(span.workers))
    making = sum(worker.making for worker in span.workers) / count
    return making, sum(worker.blocked for worker in span.workers) / count


def _head(scene: Scene, span: Span | None, width: int) -> Line:
    status = scene.status
    style = "bad" if scene.absence else STATES.get(status.state, "warn")
    state = "away" if scene.absence else status.state
    generator = clean(status.generator)
    looked = "" if span is None else f", last {span.seconds:.0f} s"
    tail = f"  {_count(len(status.workers), 'worker')}{looked}"
    room = width - len(f"{scene.endpoint}  {state}{tail}") - 2
    named = f"  {fit(generator, room)}" if room >= 6 else ""
    return (
        Piece(scene.endpoint, "head"), Piece(named), Piece(f"  {state}", style), Piece(tail, "dim")
    )  # fmt: skip


def _verdict(scene: Scene, span: Span | None, width: int) -> list[Line]:
    """In words, whoever they are about."""
    if scene.trouble:
        sentence, style = f"{scene.trouble}; its last figures:", "bad"
    elif scene.status.state == "failed":
        sentence, style = f"the server failed: {clean(scene.status.cause)}", "bad"
    elif span is None:
        sentence, style = "the first figures take a second or two", "dim"
    else:
        verdict = judge(span)
        sentence, style = verdict.sentence, VERDICTS[verdict.bottleneck]
    lines = textwrap.wrap(sentence, max(4, width), max_lines=MAX_VERDICT, placeholder="...")
    return [(Piece(line, style),) for line in lines]


def _rows(scene: Scene, span: Span | None) -> list[_Row]:
    known = {worker.index: worker for worker in span.workers} if span is not None else {}
    rows = [
        _Row(
            str(worker.index), Piece(worker.state, STATES.get(worker.state, "warn")),
            known.get(worker.index), scene.history.of_worker(worker.index),
        )
        for worker in scene.status.workers
    ]  # fmt: skip
    if len(rows) > 1 and span is not None and span.workers:
        ready = _ready(scene.status)
        state = Piece(f"{ready} ready", "good" if ready == len(rows) else "warn")
        rows.append(_Row("all", state, _all(span), scene.history.of_workers()))
    return rows


def _all(span: Span) -> WorkerSpan:
    """All workers as one: their sums, and the means of their shares."""
    making, blocked = _means(span)
    last = [worker.last for worker in span.workers]
    return WorkerSpan(
        index=UNKNOWN, making=making, blocked=blocked,
        elements=sum(worker.elements for worker in span.workers),
        nbytes=sum(worker.nbytes for worker in span.workers),
        cpu=sum(worker.cpu for worker in span.workers),
        last=WorkerTotals(
            index=UNKNOWN, kept=sum(w.kept for w in last), room=sum(w.room for w in last),
            rss=sum(w.rss for w in last), restarts=sum(w.restarts for w in last),
            lost=sum(w.lost for w in last), replayed=sum(w.replayed for w in last),
        ),
    )  # fmt: skip


def _worker_table(
    scene: Scene, rows: list[_Row], width: int, height: int, blocks: str
) -> list[Line]:
    """``height`` is of its rows; the last of them is about those that there is no room for."""
    more = len(rows) - height
    if more > 0:
        (*single, last) = rows
        rows = [*single[: max(0, height - 2)], last] if height > 1 else [last]
    top = max((rate for row in rows for rate in row.trend.values()), default=0.0)
    columns = _worker_columns(rows)
    alone = max(
        (rate for row in rows if row.name != "all" for rate in row.trend.values()), default=top
    )
    trends = [
        lambda bars, row=row: sparkline(
            row.trend, now=scene.history.now, seconds=SECONDS, width=bars,
            top=top if row.name == "all" else alone, blocks=blocks,
        )
        for row in rows
    ]  # fmt: skip
    lines = _table(columns, trends, rank=7, width=width)
    if more > 0 and height > 1:
        lines.insert(-1, (Piece(f"and {_count(more + 1, 'worker')} more", "dim"),))
    return lines


def _worker_columns(rows: list[_Row]) -> list[_Column]:
    def column(heading: str, rank: int, cell: Callable[[WorkerSpan], Piece | str]) -> _Column:
        return _Column(heading, rank, tuple(_piece(row.span, cell) for row in rows))

    def events(heading: str, rank: int, count: Callable[[WorkerTotals], int]) -> _Column:
        """What should not happen moves to the front when it does."""
        found = any(row.span is not None and count(row.span.last) for row in rows)
        return column(
            heading, LOUD if found else QUIET + rank,
            lambda w: Piece(amount(count(w.last)), "warn" if count(w.last) else "dim"),
        )  # fmt: skip

    return [
        _Column("worker", 0, tuple(Piece(row.name, "head") for row in rows), least=6),
        _Column("state", 1, tuple(row.state for row in rows), right=False, least=8),
        column("elem/s", 2, lambda w: Piece(number(w.elements), "head")),
        column("MB/s", 10, lambda w: megabytes(w.nbytes)),
        column("p50", 5, lambda w: duration(w.last.p50)),
        column("p99", 9, lambda w: duration(w.last.p99)),
        column("making", 3, lambda w: Piece(share(w.making), _much(w.making, "warn"))),
        column("blocked", 4, lambda w: Piece(share(w.blocked), _much(w.blocked, "good"))),
        column("idle", 6, lambda w: share(w.idle)),
        column("buffer", 8, lambda w: share(w.fill)),
        column("CPU", 11, lambda w: share(w.cpu)),
        column("RSS", 12, lambda w: memory(w.last.rss)),
        events("restarts", 0, lambda w: w.restarts),
        events("lost", 1, lambda w: w.lost),
        events("replayed", 2, lambda w: w.replayed),
    ]


def _piece(span: WorkerSpan | None, cell: Callable[[WorkerSpan], Piece | str]) -> Piece:
    if span is None:
        return Piece("-", "dim")
    made = cell(span)
    return made if isinstance(made, Piece) else Piece(made)


def _much(value: float, style: str) -> str:
    return style if value >= 0.8 else ""


def _errors(span: Span | None, width: int) -> list[Line]:
    """What workers died of or their generators raised last; the same of several is one line."""
    whose: dict[str, list[int]] = {}
    for worker in span.workers if span is not None else ():
        if worker.last.error:
            whose.setdefault(clean(worker.last.error), []).append(worker.index)
    lines = []
    for error, indices in list(whose.items())[:MAX_ERRORS]:
        few = ", ".join(map(str, indices[:4])) + (", ..." if len(indices) > 4 else "")
        lines.append(f"last error of worker{'s' * (len(indices) > 1)} {few}: {error}")
    return [(Piece(fit(line, width), "bad"),) for line in lines]


def _trainer_table(
    scene: Scene, shown: Sequence[TrainerSpan], count: int, width: int, blocks: str
) -> list[Line]:
    trends = [scene.history.of_trainer(trainer.session) for trainer in shown]
    top = max((rate for trend in trends for rate in trend.values()), default=0.0)

    def column(heading: str, rank: int, cell: Callable[[TrainerSpan], Piece]) -> _Column:
        return _Column(heading, rank, tuple(map(cell, shown)))

    columns = [
        # As wide as the workers' first two columns.
        _Column(
            "trainer", 0, tuple(Piece(f"{t.session:016x}"[:8], "head") for t in shown),
            right=False, least=16,
        ),
        column("elem/s", 1, lambda t: Piece(number(t.elements), "head")),
        column("MB/s", 3, lambda t: Piece(megabytes(t.nbytes))),
        column("waits", 2, lambda t: Piece(share(t.wait), _much(t.wait, "warn"))),
        column("measured", 5, lambda t: Piece("at steps" if t.steps else "at reads", "dim")),
    ]  # fmt: skip
    drawn = [
        lambda bars, trend=trend: sparkline(
            trend, now=scene.history.now, seconds=SECONDS, width=bars, top=top, blocks=blocks
        )
        for trend in trends
    ]
    lines = _table(columns, drawn, rank=4, width=width)
    more = count - len(shown)
    return [*lines, (Piece(f"and {_count(more, 'trainer')} more", "dim"),)] if more else lines


def _table(
    columns: list[_Column], trends: Sequence[Callable[[int], str]], *, rank: int, width: int
) -> list[Line]:
    """A line of headings and the rows; the trends, last, get what room there is, and come to their
    whole width before a column that has nothing to tell."""
    used, kept, bars = -len(GAP), [], 0
    for column in sorted([*columns, _Column("", rank, (), least=TRENDS[-1])], key=_rank):
        quiet = column.rank >= QUIET
        if used + len(GAP) + column.width + quiet * (TRENDS[0] - TRENDS[-1]) > width:
            break
        used += len(GAP) + column.width
        if not column.cells:
            bars = TRENDS[-1]
        else:
            kept.append(column)
    if bars:
        bars = max(n for n in TRENDS if n - bars <= width - used)
    kept = [column for column in columns if column in kept]
    heading = GAP.join(pad(c.heading, c.width, right=c.right) for c in kept)
    lines: list[Line] = [(Piece(heading + (GAP + "last minute" if bars else ""), "dim"),)]
    for number_, trend in enumerate(trends):
        row: list[Piece] = []
        for column in kept:
            cell = column.cells[number_]
            row += [Piece(pad(cell.text, column.width, right=column.right), cell.style), Piece(GAP)]
        lines.append((*row, Piece(trend(bars), "trend")) if bars else tuple(row[:-1]))
    return lines


def _rank(column: _Column) -> int:
    return column.rank


def _cut(line: Line, width: int) -> Line:
    """Whatever the widths of its parts."""
    pieces: list[Piece] = []
    for piece in line:
        text = fit(piece.text, width)
        pieces.append(Piece(text, piece.style))
        width -= len(text)
    return tuple(pieces)
