"""``genserver top``: connects like a trainer that reads nothing, and shows what is measured.

Owns the connection, and on a terminal its screen. What is shown says top_page.py.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable

from genserver.protocol.endpoint import Endpoint
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.messages import Status
from genserver.protocol.transport.connection import Connection
from genserver.protocol.verdict import LEAST_SECONDS

from .asking import asked
from .config import ConfigError
from .figures import ASCII, BLOCKS, Line
from .history import History
from .top_page import Scene, page, plain

__all__ = ["top"]

#: Seconds that a server may take to answer, and then to the first figures, which come every second.
ANSWER_SECONDS, FIGURES_SECONDS = 5.0, 6.0
#: Seconds of figures after which `--once` goes without a verdict.
JUDGED_SECONDS = 15.0
#: Seconds without figures that are worth a word.
SILENT_SECONDS = 3.0
#: Seconds between two looks; figures are a second old at most.
TURN_SECONDS = 0.25
#: Columns and lines where there is no terminal that has some: all of them.
NO_TERMINAL = 200, 1000
#: What was logged while the screen was in use.
MAX_LOGGED = 20

#: Shows what is known now.
Show = Callable[[Scene], None]


def top(
    text: str, *, keys: str | None, insecure_network: bool, interval: float, once: bool
) -> ExitCode:
    """Show how the server at ``text`` fares until q or Ctrl-C, or ``once``.

    Raises what ends it: `Unreachable`, `PeerLost`, `KeyRejected`, `ConfigError`, ...
    """
    if not 1.0 <= interval <= 3600.0:
        raise ConfigError(
            "--interval must be 1 to 3600 seconds: a server says its figures once a second",
            ExitCode.USAGE,
        )
    with asked(
        text, seconds=ANSWER_SECONDS, keys=keys, insecure_network=insecure_network
    ) as (endpoint, connection, status):  # fmt: skip
        viewer = _Viewer(endpoint, connection, status)
        if once:
            viewer.until_judged()
            _show_once(viewer.scene)
            return ExitCode.OK
        # A terminal must get its own screen back whoever ends this.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with contextlib.suppress(KeyboardInterrupt):  # that is how one leaves a viewer
            if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and _has_rich():
                _live(viewer, interval)
            else:
                viewer.watch(lambda scene: print(plain(scene), flush=True), interval)
    return ExitCode.OK


class _Viewer:
    """What is known of one server, and when to show it."""

    def __init__(self, endpoint: Endpoint, connection: Connection, status: Status) -> None:
        self._endpoint, self._connection, self._status = endpoint, connection, status
        self._history = History()
        self._heard = time.monotonic()
        self._measured = False

    @property
    def scene(self) -> Scene:
        """Now."""
        return Scene(
            endpoint=str(self._endpoint), status=self._status, history=self._history,
            absence=self._connection.absence, silent=self._silent,
        )  # fmt: skip

    @property
    def _silent(self) -> float:
        """Seconds without figures, or 0.0 as long as they may be on their way."""
        silent = time.monotonic() - self._heard
        return silent if silent > SILENT_SECONDS else 0.0

    def until_judged(self) -> None:
        """Wait for as many seconds of figures as a verdict takes; not for ever where trainers come
        and go."""
        deadline = time.monotonic() + JUDGED_SECONDS
        while (span := self._history.span) is None or span.seconds < LEAST_SECONDS:
            if time.monotonic() > deadline:
                return
            self._look()

    def watch(self, show: Show, interval: float, over: Callable[[], bool] = lambda: False) -> None:
        """Show everything that is new, every ``interval`` seconds at most, until it is ``over``."""
        due = time.monotonic()
        news = True
        while not over():
            news |= self._look()
            now = time.monotonic()
            # Of a server that is away there are no news but for how long.
            if now >= due and (news or self._connection.absence or self._silent):
                show(self.scene)
                news, due = False, max(due + interval, now)

    def _look(self) -> bool:
        """Wait a moment; whether there is anything new. Raises what made the server unusable."""
        self._connection.wait(lambda _: False, TURN_SECONDS)
        status = self._connection.status or self._status
        changed, self._status = status is not self._status, status
        new = self._history.add(self._connection.snapshots)
        self._measured |= new
        waited_for = not self._measured and not self._connection.absence
        if new or self._connection.absence:
            self._heard = time.monotonic()
        if waited_for and self._silent > FIGURES_SECONDS:
            raise ConfigError(
                f"the server at {self._endpoint} answers and says no figures: it is of an older "
                "version; start it again with this one",
                ExitCode.UNAVAILABLE,
            )
        return new or changed


def _has_rich() -> bool:
    """Else one sentence says what is missing."""
    if importlib.util.find_spec("rich") is not None:
        return True
    print(
        "genserver: a live table needs the package rich, so here are plain lines: "
        "pip install 'genserver-data[top]'",
        file=sys.stderr,
    )
    return False


def _live(viewer: _Viewer, interval: float) -> None:
    """The table on a screen of its own. What is logged meanwhile is said after it."""
    from .keyboard import Keyboard
    from .top_screen import Screen

    logged, blocks = _Logged(), _blocks()  # on the screen, standard output is another object
    logging.getLogger("genserver").addHandler(logged)
    try:
        with Keyboard() as keyboard, Screen() as screen:

            def show(scene: Scene) -> None:
                width, height = screen.size
                screen.show(page(scene, width=width, height=height, blocks=blocks))

            viewer.watch(show, interval, keyboard.wants_to_leave)
    finally:
        logging.getLogger("genserver").removeHandler(logged)
        for line in logged.lines:
            print(line, file=sys.stderr)


class _Logged(logging.Handler):
    """Keeps the last lines. Any thread."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: deque[str] = deque(maxlen=MAX_LOGGED)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def _show_once(scene: Scene) -> None:
    """For scripts: the table as text."""
    width, _ = shutil.get_terminal_size(NO_TERMINAL)
    for line in page(scene, width=width, height=NO_TERMINAL[1], blocks=_blocks()):
        print(_text(line))


def _text(line: Line) -> str:
    return "".join(piece.text for piece in line).rstrip()


def _blocks() -> str:
    """What standard output can show."""
    try:
        BLOCKS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS
