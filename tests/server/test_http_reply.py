"""What is answered over HTTP, without a socket."""

from __future__ import annotations

from dataclasses import replace

import pytest
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.telemetry import Snapshot
from genserver.server.board import STUCK_AFTER, Board, Shown
from genserver.server.http_reply import MAX_LINE, MAX_REQUEST, Page, page_at, reply
from hypothesis import given
from hypothesis import strategies as st

STATUS = Status("ready", "scans:cubes", "static", 5, -2, "", None)


def page(path: str) -> Page:
    return Page(200, f"at {path}\n".encode())


def head_and_body(answer: bytes | None) -> tuple[list[str], bytes]:
    assert answer is not None
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode("ascii").split("\r\n"), body


def board_of(status: Status | None, turned: float = 0.0) -> Board:
    board = Board(turned)
    if status is not None:
        board.shown = Shown(status, (Snapshot(at=0, cores=1, memory=1),), {})
    return board


def at(path: str, board: Board, now: float = 0.0) -> tuple[int, str]:
    found = page_at(path, board, now, lambda: Page(200, b"figures\n"))
    return found.code, found.body.decode()


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("GET /metrics HTTP/1.1", "/metrics"),
        ("GET /metrics HTTP/1.0", "/metrics"),
        ("GET /metrics?format=text HTTP/1.1", "/metrics"),
        ("GET http://127.0.0.1:9400/metrics HTTP/1.1", "/metrics"),
        ("GET /a%20b HTTP/1.1", "/a%20b"),
    ],
)
def test_a_get_is_answered_with_its_page(line: str, path: str) -> None:
    """With its length, and the connection ends."""
    head, body = head_and_body(reply(f"{line}\r\nHost: here\r\n\r\n".encode(), page))
    assert body == f"at {path}\n".encode()
    assert head[0] == "HTTP/1.1 200 OK"
    assert f"Content-Length: {len(body)}" in head
    assert "Connection: close" in head


def test_a_head_is_answered_without_a_body() -> None:
    """With the head that a GET has."""
    get = head_and_body(reply(b"GET /metrics HTTP/1.1\r\n\r\n", page))
    head = head_and_body(reply(b"HEAD /metrics HTTP/1.1\r\n\r\n", page))
    assert head == (get[0], b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"])
def test_another_method_is_refused_before_its_body_comes(method: str) -> None:
    """405, and which there are."""
    answer = reply(f"{method} /metrics HTTP/1.1\r\n".encode(), page)
    head, body = head_and_body(answer)
    assert head[0] == "HTTP/1.1 405 Method Not Allowed"
    assert "Allow: GET, HEAD" in head
    assert body == b"only GET and HEAD\n"


@pytest.mark.parametrize(
    "line",
    [b"hello", b"", b"GET", b"GET /metrics", b"GET /metrics HTTP/2.0", b"get /metrics HTTP/1.1",
     b"GET metrics HTTP/1.1", b"GET  /metrics HTTP/1.1", b"GET /m\xfctrics HTTP/1.1",
     b"GET /\0 HTTP/1.1", b"PRI * HTTP/2.0", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"],
)  # fmt: skip
def test_what_is_no_request_is_refused_at_its_first_line(line: bytes) -> None:
    """400, without waiting for more."""
    assert head_and_body(reply(line + b"\r\n", page))[0][0] == "HTTP/1.1 400 Bad Request"


def test_a_request_that_is_too_long_is_refused() -> None:
    """As soon as that is sure: the first line, and all of it."""
    assert reply(b"G" * MAX_LINE, page) is None
    assert head_and_body(reply(b"G" * (MAX_LINE + 1), page))[0][0].startswith("HTTP/1.1 431 ")
    begun = b"GET /metrics HTTP/1.1\r\nX: "
    assert reply(begun + b"x" * (MAX_REQUEST - len(begun)), page) is None
    longer = reply(begun + b"x" * MAX_REQUEST, page)
    assert head_and_body(longer)[0][0].startswith("HTTP/1.1 431 ")


@given(st.binary(max_size=200), st.sampled_from([b"", b"GET /metrics HTTP/1.1\r\n", b"GET /"]))
def test_whatever_comes_is_answered_once_or_waited_for(more: bytes, begun: bytes) -> None:
    """In pieces as at once: what has an answer gets the same one whatever follows."""
    whole = begun + more + b"\r\n\r\n"
    cuts = [reply(whole[:size], page) for size in range(len(whole) + 1)]
    first = next(answer for answer in cuts if answer is not None)
    assert first.startswith(b"HTTP/1.1 ")
    assert set(cuts[cuts.index(first) :]) == {first}


def test_a_path_that_is_not_there_says_which_are() -> None:
    """404."""
    for path in ("/", "/metrics/", "/healthz/x", "*", "/debug"):
        assert at(path, board_of(STATUS)) == (404, "there are /metrics, /healthz and /readyz\n")


def test_a_server_is_healthy_as_long_as_its_loop_turns() -> None:
    """Also while it starts; else for how long it has not. A stuck one is not ready either."""
    for status in (None, replace(STATUS, state="starting"), STATUS):
        assert at("/healthz", board_of(status), STUCK_AFTER) == (200, "ok\n")
    late = 503, "the supervisor's loop has not turned for 12 s\n"
    assert at("/healthz", board_of(STATUS), 12.0) == late
    assert at("/readyz", board_of(STATUS), 12.0) == late


def test_a_server_is_ready_when_trainers_can_be_served() -> None:
    """Else its state and why, in one line."""
    assert at("/readyz", board_of(STATUS)) == (200, "ready\n")
    assert at("/readyz", board_of(None)) == (503, "starting\n")
    starting = replace(STATUS, state="starting")
    assert at("/readyz", board_of(starting)) == (503, "starting\n")
    failed = replace(STATUS, state="failed", cause="scans.py: no\nsuch \udcff file")
    assert at("/readyz", board_of(failed)) == (503, "failed: scans.py: no such   file\n")
    dead = replace(starting, workers=(WorkerStatus(0, "backoff", 7, "", 0, "killed by SIGKILL"),))
    assert at("/readyz", board_of(dead)) == (503, "starting: killed by SIGKILL\n")


def test_there_are_figures_from_the_first_look_on() -> None:
    """Before it a scraper is told to come again."""
    assert at("/metrics", board_of(None)) == (503, "starting\n")
    assert at("/metrics", board_of(STATUS)) == (200, "figures\n")
