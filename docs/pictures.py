"""Draw docs/top-*.svg: `genserver top` of servers that are made up, one for each verdict.

Needs the extra `top`; nothing is served or measured, so the pictures are the same everywhere.
`screenshot.py` takes one of a real server.

    python docs/pictures.py
"""

from __future__ import annotations

import html
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.telemetry import Snapshot, TrainerTotals, WorkerTotals
from genserver.server.history import History
from genserver.server.top_page import Scene, page
from genserver.server.top_screen import drawn
from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

__all__ = ["JOBS", "Job", "as_svg", "picture"]

DOCS = Path(__file__).parent
WIDTH, HEIGHT, SECONDS = 138, 14, 61
SECOND = 1_000_000
#: What rich draws: spaces, and a text with its place, its length and its characters.
_SPACE = "\N{NO-BREAK SPACE}"
_TEXT = re.compile(
    r'(?P<style><text class="[^"]*") x="(?P<x>[\d.]+)" (?P<y>y="[\d.]+") '
    r'textLength="(?P<length>[\d.]+)" (?P<clip>clip-path="[^"]*")>(?P<shown>[^<]*)<'
)


@dataclass(frozen=True)
class Job:
    """What a server and its trainer are like. Shares are of their time; bytes, microseconds."""

    making: float
    blocked: float
    waiting: float
    #: Elements a second of one worker, and bytes of each.
    pace: float
    nbytes: int
    p50: int
    p99: int
    kept: int
    cpu: float
    workers: int = 3
    #: Seconds at which worker 1 died and was there again; (0, 0) for never.
    died: tuple[int, int] = (0, 0)

    def rate(self, second: int, worker: int) -> float:
        """Of one worker, whose scans differ, in one second."""
        if self.died[0] <= second < self.died[1] and worker == 1:
            return 0.0
        return self.pace * (1 + 0.4 * math.sin(second / 7 + 2 * worker)) - worker


#: By the word of the verdict.
JOBS = {
    "producer": Job(
        making=0.965, blocked=0.004, waiting=0.58, pace=15.0, nbytes=1_310_720, p50=49_600,
        p99=96_400, kept=5, cpu=0.93, died=(22, 29),
    ),
    "trainer": Job(
        making=0.22, blocked=0.74, waiting=0.01, pace=9.0, nbytes=1_310_720, p50=21_300,
        p99=30_100, kept=98, cpu=0.21,
    ),
    "wire": Job(
        making=0.12, blocked=0.85, waiting=0.66, pace=4.0, nbytes=8_388_608, p50=24_100,
        p99=40_200, kept=97, cpu=0.14,
    ),
}  # fmt: skip


def _snapshot(job: Job, second: int) -> Snapshot:
    made = [int(sum(job.rate(s, i) for s in range(second))) for i in range(job.workers)]
    dead = [i == 1 and 0 < job.died[0] < second for i in range(job.workers)]
    return Snapshot(
        at=second * SECOND, cores=16, memory=64 * 2**30,
        workers=tuple(
            WorkerTotals(
                index=i, elements=made[i], nbytes=made[i] * job.nbytes,
                making=int((job.making + i / 150) * second * SECOND),
                blocked=int(job.blocked * second * SECOND), p50=job.p50 + 1_700 * i,
                p99=job.p99 + 2_900 * i, kept=max(0, job.kept - i), room=100,
                replayed=7 * dead[i], restarts=int(dead[i]), rss=412_000_000 + 9_000_000 * i,
                cpu=int((job.cpu - i / 50) * second * SECOND),
                error="signal 9 (SIGKILL), maybe out of memory" if dead[i] else "",
            )
            for i in range(job.workers)
        ),
        trainers=(
            TrainerTotals(
                session=0x7C1E90B2 << 32, elements=sum(made), nbytes=sum(made) * job.nbytes,
                waiting=int(job.waiting * second * SECOND),
                using=int((1 - job.waiting) * second * SECOND), steps=True,
            ),
        ),
    )  # fmt: skip


def as_svg(text: Text, *, title: str, width: int, height: int, name: str) -> str:
    """A terminal's contents; ``name`` tells its styles from another picture's in one document."""
    console = Console(
        record=True, width=width, height=height, file=io.StringIO(), highlight=False,
        force_terminal=True, color_system="truecolor",
    )  # fmt: skip
    console.print(text, no_wrap=True, overflow="crop")
    drawing = console.export_svg(title=title, theme=MONOKAI, unique_id=name)
    # The fonts of who looks at it: a picture loads nothing from elsewhere.
    drawing = re.sub(r"\s*@font-face \{.*?\}", "", drawing, flags=re.DOTALL)
    return _TEXT.sub(_trimmed, drawing)


def _trimmed(text: re.Match[str]) -> str:
    """Some programs leave out the spaces that a text begins with and put the rest in their place:
    so it begins behind them."""
    shown = html.unescape(text["shown"]).strip("\n")
    bare = shown.strip(_SPACE)
    if not bare:
        return text[0]
    column = float(text["length"]) / len(shown)
    x = float(text["x"]) + column * (len(shown) - len(shown.lstrip(_SPACE)))
    written = html.escape(bare).replace(_SPACE, "&#160;")
    length = f'textLength="{column * len(bare):g}"'
    return f'{text["style"]} x="{x:g}" {text["y"]} {length} {text["clip"]}>{written}<'


def picture(name: str) -> str:
    """Of one of `JOBS`, as SVG."""
    job, history = JOBS[name], History()
    for last in range(2, SECONDS + 1):
        history.add([_snapshot(job, second) for second in range(max(0, last - 10), last)])
    workers = tuple(WorkerStatus(i, "ready", 100 + i, "", 5556 + i) for i in range(job.workers))
    status = Status("ready", "scans:cubes", "static", 1, -1, "", None, workers)
    scene = Scene(endpoint="tcp://127.0.0.1:5555", status=status, history=history)
    lines = page(scene, width=WIDTH, height=HEIGHT)
    return as_svg(
        drawn(lines), title="genserver top", width=WIDTH, height=HEIGHT, name=f"top-{name}"
    )


if __name__ == "__main__":
    for verdict in JOBS:
        (DOCS / f"top-{verdict}.svg").write_text(picture(verdict))
