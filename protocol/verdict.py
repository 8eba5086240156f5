"""Who is the bottleneck, in one sentence, from four shares of the last seconds. Pure.

The shares: how much of its time the trainer waits for elements; how much of theirs the workers make
some; how much they are blocked, because what they made is not used yet; how much nobody asks them.
A trainer that hardly waits is the slow one. One that waits while the workers make elements needs
more of them. One that waits while they are blocked gets what is made too slowly: it is on its way.

The method is that of a queue between two machines: the one that is never idle is the slow one (the
utilization law of queueing theory; Denning and Buzen, "The Operational Analysis of Queueing Network
Models", 1978).
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from .telemetry import ANY, Span, WorkerSpan

__all__ = ["LEAST_ELEMENTS", "LEAST_SECONDS", "Bottleneck", "Verdict", "judge"]

#: Less than that says nothing.
LEAST_SECONDS, LEAST_ELEMENTS = 3.0, 20
#: A trainer that waits for less of its time than this is as fast as it can be.
HARDLY = 0.08
#: How much of the time on top of what is needed a number of workers may lack: measured shares are
#: not exact, and one worker more for a hundredth is one too many.
TOLERANCE = 0.05
#: Of one server.
MAX_WORKERS = 512


class Bottleneck(enum.Enum):
    """Who sets the pace."""

    UNKNOWN = "unknown"
    PRODUCER = "producer"
    TRAINER = "trainer"
    WIRE = "wire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``workers`` is the number that would match the trainer, as far as cores and memory allow;
    None unless the workers are the bottleneck."""

    bottleneck: Bottleneck
    sentence: str
    workers: int | None = None


def judge(span: Span | None) -> Verdict:
    """The verdict about the time between two snapshots, such as `recent`."""
    if span is None:
        return _unknown("too early to tell: nothing is measured yet")
    if not span.trainers:
        return _unknown("nobody reads: the workers make nothing ahead of a trainer")
    given = span.given
    if span.seconds < LEAST_SECONDS or round(given) < LEAST_ELEMENTS:
        return _unknown(
            f"too early to tell: {given:.0f} elements in {span.seconds:.0f} s, a verdict takes "
            f"{LEAST_ELEMENTS} in {LEAST_SECONDS:.0f} s at least"
        )
    wait = span.wait
    if wait < HARDLY:
        return Verdict(
            bottleneck=Bottleneck.TRAINER,
            sentence=f"trainer-bound: the trainer waits for {wait:.0%} of its time, so more "
            "workers would not make it faster",
        )
    active = [worker for worker in span.workers if worker.making + worker.blocked > 0]
    making = sum(worker.making for worker in active)
    blocked = sum(worker.blocked for worker in active)
    if blocked > making:
        rate = sum(trainer.nbytes for trainer in span.trainers) / 1e6
        return Verdict(
            bottleneck=Bottleneck.WIRE,
            sentence=f"wire-bound: the trainer waits for {wait:.0%} of its time while elements are "
            f"ready and on their way, at {rate:.0f} MB/s",
        )
    return _producer(span, wait, making, active)


def _unknown(sentence: str) -> Verdict:
    return Verdict(bottleneck=Bottleneck.UNKNOWN, sentence=sentence)


def _producer(span: Span, wait: float, making: float, active: list[WorkerSpan]) -> Verdict:
    begin = f"producer-bound: the trainer waits for {wait:.0%} of its time"
    count = len(span.workers)
    #: Without waiting it would take elements faster by this factor; a worker that never rests makes
    #: as many as it does now for each second in its generator.
    wanted = making / max(1e-3, 1.0 - wait)
    needed = max(count + 1, math.ceil(wanted - TOLERANCE))
    bound, why = _limit(span, making, active)
    if span.most == 1:
        return Verdict(
            bottleneck=Bottleneck.PRODUCER, workers=count,
            sentence=f"{begin}, and the generator cannot be divided over more workers: give it a "
            "parameter named 'worker', or make it cheaper",
        )  # fmt: skip
    if bound <= count:
        return Verdict(
            bottleneck=Bottleneck.PRODUCER, workers=count,
            sentence=f"{begin}, and {why} no more than the {count} worker"
            f"{'s' * (count > 1)} there {'are' if count > 1 else 'is'}: make the generator cheaper",
        )  # fmt: skip
    if not all(trainer.steps for trainer in span.trainers):
        guess = min(needed, bound, 2 * count)
        return Verdict(
            bottleneck=Bottleneck.PRODUCER, workers=guess,
            sentence=f"{begin}: try {guess} workers in the place of {count} (how many it could use "
            "shows only around its training steps)",
        )  # fmt: skip
    if needed > bound:
        return Verdict(
            bottleneck=Bottleneck.PRODUCER, workers=bound,
            sentence=f"{begin}: take {bound} workers in the place of {count}; it could use "
            f"{needed}, and {why} {bound}",
        )  # fmt: skip
    return Verdict(
        bottleneck=Bottleneck.PRODUCER, workers=needed,
        sentence=f"{begin}: {needed} workers in the place of {count} would match it",
    )  # fmt: skip


def _limit(span: Span, making: float, active: list[WorkerSpan]) -> tuple[int, str]:
    """How many workers cores, memory and items allow, and which of them it is."""
    # A generator that waits for a disk or sleeps takes little of a core while it makes elements.
    cpu = sum(worker.cpu for worker in active) / max(making, 1e-3)
    by_cores = min(MAX_WORKERS, span.cores / max(cpu, 1e-3) + TOLERANCE)
    rss = max((worker.last.rss for worker in span.workers), default=0)
    by_memory = min(MAX_WORKERS, span.memory // max(rss, 1))
    by_items = span.most if span.most != ANY else MAX_WORKERS
    return min(
        (math.floor(by_cores), "the cores allow"),
        (by_memory, "the memory allows"),
        (by_items, "its items allow"),
        key=lambda limit: limit[0],
    )
