"""Pure-Python work of a fixed size. Imports nothing but the standard library."""

import time

#: Iterations of one trial of the calibration, and trials. Short and many: the fastest counts,
#: and one that another process interrupts does not.
TRIAL_LOOPS, TRIALS = 10_000, 200


def spin(loops: int) -> int:
    """An element: ``loops`` iterations under the GIL. A clock would hide a lack of cores."""
    value = 1
    for i in range(loops):
        value = (value * 31 + i) & 0xFFFF
    return value


def calibrate() -> float:
    """The iterations that take a millisecond when nothing else runs."""
    return TRIAL_LOOPS / (1000 * min(_trial() for _ in range(TRIALS)))


def _trial() -> float:
    began = time.perf_counter()
    spin(TRIAL_LOOPS)
    return time.perf_counter() - began
