"""What a server shows of itself over HTTP, and when."""

from __future__ import annotations

from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.telemetry import Snapshot, WorkerTotals
from genserver.server.board import Board, Lived
from hypothesis import given
from hypothesis import strategies as st


class Server:
    """What a supervisor would tell: one worker."""

    def __init__(self) -> None:
        self.pid, self.cpu, self.restarts, self.looks = 100, 0, 0, 0

    def status(self) -> Status:
        worker = WorkerStatus(0, "ready", self.pid, "", 0)
        return Status("ready", "scans:cubes", "static", 5, -2, "", None, (worker,))

    def measure(self) -> Snapshot:
        self.looks += 1
        worker = WorkerTotals(index=0, cpu=self.cpu, restarts=self.restarts)
        return Snapshot(at=self.looks * 1_000_000, cores=1, memory=1, workers=(worker,))


def board_of(server: Server) -> Board:
    board = Board(0.0)
    board.watch(server.status, server.measure)
    return board


def lived(board: Board) -> Lived:
    assert board.shown is not None
    return board.shown.lived[0]


def test_the_server_is_looked_at_once_a_second() -> None:
    """However often its loop turns; each turn shows that it lives."""
    server = Server()
    board = board_of(server)
    for tenth in range(31):
        board.tick(tenth / 10)
        assert board.age(tenth / 10) == 0.0
    assert server.looks == 4
    assert board.age(8.0) == 5.0


def test_what_was_shown_does_not_change() -> None:
    """A reader on another thread keeps what it took; later there are the last seconds, and of
    those before one in ten."""
    server = Server()
    board = board_of(server)
    board.tick(0.0)
    first = board.shown
    for second in range(1, 30):
        server.cpu = second
        board.tick(float(second))
    assert first is not None
    assert [snapshot.at for snapshot in first.snapshots] == [1_000_000]
    assert first.lived == {0: Lived(0, 0)}
    assert board.shown is not None
    seconds = [snapshot.at // 1_000_000 for snapshot in board.shown.snapshots]
    assert seconds == [1, 10, *range(20, 31)]


def test_a_new_status_is_shown_at_once() -> None:
    """Whoever was told that the server is ready finds it ready; before the first look there is
    nothing to show."""
    server = Server()
    board = board_of(server)
    stopping = Status("stopping", "scans:cubes", "static", 5, -2, "", None)
    board.show(stopping)
    assert board.shown is None
    board.tick(0.0)
    board.show(stopping)
    assert board.shown is not None
    assert board.shown.status is stopping


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 1000), st.sampled_from([-1, 0, 1])),
        min_size=2, max_size=30,
    )
)  # fmt: skip
def test_counters_never_fall_over_lives(steps: list[tuple[int, int, int]]) -> None:
    """Deaths, moments in which nobody can say, and a reload that counts restarts anew."""
    server = Server()
    board = board_of(server)
    before = Lived(0, 0)
    used, process = 0, 0
    for second, (kind, more, restarts) in enumerate(steps):
        if kind == 0:  # it died: the next process begins with nothing
            server.pid, process = server.pid + 1, 0
        process += more
        used += more
        server.cpu = 0 if kind == 1 else process
        server.restarts = max(0, server.restarts + restarts)
        board.tick(float(second))
        now = lived(board)
        assert before.cpu <= now.cpu <= used
        assert before.restarts <= now.restarts
        if kind == 2 and all(step[0] == 2 for step in steps[: second + 1]):
            assert now.cpu == used
        before = now
