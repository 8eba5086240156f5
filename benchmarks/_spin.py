"""Pure-Python work of a fixed size, and, run as a program, that work without any serving.

    python _spin.py LOOPS BEGIN END

makes elements of LOOPS iterations, counts those that lie between BEGIN and END, two instants of
the system's monotonic clock, and prints elements per second. Imports nothing but the standard
library: what it measures is the bare loop.
"""

import sys
import time

#: What one element of the workload "python" costs, in seconds.
ELEMENT_SECONDS = 0.006
#: Iterations of one trial of the calibration, and trials. Short and many: the fastest counts,
#: and one that another process interrupts does not.
TRIAL_LOOPS, TRIALS = 10_000, 200


def spin(loops: int) -> int:
    """An element: ``loops`` iterations under the GIL. A clock would hide a lack of cores."""
    value = 1
    for i in range(loops):
        value = (value * 31 + i) & 0xFFFF
    return value


def calibrate() -> int:
    """The iterations that take `ELEMENT_SECONDS` when nothing else runs."""
    return round(TRIAL_LOOPS * ELEMENT_SECONDS / min(_trial() for _ in range(TRIALS)))


def count_rate(loops: int, begin: float, end: float) -> float:
    """Elements per second between two instants; runs, and counts nothing, before the first."""
    while time.monotonic() < begin:
        spin(loops)
    began = now = time.monotonic()
    made = 0
    while now < end:
        spin(loops)
        made += 1
        now = time.monotonic()
    return made / (now - began) if made else 0.0


def _trial() -> float:
    began = time.perf_counter()
    spin(TRIAL_LOOPS)
    return time.perf_counter() - began


if __name__ == "__main__":
    print(count_rate(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
