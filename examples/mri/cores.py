"""The two cores of the demo, and how much of them other programs took."""

import os
from pathlib import Path

STAT = Path("/proc/stat")  # Linux; elsewhere nothing is known


def keep_to_two_cores() -> None:
    """So that the bound on the gain holds on a larger machine, too; children inherit it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def busy_seconds() -> float:
    """Seconds that our cores have been busy, with anybody's work."""
    ours = {f"cpu{core}" for core in os.sched_getaffinity(0)}
    rows = (line.split() for line in STAT.read_text().splitlines())
    user, nice, system, *_, irq, softirq, steal = zip(
        *([int(ticks) for ticks in row[1:9]] for row in rows if row[0] in ours), strict=True
    )
    return sum(map(sum, (user, nice, system, irq, softirq, steal))) / os.sysconf("SC_CLK_TCK")


class Others:
    """How many cores other programs used since it was made; our children must have ended."""

    def __init__(self) -> None:
        self._start = self._now()

    def cores(self) -> float | None:
        if self._start is None or (now := self._now()) is None:
            return None
        elapsed, busy, ours = (b - a for a, b in zip(self._start, now, strict=True))
        return max(0.0, (busy - ours) / elapsed)

    def _now(self) -> tuple[float, float, float] | None:
        if not STAT.exists():
            return None
        times = os.times()
        return times.elapsed, busy_seconds(), sum(times[:4])
