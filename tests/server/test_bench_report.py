"""What `genserver bench` says of its figures, case by case."""

from __future__ import annotations

import json
from typing import Any

import pytest
from genserver.server.bench_report import Bench, Read, as_json, sentences, table

from .test_bench_plan import GB, alone


def rates(middle: float, spread: float = 0.02) -> tuple[float, ...]:
    return (middle * (1 - spread / 2), middle, middle * (1 + spread / 2))


def made(
    rate: float, numpy: dict[int, float], *, tf: tuple[float, float] | None = None,
    spread: float = 0.02, step: float | None = None, batch: int = 1, cores: int = 8, **more: Any,
) -> Bench:  # fmt: skip
    """Of a generator that makes ``rate`` elements/s, and what came of servers by their workers;
    ``tf`` is served and plain."""
    more.setdefault("p50", 1 / rate)
    found = Bench(
        target="m:g", alone=alone(rates=rates(rate, spread), **more),
        reads=tuple(Read("numpy", w, rates(r, spread)) for w, r in numpy.items()),
        cores=cores, memory=100 * GB, step=step, batch=batch, tensorflow=tf is not None,
    )  # fmt: skip
    if tf is None:
        return found
    last = (Read("tf", found.enough.workers, rates(tf[0])), Read("plain", 0, rates(tf[1])))
    return Bench(**{n: getattr(found, n) for n in Bench.__slots__} | {"reads": found.reads + last})


CHEAP = made(400_000, {1: 50_000, 2: 52_000})
SLOW = made(20, {1: 20, 2: 39, 4: 79, 8: 156}, tf=(150, 19), cpu=0.01)
HEAVY = made(50, {1: 50, 2: 98, 4: 190, 8: 200}, tf=(195, 48))
WHOLE = made(50, {1: 50}, divisible=False)


@pytest.mark.parametrize(
    ("bench", "says"),
    [
        (CHEAP, "Not worth serving: an element is made in 2.5us, and one arrives every 20us. "
                "1 worker brings 50.0k elements/s, the generator alone makes 400k."),
        (CHEAP, "1 worker is enough: with more, up to 2, it is not 10% faster."),
        (made(400_000, {1: 50_000}, tf=(9000, 3000)),
         "Worth serving into tf.data only, 3.0 times as fast: into tf.data come 9000 elements/s "
         "from 1 worker, and 3000 of plain from_generator. For other readers it is not: 1 worker "
         "brings 50.0k elements/s, the generator alone makes 400k."),
        (made(50, {1: 50, 2: 98}, tf=(50, 50)),
         "Not worth serving into tf.data: into tf.data come 50.0 elements/s from 2 workers, and "
         "50.0 of plain from_generator. Into numpy 2 workers bring 98.0 elements/s, the generator "
         "alone makes 50.0."),
        (SLOW, "The generator waits: it uses 1% of a core while it makes elements, so more workers "
               "than cores can help."),
        (SLOW, "Worth serving, 7.9 times as fast: 8 workers bring 156 elements/s, the generator "
               "alone makes 20.0; into tf.data come 150 elements/s from 8 workers, and 19.0 of "
               "plain from_generator."),
        (SLOW, "The rate grows up to 8 workers, the most that were measured."),
        (HEAVY, "The generator computes: it uses 100% of a core."),
        (HEAVY, "4 workers are enough: with more, up to 8, it is not 10% faster."),
        (WHOLE, "Not worth serving for its speed: 1 worker brings 50.0 elements/s, the generator "
                "alone makes 50.0. What it gains is the 100% of a core that the trainer's process "
                "is spared."),
        (WHOLE, "It takes no worker, so it cannot be divided: give it a parameter named 'worker' "
                "(or --items, or --sharding off if whole copies are right) to be served by more "
                "than one."),
        (made(10, {1: 40, 2: 80}, cpu=1.9),
         "Its libraries use several threads, and in a worker one. One is faster here: "
         "OMP_NUM_THREADS=1 may do the same for plain from_generator."),
        (made(50, {1: 50}, passes=7, length=12),
         "A pass is short, 12 elements: one was read after the other, and what it takes to begin "
         "one counts."),
        (made(50, {1: 50}, spread=0.6),
         "The slices of one line differ by up to 60% of its middle: something else is at work, or "
         "the elements differ; --seconds measures longer."),
        (made(50, {1: 50}, spread=0.6, late=0.4),
         "Other programs kept it from a core for 40% of its time: on a machine that is busy the "
         "figures below are no more than a hint."),
        (WHOLE, "TensorFlow is not installed, so nothing was read into tf.data."),
    ],
)  # fmt: skip
def test_what_is_said_of_the_figures(bench: Bench, says: str) -> None:
    """Whether it is worth it, with both rates; what the generator does; where more workers end to
    help; what is to be known of the figures."""
    assert says in sentences(bench)


def stepping(step: float, batch: int = 1, **more: Any) -> Bench:
    return made(20, {1: 20, 2: 39, 4: 79}, step=step, batch=batch, **more)


@pytest.mark.parametrize(
    ("bench", "says"),
    [
        (stepping(0.0125), [
            "A step of 12.5ms for 1 element uses 80.0 elements/s.",
            "With one worker it would be producer-bound: the trainer waits for 75% of its time: 4 "
            "workers in the place of 1 would match it.",
            "Measured: 4 workers bring 79.0 elements/s into numpy."]),
        (stepping(0.1, 8), [
            "A step of 100ms for 8 elements uses 80.0 elements/s.",
            "Measured: 4 workers bring 79.0 elements/s into numpy."]),
        (stepping(0.001), [
            "With one worker it would be producer-bound: the trainer waits for 98% of its time: "
            "take 8 workers in the place of 1; it could use 50, and the cores allow 8.",
            "Measured: 79.0 elements/s into numpy at most, with 4 workers."]),
        (stepping(0.1), [
            "The generator alone is as fast, as long as the step leaves Python's lock alone.",
            "With one worker it would be trainer-bound: the trainer waits for 0% of its time, so "
            "more workers would not make it faster.",
            "Measured: 1 worker brings 20.0 elements/s into numpy."]),
        (made(20, {1: 20}, step=0.0125, divisible=False), [
            "One worker is too slow for it, and no more can share the generator's work.",
            "Measured: 20.0 elements/s into numpy at most, with 1 worker."]),
    ],
    ids=["four", "batches", "too fast", "slow step", "indivisible"],
)  # fmt: skip
def test_how_many_workers_match_a_step(bench: Bench, says: list[str]) -> None:
    """In the words of the verdict, bounded by cores, beside what was measured."""
    assert set(says) <= set(sentences(bench))


def test_a_generator_that_waits_is_bounded_by_memory() -> None:
    """Where cores allow more; 0.1 GB each of 100 GB is no bound, 30 GB is."""
    few = stepping(0.001, cpu=0.01, rss=30 * GB, cores=2)
    assert any("the memory allows 3" in sentence for sentence in sentences(few))


def test_the_table_has_a_line_for_each_stage() -> None:
    """Middle and range of the slices, in columns that stand below each other."""
    assert table(HEAVY).splitlines()[:3] == [
        "                      workers  elements/s         range  MB/s",
        "the generator alone         -        50.0  49.5 to 50.5  52.4",
        "served, into numpy          1        50.0  49.5 to 50.5  52.4",
    ]
    assert table(HEAVY).splitlines()[-1].startswith("plain from_generator        -        48.0")


def test_programs_get_the_same() -> None:
    """As JSON: every figure, the answer, and the sentences."""
    told = json.loads(json.dumps(as_json(stepping(0.0125))))
    assert (told["worth"], told["workers"], told["workers_for_step"]) == (True, 4, 4)
    assert told["alone"]["rate"] == 20
    assert [read["workers"] for read in told["reads"]] == [1, 2, 4]
    assert told["says"] == sentences(stepping(0.0125))
    assert not as_json(CHEAP)["worth"]
