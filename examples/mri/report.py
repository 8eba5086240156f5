"""What `train.py` measured, what follows from it, and how it is told."""

from dataclasses import asdict, dataclass
from typing import Any

DERIVED = ("gain", "bound", "reached", "loss_fell", "learned")


@dataclass(frozen=True)
class Dice:
    """Overlap with the truth, 1 is perfect: grey matter, white matter."""

    grey: float
    white: float

    @property
    def mean(self) -> float:
        return (self.grey + self.white) / 2

    def row(self, name: str) -> str:
        return f"  {name:<24}{self.grey:>8.3f}{self.white:>8.3f}{self.mean:>8.3f}"


@dataclass(frozen=True)
class Way:
    """One way of feeding the trainer: the median of its segments."""

    first_s: float  # from asking for data (or starting the server) to the first batch
    step_s: float
    waited: float  # share of the time

    def row(self, name: str) -> str:
        per_step = f"{self.step_s * 1000:>8.1f} ms"
        return f"  {name:<24}{per_step}{self.waited:>10.0%}{self.first_s:>10.1f} s"


@dataclass(frozen=True)
class Report:
    """The demo's figures; seconds are core seconds, since every part runs on one thread."""

    batch: int
    steps: int
    losses: list[float]  # mean of each epoch
    trained: Dice
    untrained: Dice
    background: Dice
    element_s: float  # G is one step's worth of these
    step_s: float  # C
    plain: Way
    served: Way
    others: float | None  # cores that other programs used meanwhile, where it is known
    total_s: float
    picture: str

    @property
    def generate_s(self) -> float:
        """G: seconds to generate the elements of one step."""
        return self.element_s * self.batch

    @property
    def gain(self) -> float:
        return self.plain.step_s / self.served.step_s

    @property
    def bound(self) -> float:
        """The most that two cores can give: both always busy, nothing lost."""
        return self.plain.step_s / ((self.generate_s + self.step_s) / 2)

    @property
    def reached(self) -> float:
        return self.gain / self.bound

    @property
    def loss_fell(self) -> bool:
        return self.losses[-1] < self.losses[0]

    @property
    def learned(self) -> bool:
        return self.trained.mean > max(self.untrained.mean, self.background.mean)

    @property
    def good(self) -> bool:
        return self.loss_fell and self.learned

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {name: getattr(self, name) for name in DERIVED}

    def __str__(self) -> str:
        return "\n".join((*self._learning(), *self._speed(), *self._verdict()))

    def _learning(self) -> list[str]:
        curve = " ".join(f"{loss:.3f}" for loss in self.losses)
        return [
            "",
            f"What it learned: {self.steps} steps of {self.batch} cubes, all from genserver",
            f"  loss by epoch           {curve}",
            f"  {'Dice, held-out half':<24}{'grey':>8}{'white':>8}{'mean':>8}",
            self.trained.row("  trained"),
            self.untrained.row("  untrained"),
            self.background.row("  all background"),
            f"  scan, truth, prediction {self.picture}",
        ]

    def _speed(self) -> list[str]:
        generate, step = self.generate_s * 1000, self.step_s * 1000
        return [
            "",
            "How fast: two cores, TensorFlow and BLAS on one thread, nothing sleeps",
            f"  G, generate {self.batch} cubes    {generate:>8.1f} ms"
            f"   {self.element_s * 1000:.1f} ms an element",
            f"  C, train on them        {step:>8.1f} ms   G/C {generate / step:.1f}",
            f"  {'':<24}{'a step':>11}{'waited':>10}{'first batch':>12}",
            self.plain.row("plain from_generator"),
            self.served.row("genserver, 2 workers"),
            f"  gain                    {self.gain:>8.2f} x",
            f"  bound on the gain       {self.bound:>8.2f} x    plain step / ((G + C) / 2)",
            f"  reached                 {self.reached:>8.0%}      of the bound",
            *self._noise(),
        ]

    def _noise(self) -> list[str]:
        if self.others is None or self.others < 0.1:
            return []
        return [f"  other programs used     {self.others:>8.2f}      of the two cores meanwhile"]

    def _verdict(self) -> list[str]:
        def line(good: bool, yes: str, no: str) -> str:
            return f"  yes  {yes}" if good else f"  NO   {no}"

        return [
            "",
            f"Verdict after {self.total_s:.0f} s",
            line(self.loss_fell, "the loss fell", "the loss did not fall"),
            line(self.learned, "better than untrained and background", "it learned nothing"),
            line(self.generate_s >= 3 * self.step_s, "G/C is at least 3", "G/C is below 3"),
            line(self.reached >= 0.85, "0.85 of the bound or more", "below 0.85 of the bound"),
            "",
        ]
