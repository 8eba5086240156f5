"""Who is the bottleneck: pure."""

from __future__ import annotations

import pytest
from genserver.protocol.telemetry import ANY, Span, TrainerSpan, WorkerSpan, WorkerTotals
from genserver.protocol.verdict import LEAST_ELEMENTS, LEAST_SECONDS, Bottleneck, judge
from hypothesis import given
from hypothesis import strategies as st

GIB = 2**30


def span(
    *, wait: float, making: float, blocked: float = 0.0, workers: int = 2, cpu: float = 0.01,
    elements: float = 100.0, seconds: float = 10.0, cores: int = 2, rss: int = GIB // 10,
    memory: int = 16 * GIB, steps: bool = True, most: int = ANY,
) -> Span:  # fmt: skip
    """A span of a server whose workers all do the same, with one trainer."""
    return Span(
        seconds=seconds, cores=cores, memory=memory, most=most,
        workers=tuple(
            WorkerSpan(
                index=index, elements=elements / workers, nbytes=1e6, making=making,
                blocked=blocked, cpu=cpu, last=WorkerTotals(index=index, rss=rss),
            )
            for index in range(workers)
        ),
        trainers=(
            TrainerSpan(
                session=1, elements=elements, nbytes=elements * 1e6, waiting=seconds * wait,
                using=seconds * (1 - wait), steps=steps,
            ),
        ),
    )  # fmt: skip


def test_a_trainer_that_hardly_waits_is_the_slow_one() -> None:
    """However busy the workers are."""
    verdict = judge(span(wait=0.02, making=0.9))
    assert (verdict.bottleneck, verdict.workers) == (Bottleneck.TRAINER, None)


def test_workers_that_are_busy_while_the_trainer_waits_are_the_slow_ones() -> None:
    """At half of its time, twice as many would match it."""
    verdict = judge(span(wait=0.5, making=1.0))
    assert (verdict.bottleneck, verdict.workers) == (Bottleneck.PRODUCER, 4)
    assert "4 workers in the place of 2 would match it" in verdict.sentence


@pytest.mark.parametrize(
    ("wait", "workers", "wanted"), [(0.1, 1, 2), (0.25, 3, 4), (0.75, 1, 4), (0.9, 2, 20)]
)
def test_the_number_is_that_whose_elements_the_trainer_would_use(
    wait: float, workers: int, wanted: int
) -> None:
    """What it takes without waiting, divided by what one worker that never rests makes."""
    assert judge(span(wait=wait, making=1.0, workers=workers)).workers == wanted


def test_workers_that_are_blocked_while_the_trainer_waits_have_a_slow_line() -> None:
    """What they made is on its way; the rate of the line is said."""
    verdict = judge(span(wait=0.6, making=0.2, blocked=0.8))
    assert (verdict.bottleneck, verdict.workers) == (Bottleneck.WIRE, None)
    assert "100 MB/s" in verdict.sentence


def test_cores_bound_the_number_where_elements_take_them() -> None:
    """A generator that sleeps may have more workers than there are cores."""
    assert judge(span(wait=0.75, making=1.0, workers=1, cpu=1.0)).workers == 2
    assert judge(span(wait=0.75, making=1.0, workers=1, cpu=0.01)).workers == 4
    stuck = judge(span(wait=0.75, making=1.0, workers=2, cpu=1.0))
    assert (stuck.bottleneck, stuck.workers) == (Bottleneck.PRODUCER, 2)
    assert "the cores allow no more than the 2 workers there are" in stuck.sentence


def test_memory_bounds_the_number() -> None:
    """As many as have room at the size that the largest has now."""
    verdict = judge(span(wait=0.9, making=1.0, workers=1, rss=4 * GIB, memory=13 * GIB))
    assert verdict.workers == 3
    assert "it could use 10, and the memory allows 3" in verdict.sentence


def test_inside_tf_data_no_more_than_twice_as_many_are_named() -> None:
    """Its buffers hide what a step takes."""
    verdict = judge(span(wait=0.99, making=1.0, steps=False))
    assert verdict.workers == 4
    assert "training steps" in verdict.sentence


@pytest.mark.parametrize(
    "early",
    [span(wait=0.5, making=1.0, seconds=LEAST_SECONDS - 0.1),
     span(wait=0.5, making=1.0, elements=(LEAST_ELEMENTS - 1) / 10.0)],
)  # fmt: skip
def test_there_is_no_verdict_too_early(early: Span) -> None:
    """Within three seconds, or twenty elements."""
    verdict = judge(early)
    assert verdict.bottleneck is Bottleneck.UNKNOWN
    assert "too early" in verdict.sentence


def test_without_anything_measured_there_is_none() -> None:
    """Nor is that an error."""
    assert judge(None).bottleneck is Bottleneck.UNKNOWN


def test_without_a_trainer_there_is_none() -> None:
    """Workers that nobody asks are no bottleneck."""
    nobody = Span(seconds=10.0, cores=2, memory=GIB, workers=(), trainers=())
    assert judge(nobody).bottleneck is Bottleneck.UNKNOWN


@given(
    st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.integers(1, 512), st.floats(0, 4),
    st.integers(1, 256), st.booleans(),
)  # fmt: skip
def test_whatever_is_measured_there_is_one_sentence_and_a_possible_number(
    wait: float, making: float, blocked: float, workers: int, cpu: float, cores: int, steps: bool
) -> None:
    """Also where the figures contradict each other."""
    verdict = judge(
        span(
            wait=wait,
            making=making,
            blocked=blocked,
            workers=workers,
            cpu=cpu,
            cores=cores,
            steps=steps,
        )
    )
    assert verdict.sentence
    assert "\n" not in verdict.sentence
    assert (verdict.workers is not None) == (verdict.bottleneck is Bottleneck.PRODUCER)
    assert verdict.workers is None or 1 <= verdict.workers <= 512


@pytest.mark.parametrize("steps", [True, False])
def test_nobody_is_told_to_take_workers_that_serve_would_refuse(*, steps: bool) -> None:
    """A generator that takes no `worker` is one worker's; one that is called for three items
    keeps three workers busy at most."""
    alone = judge(span(wait=0.9, making=1.0, workers=1, most=1, steps=steps))
    assert (alone.bottleneck, alone.workers) == (Bottleneck.PRODUCER, 1)
    assert "a parameter named 'worker'" in alone.sentence
    items = judge(span(wait=0.9, making=1.0, workers=2, most=3, steps=steps))
    assert items.workers == 3
    assert judge(span(wait=0.9, making=1.0, workers=3, most=3, steps=steps)).workers == 3
