"""Pure-Python work of a fixed size. Imports nothing but the standard library."""

import time
from itertools import repeat

#: Iterations of one trial of the calibration, and trials. Short and many: the fastest counts,
#: and one that another process interrupts does not.
TRIAL_LOOPS, TRIALS = 10_000, 200


#: A permutation of the numbers that Python keeps ready.
TABLE = tuple((31 * value + 7) & 0xFF for value in range(256))


def spin(loops: int) -> int:
    """An element: ``loops`` iterations under the GIL. A clock would hide a lack of cores.

    Nothing is allocated: whether a new number fits the pool of memory at hand is chance, stays so
    for the life of a process, and made such a loop 15 % faster in one process than in another.
    """
    value, table = 1, TABLE
    for _ in repeat(None, loops):
        value = table[value ^ 0x55]
    return value


def calibrate() -> float:
    """The iterations that take a millisecond when nothing else runs."""
    return TRIAL_LOOPS / (1000 * min(_trial() for _ in range(TRIALS)))


def _trial() -> float:
    began = time.perf_counter()
    spin(TRIAL_LOOPS)
    return time.perf_counter() - began
