"""What one reader did with a server's elements: counters that only it writes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..telemetry import TrainerTotals

__all__ = ["Usage", "totals"]


@dataclass(slots=True, eq=False, weakref_slot=True)
class Usage:
    """Of one thread at a time; read by the I/O thread, a moment late at worst. Seconds."""

    waiting: float = 0.0
    using: float = 0.0
    elements: int = 0
    nbytes: int = 0
    #: Whether the times are those around training steps.
    steps: bool = False

    def add(self, other: Usage) -> None:
        """What another one counted, which is over."""
        self.waiting += other.waiting
        self.using += other.using
        self.elements += other.elements
        self.nbytes += other.nbytes


def totals(session: int, usages: Iterable[Usage]) -> TrainerTotals:
    """What the readers of a connection did together."""
    together = Usage()
    for usage in usages:
        together.add(usage)
        together.steps |= usage.steps
    return TrainerTotals(
        session=session, elements=together.elements, nbytes=together.nbytes,
        waiting=int(together.waiting * 1e6), using=int(together.using * 1e6),
        steps=together.steps,
    )  # fmt: skip
