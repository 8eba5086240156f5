"""Draw docs/top-mri.svg and docs/peek.png: real servers of the MRI example.

For the first one starts `genserver serve cubes:cubes` with two workers, Keras' `fit` with
`telemetry_callback`, and `genserver top` in tmux; after a minute takes what the terminal shows,
with its colours. The second is `genserver peek --save`, of one worker, so that each time it is the
same cubes. All processes end with it. Needs tmux and the extras `demo`, `tensorflow`, `top` and
`peek`; the figures are this machine's.

    python docs/screenshot.py [--seconds 75]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from genserver.server import Server
from pictures import as_svg
from rich.text import Text

DOCS = Path(__file__).parent
EXAMPLE = DOCS.parent / "examples" / "mri"
ENDPOINT = "tcp://127.0.0.1:5598"
COLUMNS, LINES = 118, 13
#: Seconds that anything may take to end.
STOP_SECONDS = 20.0
TRAIN = """
import sys
from genserver.client import from_server, telemetry_callback
from model import small_unet
dataset = from_server(sys.argv[1], seed=7).batch(4)
small_unet(10_000).fit(
    dataset, steps_per_epoch=10_000, epochs=1, verbose=0, callbacks=[telemetry_callback()]
)
"""


@contextlib.contextmanager
def _running(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, cwd=EXAMPLE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


def _tmux(*command: str) -> str:
    """In a tmux of its own, whatever the user's looks like."""
    done = subprocess.run(
        ["tmux", "-L", f"genserver-{os.getpid()}", "-f", "/dev/null", *command],
        capture_output=True, text=True, check=True, timeout=STOP_SECONDS,
    )  # fmt: skip
    return done.stdout


def _seen(seconds: float) -> str:
    """What `top` shows after so many seconds, with its colours."""
    words = [sys.executable, "-m", "genserver.server", "top", ENDPOINT]
    _tmux("new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES), shlex.join(words))
    try:
        time.sleep(seconds)  # a minute of figures is what is to be seen
        return _tmux("capture-pane", "-e", "-p")
    finally:
        _tmux("kill-server")


def _peek() -> None:
    with Server("cubes:cubes", cwd=str(EXAMPLE), workers=1, seed=4, bind=ENDPOINT) as server:
        command = [sys.executable, "-m", "genserver.server", "peek", server.endpoint]
        subprocess.run([*command, "--save", str(DOCS / "peek.png")], check=True, timeout=120)


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description="genserver top while the MRI example trains.")
    parser.add_argument("--seconds", type=float, default=75.0, help="of figures")
    options = parser.parse_args()
    python = sys.executable
    serve = ["serve", "cubes:cubes", "--workers", "2", "--length", "infinite", "--bind", ENDPOINT]
    with _running(python, "-m", "genserver.server", *serve) as server:
        assert server.stdout is not None
        if not server.stdout.readline():  # the start-up line, or the end of a server that failed
            sys.exit("the server did not start")
        with _running(python, "-c", TRAIN, ENDPOINT):
            captured = _seen(options.seconds)
    text = Text.from_ansi(captured.rstrip("\n"))
    title = f"genserver top {ENDPOINT}"
    drawing = as_svg(text, title=title, width=COLUMNS, height=LINES, name="top-mri")
    (DOCS / "top-mri.svg").write_text(drawing)
    _peek()


if __name__ == "__main__":
    main()
