"""Each step as it is done: what must be, its figure, and whether it is so."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from shell import Failed

__all__ = ["Report", "Step"]

Step = Callable[["Report"], None]


class Report:
    """Prints as it goes, so that a run that is cut off still says how far it came."""

    def __init__(self) -> None:
        self.passed = self.failed = 0

    def must(self, what: str, good: bool, figure: object = "") -> None:
        """One line; what is not so is counted, and the run goes on."""
        self.passed += good
        self.failed += not good
        print(f"  {'yes' if good else 'NO '}  {what:<62} {figure}", flush=True)

    def run(self, steps: Iterable[Step]) -> None:
        """Each is named by its docstring; one that breaks off costs itself, not those after it."""
        for step in steps:
            print((step.__doc__ or step.__name__).splitlines()[0], flush=True)
            began = time.monotonic()
            try:
                step(self)
            except Failed as error:
                self.must("goes to its end", False, error)
            print(f"       {time.monotonic() - began:.1f} s", flush=True)
