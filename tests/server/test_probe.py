"""What `probe` makes of an answer that may be anybody's."""

from __future__ import annotations

from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.messages import Status, WorkerStatus
from genserver.server.probe import _format, _report

ENDPOINT = parse_endpoint("tcp://127.0.0.1:5555")
#: Clears the screen and names the window.
ORDERS = "\x1b[2J\x1b]0;mine\x07"


def test_what_a_server_says_gives_the_terminal_no_orders() -> None:
    """Nor lines of its own: each is as long as it is."""
    worker = WorkerStatus(0, "backoff", 7, "", 5556, cause=f"{ORDERS}died\nof it")
    status = Status("ready", f"scans:{ORDERS}cubes", "static", 1, -2, "", None, (worker,))
    shown = _format(_report(ENDPOINT, status))
    assert all(c.isprintable() or c == "\n" for c in shown)
    assert "last died: ?[2J?]0;mine?died of it" in shown
