"""Shows what a server process prints at this process's ``sys.stdout`` and ``sys.stderr``.

Owns one thread, and the pipes of the process it was given. The streams are looked up at each line,
so that in a notebook the lines appear in the cell that runs.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
import threading
from typing import TextIO

__all__ = ["Echo"]

#: Seconds that the last lines may take after the process has ended.
CLOSE_SECONDS = 2.0
#: Bounds a wait of the thread, in seconds.
TURN_SECONDS = 0.5
#: Longest piece without a line end that is kept together, in bytes.
LONGEST_LINE = 64 * 1024
_OURS = "genserver: "


class Echo:
    """One process with pipes for its standard streams. `close` after it has ended."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._files = (process.stdin, process.stdout, process.stderr)
        self._rest = {"stdout": b"", "stderr": b""}
        self._closing = False
        #: The last sentence of genserver's own on standard error.
        self.last_error = ""
        self._thread = threading.Thread(target=self._run, name="genserver-echo", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Show what is left and close the pipes; idempotent. Any thread."""
        self._closing = True
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            for file in self._files:
                file.close()

    def _run(self) -> None:
        _, output, errors = self._files
        with selectors.DefaultSelector() as selector:
            for file, name in ((output, "stdout"), (errors, "stderr")):
                selector.register(file, selectors.EVENT_READ, name)
            while selector.get_map():
                ready = selector.select(0.0 if self._closing else TURN_SECONDS)
                for key, _ in ready:
                    data = os.read(key.fd, 1 << 16)
                    self._show(key.data, data)
                    if not data:
                        selector.unregister(key.fileobj)
                if self._closing and not ready:
                    return  # somebody else holds the pipes' other ends

    def _show(self, name: str, data: bytes) -> None:
        """Whole lines; at the end, or when it grows too long, what there is."""
        whole, mark, rest = (self._rest[name] + data).rpartition(b"\n")
        if not data or len(rest) > LONGEST_LINE:
            shown, self._rest[name] = whole + mark + rest, b""
        else:
            shown, self._rest[name] = whole + mark, rest
        text = shown.decode(errors="replace")
        if name == "stderr":
            self._note_errors(text)
        stream = getattr(sys, name)
        if text and stream is not None:
            # It may be closed or the user's own; the pipes must be read on whatever it raises.
            with contextlib.suppress(Exception):
                _write(stream, text)

    def _note_errors(self, text: str) -> None:
        for line in text.splitlines():
            if line.startswith(_OURS):
                self.last_error = line.removeprefix(_OURS)


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
    except UnicodeEncodeError:  # a stream that is not UTF-8
        data = text.encode(stream.encoding, "backslashreplace")
        stream.write(data.decode(stream.encoding))
    stream.flush()
