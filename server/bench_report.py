"""``genserver bench``: what the figures say, in a table and in plain words. Pure.

How many workers match a training step is the verdict's to say (protocol/verdict.py): it is asked
about a trainer with this step and one worker as fast as the measured one.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genserver.protocol.telemetry import Span, TrainerSpan, WorkerSpan, WorkerTotals
from genserver.protocol.text import pad
from genserver.protocol.verdict import LEAST_ELEMENTS, LEAST_SECONDS, Bottleneck, Verdict, judge

from .bench_plan import WAITS, Alone
from .figures import duration, number, share, size

__all__ = ["Bench", "Read", "as_json", "sentences", "table"]

#: So many times as fast is faster; less is noise.
FASTER = 1.1
#: A range of so much of its middle is worth a word.
NOISY = 0.25
#: Of a core, that one thread does not use.
SEVERAL_THREADS = 1.3
#: Others have the cores for more than this share: the machine is not ours.
BUSY = 0.1
#: A step is met by so much of its rate.
MET = 0.95
INTO = {
    "numpy": "served, into numpy",
    "tf": "served, into tf.data",
    "plain": "plain from_generator",
}


@dataclass(frozen=True, slots=True)
class Read:
    """What one reader got: "numpy" and "tf" of a server with so many workers, "plain" of the
    generator in its own process, through tf.data."""

    into: str
    workers: int
    rates: tuple[float, ...]
    passes: int = 1

    @property
    def rate(self) -> float:
        """Elements a second."""
        return statistics.median(self.rates)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """All that was measured, and what was asked."""

    target: str
    alone: Alone
    reads: tuple[Read, ...]
    cores: int
    memory: int
    #: Seconds of a training step, and the elements that it uses.
    step: float | None = None
    batch: int = 1
    #: Whether TensorFlow is installed.
    tensorflow: bool = False

    @property
    def served(self) -> tuple[Read, ...]:
        """Into numpy, by the number of workers."""
        return tuple(read for read in self.reads if read.into == "numpy")

    @property
    def enough(self) -> Read:
        """The fewest workers with which there was no more to gain."""
        best = max(read.rate for read in self.served)
        return next(read for read in self.served if read.rate * FASTER >= best)

    def only(self, into: str) -> Read | None:
        """What went into tf.data."""
        return next((read for read in self.reads if read.into == into), None)


def table(bench: Bench) -> str:
    """Lines and columns."""
    alone = Read("alone", 0, bench.alone.rates, bench.alone.passes)
    rows = [("", "workers", "elements/s", "range", "MB/s")]
    for read in (alone, *bench.reads):
        low, high = min(read.rates), max(read.rates)
        rows.append((
            INTO.get(read.into, "the generator alone"), str(read.workers or "-"),
            number(read.rate), f"{number(low)} to {number(high)}",
            number(read.rate * bench.alone.nbytes / 1e6),
        ))  # fmt: skip
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(pad(cell, width, right=place > 0)
                  for place, (cell, width) in enumerate(zip(row, widths, strict=True)))
        for row in rows
    )  # fmt: skip


def sentences(bench: Bench) -> list[str]:
    """What the figures say; no more than they do."""
    alone = bench.alone
    said = [
        f"One element: {alone.spec}, {size(alone.nbytes)}; half of them take at most "
        f"{_time(alone.p50)}, 99 of 100 at most {_time(alone.p99)}.",
        _nature(alone), *_threads(bench), *_noise(bench), _worth(bench), *_growth(bench),
    ]  # fmt: skip
    if bench.step is not None:
        said += _step(bench, bench.step)
    return [*said, *_caveats(bench)]


def as_json(bench: Bench) -> dict[str, Any]:
    """The same for programs."""
    return {
        "target": bench.target, "alone": asdict(bench.alone) | {"rate": _middle(bench.alone)},
        "reads": [asdict(read) | {"rate": read.rate} for read in bench.reads],
        "cores": bench.cores, "memory": bench.memory, "step": bench.step, "batch": bench.batch,
        "worth": _gain(bench) >= FASTER,
        "workers": bench.enough.workers,
        "workers_for_step": None if bench.step is None else _matching(bench, bench.step).workers,
        "says": sentences(bench),
    }  # fmt: skip


def _middle(alone: Alone) -> float:
    return statistics.median(alone.rates)


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.1f}us" if seconds < 1e-5 else duration(round(seconds * 1e6))


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count != 1)}"


def _bring(read: Read) -> str:
    return f"{_workers(read.workers)} bring{'s' * (read.workers == 1)} {number(read.rate)}"


def _nature(alone: Alone) -> str:
    if alone.cpu < WAITS:
        return (
            f"The generator waits: it uses {share(alone.cpu)} of a core while it makes elements, "
            "so more workers than cores can help."
        )
    return f"The generator computes: it uses {share(alone.cpu)} of a core."


def _threads(bench: Bench) -> list[str]:
    if bench.alone.cpu < SEVERAL_THREADS:
        return []
    said = "Its libraries use several threads, and in a worker one."
    if bench.served[0].rate >= FASTER * _middle(bench.alone):
        said += " One is faster here: OMP_NUM_THREADS=1 may do the same for plain from_generator."
    return [said]


def _gain(bench: Bench) -> float:
    """How many times as fast it is to serve: into tf.data, where that was measured."""
    tf, plain = bench.only("tf"), bench.only("plain")
    if tf is not None and plain is not None:
        return tf.rate / plain.rate
    return bench.enough.rate / _middle(bench.alone)


def _worth(bench: Bench) -> str:
    alone, best = _middle(bench.alone), bench.enough
    tf, plain = bench.only("tf"), bench.only("plain")
    ways = ""
    if tf is not None and plain is not None:
        ways = (
            f"into tf.data come {number(tf.rate)} elements/s from {_workers(tf.workers)}, and "
            f"{number(plain.rate)} of plain from_generator"
        )
    served = f"{_bring(best)} elements/s, the generator alone makes {number(alone)}"
    gain = _gain(bench)
    if gain >= FASTER and best.rate >= FASTER * alone:
        return f"Worth serving, {gain:.1f} times as fast: {served}{'; ' * bool(ways)}{ways}."
    if gain >= FASTER:
        return (
            f"Worth serving into tf.data only, {gain:.1f} times as fast: {ways}. For other readers "
            f"it is not: {served}."
        )
    if ways and best.rate >= FASTER * alone:
        return f"Not worth serving into tf.data: {ways}. Into numpy {served}."
    if alone >= FASTER * best.rate:
        return (
            f"Not worth serving: an element is made in {_time(1 / alone)}, and one arrives every "
            f"{_time(1 / best.rate)}. {served[0].upper()}{served[1:]}"
            f"{'; ' * bool(ways)}{ways}."
        )
    return (
        f"Not worth serving for its speed: {served}{'; ' * bool(ways)}{ways}. What it gains is "
        f"the {share(bench.alone.cpu)} of a core that the trainer's process is spared."
    )


def _growth(bench: Bench) -> list[str]:
    served, enough = bench.served, bench.enough
    if len(served) == 1:
        if bench.alone.divisible:
            return []
        return [
            "It takes no worker, so it cannot be divided: give it a parameter named 'worker' (or "
            "--items, or --sharding off if whole copies are right) to be served by more than one."
        ]
    most = served[-1]
    if enough is most:
        return [f"The rate grows up to {_workers(most.workers)}, the most that were measured."]
    return [
        f"{_workers(enough.workers)} {'are' if enough.workers > 1 else 'is'} enough: with more, up "
        f"to {most.workers}, it is not {FASTER - 1:.0%} faster."
    ]


def _matching(bench: Bench, step: float) -> Verdict:
    """What the verdict would be with one worker and this step, once the trainer runs."""
    take, make = step / bench.batch, 1.0 / bench.served[0].rate
    cpu = min(1.0, bench.alone.cpu)
    totals = WorkerTotals(index=0, rss=bench.alone.rss)
    pace = max(take, make)
    span = Span(
        seconds=max(LEAST_SECONDS, LEAST_ELEMENTS * pace), cores=bench.cores, memory=bench.memory,
        workers=(
            WorkerSpan(
                index=0, elements=1 / pace, nbytes=0.0, making=make / pace,
                blocked=1.0 - make / pace, cpu=cpu * make / pace, last=totals,
            ),
        ),
        trainers=(
            TrainerSpan(
                session=1, elements=1 / pace, nbytes=0.0, waiting=1.0 - take / pace,
                using=take / pace, steps=True,
            ),
        ),
    )  # fmt: skip
    return judge(span)


def _step(bench: Bench, step: float) -> list[str]:
    wanted = bench.batch / step
    begin = f"A step of {_time(step)} for {bench.batch} element{'s' * (bench.batch > 1)}"
    said = [f"{begin} uses {number(wanted)} elements/s."]
    plain = bench.only("plain")
    if (plain.rate if plain is not None else _middle(bench.alone)) >= wanted:
        how = "Plain from_generator is" if plain is not None else "The generator alone is"
        said.append(f"{how} as fast, as long as the step leaves Python's lock alone.")
    verdict = _matching(bench, step)
    if verdict.bottleneck is Bottleneck.PRODUCER and not _several(bench):
        said.append("One worker is too slow for it, and no more can share the generator's work.")
    else:
        said.append(f"With one worker it would be {verdict.sentence}.")
    met = next((read for read in bench.served if read.rate >= MET * wanted), None)
    most = max(bench.served, key=lambda read: read.rate)
    if met is not None:
        said.append(f"Measured: {_bring(met)} elements/s into numpy.")
    else:
        best = f"{number(most.rate)} elements/s into numpy at most, with {_workers(most.workers)}"
        said.append(f"Measured: {best}.")
    return said


def _several(bench: Bench) -> bool:
    return bench.alone.divisible or len(bench.served) > 1


def _noise(bench: Bench) -> list[str]:
    """How far the rest can be believed."""
    said = []
    widest = max(_spread(rates) for rates in (bench.alone.rates, *(r.rates for r in bench.reads)))
    if bench.alone.late > BUSY:
        said.append(
            f"Other programs kept it from a core for {share(bench.alone.late)} of its time: on a "
            "machine that is busy the figures below are no more than a hint."
        )
    elif widest > NOISY:
        said.append(
            f"The slices of one line differ by up to {share(widest)} of its middle: something else "
            "is at work, or the elements differ; --seconds measures longer."
        )
    return said


def _caveats(bench: Bench) -> list[str]:
    said = []
    if bench.alone.passes > 1:
        said.append(
            f"A pass is short, {bench.alone.length} elements: one was read after the other, and "
            "what it takes to begin one counts."
        )
    if not bench.tensorflow:
        said.append("TensorFlow is not installed, so nothing was read into tf.data.")
    return said


def _spread(rates: Sequence[float]) -> float:
    return (max(rates) - min(rates)) / statistics.median(rates)
