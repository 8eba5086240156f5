"""What is answered to what arrives over HTTP: one request of a connection, then it ends. Pure.

As little of HTTP as a scraper, a probe and curl need: GET and HEAD, no bodies, no headers that
matter. Anything else is refused in a line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .board import STUCK_AFTER, Board

__all__ = ["MAX_REQUEST", "Page", "page_at", "reply"]

#: Bytes of a request's first line, and of all of its head; Prometheus sends 300 together.
MAX_LINE, MAX_REQUEST = 2048, 8192
#: A method, a path of ours or of a proxy's, and the version.
_REQUEST = re.compile(
    rb"([A-Z]{1,20}) (?:http://[^/? ]*)?(/[!->@-~]*|\*)(?:\?[!-~]*)? HTTP/1\.[01]\r?"
)
_END = re.compile(rb"\r?\n\r?\n")
PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer without its head."""

    code: int
    body: bytes
    kind: str = PLAIN


_REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
    431: "Request Header Fields Too Large", 503: "Service Unavailable",
}  # fmt: skip


def reply(received: bytes, page: Callable[[str], Page]) -> bytes | None:
    """The whole answer to what was received so far; None as long as more of it must come.

    ``page`` is what is at a path.
    """
    line, mark, _ = received.partition(b"\n")
    if len(line) > MAX_LINE:
        return _written(_said(431, f"a request's first line has {MAX_LINE} bytes at most"))
    if not mark:
        return None
    request = _REQUEST.fullmatch(line)
    if request is None:
        return _written(_said(400, "this is no request of HTTP/1"))
    method, path = request[1], request[2].decode("ascii")
    if method not in (b"GET", b"HEAD"):
        return _written(_said(405, "only GET and HEAD"), allow=True)
    end = _END.search(received)
    if end is None and len(received) > MAX_REQUEST:
        return _written(_said(431, f"a request has {MAX_REQUEST} bytes at most"))
    if end is None:
        return None
    return _written(page(path), body=method == b"GET")


def page_at(path: str, board: Board, now: float, metrics: Callable[[], Page]) -> Page:
    """What is at a path; ``metrics`` makes that of the figures, where there are some."""
    if path == "/healthz":
        return _healthy(board, now)
    if path == "/readyz":
        return _ready(board, now)
    if path != "/metrics":
        return _said(404, "there are /metrics, /healthz and /readyz")
    return _said(503, "starting") if board.shown is None else metrics()


def _healthy(board: Board, now: float) -> Page:
    age = board.age(now)
    if age > STUCK_AFTER:
        return _said(503, f"the supervisor's loop has not turned for {age:.0f} s")
    return _said(200, "ok")


def _ready(board: Board, now: float) -> Page:
    healthy = _healthy(board, now)
    if healthy.code != 200:
        return healthy
    status = None if board.shown is None else board.shown.status
    if status is None:
        return _said(503, "starting")
    if status.state == "ready":
        return _said(200, "ready")
    causes = [status.cause, *(worker.cause for worker in status.workers)]
    why = next(filter(None, causes), "")
    return _said(503, f"{status.state}: {why}" if why else status.state)


def _said(code: int, text: str) -> Page:
    """One line; errors of generators may have several, and anything in them."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return Page(code, line.encode() + b"\n")


def _written(page: Page, *, body: bool = True, allow: bool = False) -> bytes:
    head = [
        f"HTTP/1.1 {page.code} {_REASONS[page.code]}",
        f"Content-Type: {page.kind}",
        f"Content-Length: {len(page.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
        *(["Allow: GET, HEAD"] if allow else []),
    ]
    return "\r\n".join([*head, "", ""]).encode("ascii") + (page.body if body else b"")
