"""`genserver top` as a user runs it: through a pipe, and on a terminal."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys

import pexpect
import pytest

from ..support.servers import PATIENCE, SUPPORT, Serve, being_read

COMMAND = [sys.executable, "-m", "genserver.server", "top"]
#: What a terminal obeys; the rest is what is seen.
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
COLUMNS = 80


def test_lines_through_a_pipe_come_to_a_verdict(shared: Serve) -> None:
    """One line at a time as soon as it is known; a reader who has seen enough ends it quietly."""
    server = shared("generators:napping", workers=1, arguments={"seconds": 0.02})
    with (
        being_read(server.endpoint),
        subprocess.Popen(
            [*COMMAND, server.endpoint], cwd=SUPPORT, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as top,
    ):  # fmt: skip
        assert top.stdout is not None
        assert top.stderr is not None
        lines = [top.stdout.readline()]
        while "producer-bound" not in lines[-1] and len(lines) < 30:
            lines.append(top.stdout.readline())
        top.stdout.close()
        assert (top.wait(PATIENCE), top.stderr.read()) == (0, "")
    assert "1 of 1 worker ready" in lines[-1]
    assert re.match(r"[\d.]+ elements/s, [\d.]+ MB/s, 1 trainer waiting \d+%", lines[-1])


@pytest.mark.parametrize("key", ["\x03", "q"])
def test_a_terminal_has_a_table_that_a_key_ends(shared: Serve, key: str) -> None:
    """Ctrl-C or q. On its other screen, within its width; the last table stays, the terminal has
    its modes back, and the exit code is 0."""
    server = shared("generators:napping", workers=1, arguments={"seconds": 0.02})
    with being_read(server.endpoint):
        top = pexpect.spawn(
            COMMAND[0], [*COMMAND[1:], server.endpoint], cwd=str(SUPPORT), encoding="utf8",
            dimensions=(24, COLUMNS), timeout=PATIENCE,
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        top.expect_exact("\x1b[?1049h")
        top.expect("last minute.*ready")
        top.expect("at steps")
        top.send(key)
        top.expect_exact("\x1b[?1049l")
        top.expect(pexpect.EOF)
        assert top.getecho()
        top.close()
    assert top.exitstatus == 0
    left = [ESCAPES.sub("", line).rstrip() for line in top.before.splitlines()]
    assert any(line.startswith(server.endpoint) for line in left)
    assert any(re.match(r" +0  ready +[\d.]+ +[\d.]+ms", line) for line in left)
    assert all(len(line) <= COLUMNS for line in left)
    assert not any("Traceback" in line for line in left)


def test_top_says_when_nobody_listens() -> None:
    """As probe does: 69, and how to start a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = subprocess.run(
        [*COMMAND, f"tcp://127.0.0.1:{port}"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 69
    assert "genserver serve" in done.stderr
    assert done.stdout == ""
