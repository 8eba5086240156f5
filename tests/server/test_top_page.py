"""What `genserver top` shows, without a server or a terminal."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.telemetry import Snapshot, TrainerTotals, WorkerTotals
from genserver.protocol.text import width_of
from genserver.server.figures import ASCII, Line
from genserver.server.history import History
from genserver.server.top_page import Scene, page, plain
from hypothesis import given
from hypothesis import strategies as st

SECOND = 1_000_000
TALL = 60


def snapshot(second: int, workers: int = 2, trainers: int = 1, error: str = "") -> Snapshot:
    """Each worker makes 10 elements a second, 90 % of its time; each trainer waits for 80 %."""
    return Snapshot(
        at=second * SECOND, cores=8, memory=2**34,
        workers=tuple(
            WorkerTotals(
                index=index, elements=10 * second, nbytes=20_000_000 * second,
                making=900_000 * second, p50=45_200, p99=61_000, kept=25, room=100,
                restarts=bool(error), rss=150_000_000, cpu=500_000 * second, error=error,
            )
            for index in range(workers)
        ),
        trainers=tuple(
            TrainerTotals(
                session=0xABCDEF12 << 32 | number, elements=1 + 20 * second,
                nbytes=40_000_000 * second, waiting=800_000 * second, using=200_000 * second,
                steps=True,
            )
            for number in range(trainers)
        ),
    )  # fmt: skip


def scene(seconds: int = 11, absence: str = "", **options: object) -> Scene:
    history = History()
    for second in range(seconds):
        said = [snapshot(s, **options) for s in range(max(0, second - 10), second + 1)]  # type: ignore[arg-type]
        history.add(said)
    count = int(str(options.get("workers", 2)))
    states = tuple(WorkerStatus(i, "ready", 7, "", 0) for i in range(count))
    status = Status("ready", "scans:cubes", "static", 5, -2, "", None, states)
    return Scene(endpoint="tcp://127.0.0.1:5555", status=status, history=history, absence=absence)


def texts(lines: list[Line]) -> list[str]:
    return ["".join(piece.text for piece in line).rstrip() for line in lines]


def test_the_table_at_eighty_columns() -> None:
    """The sentence, a line for each worker and for all, and one for the trainer."""
    assert texts(page(scene(), width=80, height=24, blocks=ASCII)) == [
        "tcp://127.0.0.1:5555  scans:cubes  ready  2 workers, last 10 s",
        "producer-bound: the trainer waits for 80% of its time: 9 workers in the place of",
        "2 would match it",
        "",
        "worker  state     elem/s     p50  making  blocked   idle  buffer  last minute",
        "     0  ready       10.0  45.2ms     90%       0%    10%     25%           ###",
        "     1  ready       10.0  45.2ms     90%       0%    10%     25%           ###",
        "   all  2 ready     20.0       -     90%       0%    10%     25%           ###",
        "",
        "trainer           elem/s   MB/s  waits  measured  last minute",
        "abcdef12            20.0   40.0    80%  at steps                          ######",
    ]


def headings(width: int, **options: object) -> list[str]:
    lines = texts(page(scene(**options), width=width, height=TALL))  # type: ignore[arg-type]
    (line,) = (line for line in lines if line.startswith("worker "))
    return line.split()


def test_the_least_important_columns_go_first() -> None:
    """Whatever is there in a narrow terminal is there in a wider one; all are in a wide one."""
    shown = [set(headings(width)) for width in range(30, 200)]
    assert all(a <= b for a, b in itertools.pairwise(shown))
    assert shown[0] == {"worker", "state", "elem/s"}
    assert shown[-1] >= {
        "MB/s", "p50", "p99", "making", "blocked", "idle", "buffer", "CPU", "RSS", "restarts",
        "lost", "replayed", "minute",
    }  # fmt: skip


def test_what_went_wrong_has_room_at_eighty_columns() -> None:
    """Restarts are no important column, until there are some; the error is a line of its own, once
    for all whose it is."""
    assert "restarts" not in headings(80)
    assert "restarts" in headings(80, error="signal SEGV")
    lines = texts(page(scene(error="signal SEGV"), width=80, height=TALL))
    assert lines.count("last error of workers 0, 1: signal SEGV") == 1


@given(
    width=st.integers(1, 220), height=st.integers(1, 40), workers=st.integers(0, 40),
    trainers=st.integers(0, 20), seconds=st.integers(0, 4), error=st.text(max_size=200),
)  # fmt: skip
def test_it_fits_the_terminal(
    width: int, height: int, workers: int, trainers: int, seconds: int, error: str
) -> None:
    """No line is wider and none is more than there is room for, however little that is."""
    shown = scene(seconds, workers=workers, trainers=trainers, error=error)
    lines = texts(page(shown, width=width, height=height))
    assert len(lines) <= height
    assert all(width_of(line) <= width for line in lines)


def test_workers_beyond_the_height_are_counted() -> None:
    """The line of all of them stays."""
    lines = texts(page(scene(workers=30), width=100, height=20))
    assert len(lines) == 20 - 1  # one is below, where a terminal has its cursor
    (more,) = (line for line in lines if line.startswith("and "))
    numbered = [line for line in lines if line[:6].strip().isdigit()]
    assert more == f"and {30 - len(numbered)} workers more"
    assert lines[lines.index(more) + 1].startswith("   all  30 ready")


def test_before_the_first_figures_there_are_the_workers() -> None:
    """Their states come with the answer; nothing is made up."""
    lines = texts(page(scene(1), width=80, height=24))
    assert lines[1] == "the first figures take a second or two"
    assert lines[4].split() == ["0", "ready", "-", "-", "-", "-", "-", "-"]
    assert plain(scene(1)) == "ready, no figures yet"


def test_a_server_that_is_away_is_said_first() -> None:
    """In the table above its last figures, and as the whole plain line."""
    away = scene(absence="away for 4 s (it was stopped), given up after 120 s")
    lines = texts(page(away, width=100, height=24))
    assert lines[0].endswith("scans:cubes  away  2 workers, last 10 s")
    assert lines[1].startswith("the server is away for 4 s (it was stopped), given up after 120 s;")
    assert plain(away) == "the server is away for 4 s (it was stopped), given up after 120 s"


def test_a_server_that_says_nothing_is_not_taken_for_one_that_stands_still() -> None:
    """Until it is known to be away its figures are said to be old."""
    silent = replace(scene(), silent=6.2)
    lines = texts(page(silent, width=100, height=24))
    assert lines[1] == "the server has said nothing for 6 s; its last figures:"
    assert plain(silent) == "the server has said nothing for 6 s"


def test_the_plain_line_has_the_rates_and_the_verdict() -> None:
    """One line, for pipes."""
    assert plain(scene()) == (
        "20.0 elements/s, 40.0 MB/s, 1 trainer waiting 80%, 2 of 2 workers ready, making 90%, "
        "blocked 0%; producer-bound: the trainer waits for 80% of its time: 9 workers in the place "
        "of 2 would match it"
    )


def test_nothing_that_others_wrote_reaches_the_terminal_as_it_is() -> None:
    """An error with an escape sequence is shown and not obeyed."""
    lines = texts(page(scene(error="\x1b[2J\nboom"), width=100, height=24))
    assert lines[-4] == "last error of workers 0, 1: ?[2J boom"
    named = scene()
    named = replace(named, status=replace(named.status, generator="a\x1b]0;b"))
    assert "\x1b" not in "".join(texts(page(named, width=100, height=24)))


@pytest.mark.parametrize("other", [[snapshot(3)], [snapshot(30), snapshot(31)]])
def test_another_life_of_a_server_begins_with_nothing(other: list[Snapshot]) -> None:
    """Also one that is older than the last one was."""
    history = History()
    for second in range(12):
        history.add([snapshot(s) for s in range(max(0, second - 10), second + 1)])
    assert history.of_workers().keys() == set(range(1, 12))
    assert not history.add([snapshot(s) for s in range(1, 12)])
    assert not history.add([])
    assert history.add(other)
    assert set(history.of_workers()) == {31} & {s.at // SECOND for s in other}
