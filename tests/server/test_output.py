"""What workers print, cut into lines: `server/output.py` with a clock of its own."""

from __future__ import annotations

from genserver.server.output import LONGEST_LINE, PARTIAL_AFTER, PROGRESS_EVERY, LineCutter
from hypothesis import given
from hypothesis import strategies as st


def cutter() -> LineCutter:
    return LineCutter("[worker 2] ", 0.0)


def test_every_line_has_the_worker_in_front() -> None:
    """Whole lines are shown at once, also empty ones, whatever the line end."""
    assert cutter().feed(b"one\ntwo\r\n\n", 0.0) == [
        "[worker 2] one",
        "[worker 2] two",
        "[worker 2]",
    ]


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs", "Cc"]))),
       st.lists(st.integers(0, 40), max_size=20))  # fmt: skip
def test_where_the_bytes_are_cut_does_not_matter(lines: list[str], cuts: list[int]) -> None:
    """Any division into reads shows the same lines, characters of several bytes included."""
    data = "".join(line + "\n" for line in lines).encode()
    cut, shown, at = cutter(), [], 0
    for size in [*cuts, len(data)]:
        shown += cut.feed(data[at : at + size], 0.0)
        at += size
    assert shown == [f"[worker 2] {line}".rstrip() for line in lines]


def test_a_line_without_an_end_is_shown_after_a_while() -> None:
    """A prompt or print(end="") does not wait for ever, and is shown once."""
    cut = cutter()
    assert cut.feed(b"sure? ", 0.0) == []
    assert cut.tick(PARTIAL_AFTER - 0.1) == []
    assert cut.tick(PARTIAL_AFTER) == ["[worker 2] sure?"]
    assert cut.tick(9.0) == []


def test_a_progress_bar_is_shown_once_a_second() -> None:
    """Of tqdm's states the newest is shown each second, and the last one at its line end."""
    cut, shown = cutter(), []
    for step in range(30):
        shown += cut.feed(b"\r%d%%" % step, step / 10)
    assert shown == ["[worker 2] 0%", "[worker 2] 10%", "[worker 2] 20%"]
    assert cut.feed(b"\r100%\n", 3.0) == ["[worker 2] 100%"]


def test_a_cleared_progress_bar_gives_way_to_the_next_line() -> None:
    """tqdm(leave=False) writes blanks over itself; what follows is a line of its own."""
    cut = cutter()
    cut.feed(b"\r50%", 0.0)
    assert cut.feed(b"\r    \rdone\n", PROGRESS_EVERY / 2) == ["[worker 2] done"]


def test_cursor_moves_are_left_out_and_colours_stay() -> None:
    """Nested bars move the cursor up, which would write over other workers' lines."""
    (line,) = cutter().feed(b"\x1b[A\x1b[31mred\x1b[0m\x1b[K\n", 0.0)
    assert line == "[worker 2] \x1b[31mred\x1b[0m"


def test_a_flood_is_counted_instead_of_shown() -> None:
    """After 1,000 lines 100 a second are shown; every line is shown or counted."""
    cut, shown = cutter(), []
    for second in range(10):
        shown += cut.feed(b"x\n" * 5000, float(second))
    shown += cut.end(10.0)
    lines = [line for line in shown if line == "[worker 2] x"]
    notices = [line for line in shown if "left out" in line]
    assert 1000 <= len(lines) <= 1000 + 10 * 100 + 40
    assert len(lines) + sum(int(n.split("(")[1].split()[0]) for n in notices) == 50_000
    assert len(notices) <= 11


def test_the_last_words_of_a_flood_are_shown() -> None:
    """A worker that prints too much and dies has its traceback shown."""
    cut = cutter()
    shown = cut.feed(b"x\n" * 5000 + b"Fatal Python error\n", 0.0) + cut.end(0.0)
    assert shown[-1] == "[worker 2] Fatal Python error"
    assert shown[1000].startswith("[worker 2] (3961 lines left out")
    assert len(shown) == 1000 + 1 + 40


def test_a_line_without_bound_is_cut() -> None:
    """Memory stays bounded: a megabyte without a line end comes in pieces, none is lost."""
    cut = cutter()
    shown = cut.feed(b"y" * 2**20, 0.0) + cut.end(0.0)
    assert max(map(len, shown)) <= LONGEST_LINE + len("[worker 2] ")
    assert sum(line.count("y") for line in shown) == 2**20


def test_the_end_shows_what_is_left() -> None:
    """A worker that dies in the middle of a line has it shown."""
    cut = cutter()
    cut.feed(b"last words", 0.0)
    assert cut.end(0.1) == ["[worker 2] last words"]
    assert cut.end(0.2) == []
