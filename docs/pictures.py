"""Draw docs/top.svg and docs/peek.png: `python docs/pictures.py`.

`genserver top` is of a server that is made up, and needs the extra `top`: nothing is served or
measured, so the picture is the same everywhere. `genserver peek` is of the MRI example, as a user
sees it; it needs the extras `peek` and `demo`, and port 5555.
"""

from __future__ import annotations

import io
import math
import re
import subprocess
import sys
from pathlib import Path

from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.telemetry import Snapshot, TrainerTotals, WorkerTotals
from genserver.server import Server
from genserver.server.history import History
from genserver.server.top_page import Scene, page
from genserver.server.top_screen import drawn
from rich.console import Console
from rich.terminal_theme import MONOKAI

__all__ = ["peek", "picture"]

HERE = Path(__file__).parent
TARGET, PEEK = HERE / "top.svg", HERE / "peek.png"
MRI = HERE.parent / "examples" / "mri"
ENDPOINT = "tcp://127.0.0.1:5555"
WIDTH, HEIGHT, SECONDS = 138, 14, 61
WORKERS = 3
SECOND = 1_000_000


def _pace(second: int, worker: int) -> float:
    """Elements a second of a worker: its scans differ, and it died once."""
    died = worker == 1 and 22 <= second < 29
    return 0.0 if died else 15.0 + 8.0 * math.sin(second / 7 + 2 * worker) - worker


def _snapshot(second: int) -> Snapshot:
    made = [int(sum(_pace(s, i) for s in range(second))) for i in range(WORKERS)]
    died = second > 22
    return Snapshot(
        at=second * SECOND, cores=16, memory=64 * 2**30,
        workers=tuple(
            WorkerTotals(
                index=i, elements=made[i], nbytes=made[i] * 1_310_720,
                making=int(0.965 * second * SECOND) + i * 9_000 * second,
                blocked=4_000 * second, p50=(48_300, 52_100, 49_600)[i],
                p99=(96_400, 104_000, 91_800)[i], kept=(6, 3, 5)[i], room=100,
                replayed=7 if i == 1 and died else 0, restarts=int(i == 1 and died),
                rss=412_000_000 + 9_000_000 * i, cpu=int((0.93 - i / 50) * second * SECOND),
                error="signal 9 (SIGKILL), maybe out of memory" if i == 1 and died else "",
            )
            for i in range(WORKERS)
        ),
        trainers=(
            TrainerTotals(
                session=0x7C1E90B2 << 32, elements=sum(made), nbytes=sum(made) * 1_310_720,
                waiting=int(0.58 * second * SECOND), using=int(0.42 * second * SECOND), steps=True,
            ),
        ),
    )  # fmt: skip


def picture() -> str:
    """The picture, as SVG."""
    history = History()
    for last in range(2, SECONDS + 1):
        history.add([_snapshot(second) for second in range(max(0, last - 10), last)])
    workers = tuple(WorkerStatus(i, "ready", 100 + i, "", 5556 + i) for i in range(WORKERS))
    status = Status("ready", "scans:cubes", "static", 1, -1, "", None, workers)
    scene = Scene(endpoint="tcp://127.0.0.1:5555", status=status, history=history)
    console = Console(
        record=True, width=WIDTH, height=HEIGHT, file=io.StringIO(), highlight=False,
        force_terminal=True, color_system="truecolor",
    )  # fmt: skip
    console.print(drawn(page(scene, width=WIDTH, height=HEIGHT)))
    drawing = console.export_svg(title="genserver top", theme=MONOKAI, unique_id="top")
    # The fonts of who looks at it: a picture loads nothing from elsewhere.
    return re.sub(r"\s*@font-face \{.*?\}", "", drawing, flags=re.DOTALL)


def peek() -> None:
    """The other one; of one worker, so that each time it is the same cubes."""
    with Server("cubes:cubes", cwd=str(MRI), workers=1, seed=4, bind=ENDPOINT) as server:
        command = [sys.executable, "-m", "genserver.server", "peek", server.endpoint]
        subprocess.run([*command, "--save", str(PEEK)], check=True, timeout=120)


if __name__ == "__main__":
    TARGET.write_text(picture())
    peek()
