"""`progress_line`: what is measured, in one line beside a training loop of one's own.

Owns nothing; runs on the loop's thread and starts none.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO, TypeVar

from genserver.protocol.verdict import Bottleneck

from .measured import ServerTelemetry, bottleneck, telemetry
from .usage import clock

__all__ = ["progress_line"]

Batch = TypeVar("Batch")
#: Seconds between two lines: on a terminal, where one takes the place of the other, and elsewhere.
ON_TERMINAL, ELSEWHERE = 0.5, 10.0
#: What a line says is that of the last so many seconds.
WINDOW = 10.0
#: Workers whose rates have room in a line.
MAX_WORKERS = 8


def progress_line(batches: Iterable[Batch], *, file: TextIO | None = None) -> Iterator[Batch]:
    """The same batches, for a loop of your own, with a line of what is measured beside it.

    ``for batch in progress_line(dataset): ...`` takes any iterable: a dataset, a `Client`. On a
    terminal the line is rewritten twice a second, elsewhere there is one every 10 s: steps a
    second, the share of the time in which the loop waits for its next batch, elements a second of
    each worker, and the verdict. It is also what tells the servers how long a step takes, without
    which inside tf.data a verdict names at most twice the workers that there are.

    * ``file``: where the line goes; ``sys.stderr`` when not given.

    One thread; only one loop of a process should be told of this way.
    """
    line = _Line(sys.stderr if file is None else file)
    elements = iter(batches)
    try:
        while True:
            clock.asks()
            try:
                batch = next(elements)
            except StopIteration:
                return
            line.step(clock.gets())
            yield batch
            del batch
    finally:
        line.end()


class _Line:
    """Of one loop."""

    def __init__(self, file: TextIO | None) -> None:
        """``file`` is None in a program that was started without a standard error."""
        self._file = file
        self._terminal = file is not None and file.isatty()
        self._every = ON_TERMINAL if self._terminal else ELSEWHERE
        self._steps, self._waiting = 0, 0.0
        #: (when, steps, seconds of waiting) of the last lines.
        self._marks: deque[tuple[float, int, float]] = deque()
        self._next = 0.0
        self._written = False

    def step(self, waited: float) -> None:
        """A batch came after so many seconds."""
        now = time.monotonic()
        self._steps += 1
        if not self._marks:  # the first one waited for processes and connections
            self._marks.append((now, self._steps, self._waiting))
            self._next = now + self._every
            return
        self._waiting += waited
        if now >= self._next:
            self._next = now + self._every
            self._write(now)

    def end(self) -> None:
        """The line stays, and what comes next begins below it."""
        if self._written and self._terminal and self._file is not None:
            self._file.write("\n")
            self._file.flush()
        self._written = False

    def _write(self, now: float) -> None:
        self._marks.append((now, self._steps, self._waiting))
        while self._marks[1][0] <= now - WINDOW:
            self._marks.popleft()
        began, steps, waiting = self._marks[0]
        if self._file is None:
            return
        seconds = max(now - began, 1e-6)
        rate, wait = (self._steps - steps) / seconds, (self._waiting - waiting) / seconds
        text = line_of(rate, min(1.0, wait), telemetry())
        if self._terminal:
            self._file.write(f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}")
        else:
            self._file.write(f"genserver: {text}\n")
        self._file.flush()
        self._written = True


def line_of(rate: float, wait: float, servers: Sequence[ServerTelemetry]) -> str:
    """The line's text."""
    parts = [f"{rate:.1f} steps/s", f"data wait {wait:.0%}"]
    spans = [server.span for server in servers if server.span is not None]
    workers = [f"{worker.elements:.1f}" for span in spans for worker in span.workers]
    if len(workers) > MAX_WORKERS:
        workers = [*workers[:MAX_WORKERS], "..."]
    if workers:
        parts.append(f"workers {' '.join(workers)} elements/s")
    one = bottleneck(tuple(servers))
    if one is not None:
        where = f"{one.endpoint} " if len(servers) > 1 else ""
        known = one.verdict.bottleneck is not Bottleneck.UNKNOWN
        parts.append(where + (one.verdict.sentence if known else "no verdict yet"))
    return ", ".join(parts)
