"""A server's figures in the words of Prometheus, without a server."""

from __future__ import annotations

import re
from dataclasses import replace

from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.telemetry import MAX_TRAINERS, Snapshot, TrainerTotals, WorkerTotals
from genserver.server.board import Lived, Shown
from genserver.server.metrics import FAMILIES, exposition
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

SECOND = 1_000_000

STATUS = Status(
    "ready", "scans:cubes", "static", 5, -2, "", None,
    (WorkerStatus(0, "ready", 7, "", 0), WorkerStatus(1, "stalled", 8, "", 0)),
)  # fmt: skip


def snapshot(second: int) -> Snapshot:
    """Each worker makes 10 elements a second, all of its time; the trainer waits for 80 %."""
    return Snapshot(
        at=second * SECOND, cores=8, memory=2**34,
        workers=tuple(
            WorkerTotals(
                index=index, elements=10 * second, nbytes=2000 * second, making=SECOND * second,
                blocked=500_000, p50=45_000, p99=61_000, kept=25, room=100, replayed=3, lost=2,
                restarts=index, rss=150_000_000, cpu=1, error="ValueError: no" * index,
            )
            for index in range(2)
        ),
        trainers=(
            TrainerTotals(
                session=0xABCDEF12 << 32, elements=1 + 20 * second, nbytes=4000 * second,
                waiting=800_000 * second, using=200_000 * second, steps=True,
            ),
        ),
    )  # fmt: skip


SHOWN = Shown(
    STATUS, tuple(snapshot(second) for second in range(11)),
    {0: Lived(4 * SECOND, 0), 1: Lived(6 * SECOND, 1)},
)  # fmt: skip

#: The samples of `SHOWN`; HELP and TYPE have tests of their own.
GOLDEN = """\
genserver_info{generator="scans:cubes",recovery="auto",sharding="static",version="1.2"} 1.0
genserver_state{state="starting"} 0.0
genserver_state{state="ready"} 1.0
genserver_state{state="stopping"} 0.0
genserver_state{state="failed"} 0.0
genserver_workers{state="stalled"} 1.0
genserver_workers{state="starting"} 0.0
genserver_workers{state="loaded"} 0.0
genserver_workers{state="ready"} 1.0
genserver_workers{state="backoff"} 0.0
genserver_workers{state="stopping"} 0.0
genserver_workers{state="stopped"} 0.0
genserver_workers{state="failed"} 0.0
genserver_trainers 1.0
genserver_uptime_seconds 10.0
genserver_cores 8.0
genserver_memory_bytes 1.7179869184e+10
genserver_verdict{bottleneck="unknown"} 0.0
genserver_verdict{bottleneck="producer-bound"} 1.0
genserver_verdict{bottleneck="trainer-bound"} 0.0
genserver_verdict{bottleneck="wire-bound"} 0.0
genserver_recommended_workers 10.0
genserver_worker_elements_total{worker="0"} 100.0
genserver_worker_elements_total{worker="1"} 100.0
genserver_worker_sent_bytes_total{worker="0"} 20000.0
genserver_worker_sent_bytes_total{worker="1"} 20000.0
genserver_worker_making_seconds_total{worker="0"} 10.0
genserver_worker_making_seconds_total{worker="1"} 10.0
genserver_worker_blocked_seconds_total{worker="0"} 0.5
genserver_worker_blocked_seconds_total{worker="1"} 0.5
genserver_worker_cpu_seconds_total{worker="0"} 4.0
genserver_worker_cpu_seconds_total{worker="1"} 6.0
genserver_worker_resident_memory_bytes{worker="0"} 1.5e+08
genserver_worker_resident_memory_bytes{worker="1"} 1.5e+08
genserver_worker_buffer_bytes{worker="0"} 25.0
genserver_worker_buffer_bytes{worker="1"} 25.0
genserver_worker_buffer_limit_bytes{worker="0"} 100.0
genserver_worker_buffer_limit_bytes{worker="1"} 100.0
genserver_worker_restarts_total{worker="0"} 0.0
genserver_worker_restarts_total{worker="1"} 1.0
genserver_worker_replayed_elements_total{worker="0"} 3.0
genserver_worker_replayed_elements_total{worker="1"} 3.0
genserver_worker_lost_elements_total{worker="0"} 2.0
genserver_worker_lost_elements_total{worker="1"} 2.0
genserver_worker_element_seconds{quantile="0.5",worker="0"} 0.045
genserver_worker_element_seconds{quantile="0.99",worker="0"} 0.061
genserver_worker_element_seconds_count{worker="0"} 100.0
genserver_worker_element_seconds_sum{worker="0"} 10.0
genserver_worker_element_seconds{quantile="0.5",worker="1"} 0.045
genserver_worker_element_seconds{quantile="0.99",worker="1"} 0.061
genserver_worker_element_seconds_count{worker="1"} 100.0
genserver_worker_element_seconds_sum{worker="1"} 10.0
genserver_worker_last_error_info{error="ValueError: no",worker="1"} 1.0
genserver_trainer_elements_total{session="abcdef12"} 201.0
genserver_trainer_received_bytes_total{session="abcdef12"} 40000.0
genserver_trainer_waiting_seconds_total{session="abcdef12"} 8.0
genserver_trainer_using_seconds_total{session="abcdef12"} 2.0
genserver_trainer_measured_at_steps{session="abcdef12"} 1.0
"""


def text_of(shown: Shown) -> str:
    return exposition(shown, "1.2").decode()


def samples(text: str) -> list[Sample]:
    return [one for family in text_string_to_metric_families(text) for one in family.samples]


def test_the_samples_of_one_moment() -> None:
    """Base units, one series for each worker and each trainer, one-hot states."""
    lines = text_of(SHOWN).splitlines(keepends=True)
    assert "".join(line for line in lines if not line.startswith("#")) == GOLDEN


def test_every_family_says_what_it_is_once() -> None:
    """HELP and TYPE, also of those without a sample, and nothing that is not in the table."""
    text = text_of(replace(SHOWN, snapshots=(Snapshot(at=0, cores=1, memory=1),)))
    for family in FAMILIES:
        assert text.count(f"# HELP {family.name} {family.help}\n") == 1
        assert text.count(f"# TYPE {family.name} {family.kind}\n") == 1
    assert text.count("# TYPE ") == len(FAMILIES)


def test_names_and_labels_are_those_of_the_table() -> None:
    """The prefix, a unit where there is one, and _total on counters alone."""
    kinds = {family.name: family for family in FAMILIES}
    for sample in samples(text_of(SHOWN)):
        family = kinds[re.sub(r"(element_seconds)_(sum|count)$", r"\1", sample.name)]
        assert set(family.labels) == set(sample.labels) - {"quantile"}
    for family in FAMILIES:
        assert family.name.startswith("genserver_")
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert family.help.endswith(".")


def test_a_trainer_that_left_is_not_told_of() -> None:
    """Its series ends, so that there are never more than trainers."""
    left = replace(snapshot(11), trainers=())
    text = text_of(replace(SHOWN, snapshots=(*SHOWN.snapshots, left)))
    assert "abcdef12" not in text
    assert "genserver_trainers 0.0" in text


def test_a_trainer_that_is_there_twice_is_one_series() -> None:
    """The link that has read more is the later; a scrape with one series twice would be refused."""
    (trainer,) = snapshot(3).trainers
    twice = (replace(trainer, elements=9), replace(trainer, elements=5))
    text = text_of(replace(SHOWN, snapshots=(replace(snapshot(3), trainers=twice),)))
    assert 'genserver_trainer_elements_total{session="abcdef12"} 9.0' in text
    assert text.count("genserver_trainer_elements_total{") == 1


def test_times_that_nobody_has_measured_are_left_out() -> None:
    """No element yet: the sum and the count are 0, and there is no quantile."""
    fresh = Snapshot(at=0, cores=1, memory=1, workers=(WorkerTotals(index=0),))
    text = text_of(replace(SHOWN, snapshots=(fresh,)))
    assert 'quantile="' not in text
    assert 'genserver_worker_element_seconds_count{worker="0"} 0.0' in text
    assert "genserver_worker_last_error_info{" not in text


def test_without_a_verdict_the_workers_that_there_are_are_recommended() -> None:
    """The series never goes away."""
    text = text_of(replace(SHOWN, snapshots=SHOWN.snapshots[:1]))
    assert 'genserver_verdict{bottleneck="unknown"} 1.0' in text
    assert "genserver_recommended_workers 2.0" in text


#: Whatever a file name or an exception may hold: quotes, line ends, what is no UTF-8.
ANYTHING = st.text(st.characters() | st.sampled_from('\n\r"\\\0\u2028{}\udcff'), max_size=40)
COUNT = st.integers(0, 2**63)


@st.composite
def anything_shown(draw: st.DrawFn) -> Shown:
    count = draw(st.integers(0, 4))
    workers = tuple(
        WorkerTotals(
            index=index, elements=draw(COUNT), nbytes=draw(COUNT), making=draw(COUNT),
            blocked=draw(COUNT), p50=draw(st.integers(-1, 2**40)), kept=draw(COUNT),
            room=draw(COUNT), restarts=draw(COUNT), rss=draw(COUNT), error=draw(ANYTHING),
        )
        for index in range(count)
    )  # fmt: skip
    trainers = draw(
        st.lists(
            st.builds(
                TrainerTotals, session=st.integers(0, 2**64 - 1), elements=COUNT, nbytes=COUNT,
                waiting=COUNT, using=COUNT, steps=st.booleans(),
            ),
            max_size=5,
        )
    )  # fmt: skip
    last = Snapshot(
        at=draw(COUNT), cores=draw(st.integers(1, 512)), memory=draw(COUNT), workers=workers,
        trainers=tuple(trainers[:MAX_TRAINERS]),
    )  # fmt: skip
    status = replace(STATUS, generator=draw(ANYTHING), sharding=draw(ANYTHING))
    first = Snapshot(at=0, cores=1, memory=1)
    return Shown(status, (first, last), {w.index: Lived(draw(COUNT), 0) for w in workers})


@given(anything_shown())
def test_any_figures_can_be_read(shown: Shown) -> None:
    """The library's own parser takes it, no series is there twice, and no label has a line end."""
    text = text_of(shown)
    found = [(sample.name, *sorted(sample.labels.items())) for sample in samples(text)]
    assert len(found) == len(set(found)) == len(re.findall(r"^(?!#).+$", text, re.MULTILINE))
    errors = [s.labels["error"] for s in samples(text) if "error" in s.labels]
    assert len(errors) == sum(bool(worker.error) for worker in shown.snapshots[-1].workers)
    assert all(error.isprintable() for error in errors)
