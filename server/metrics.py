"""A server's figures in Prometheus' text format; the one file that imports prometheus_client. Pure.

`FAMILIES` is what there is, with the words that a scraper and docs/guides/metrics.md show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from genserver.protocol.telemetry import (
    UNKNOWN,
    Snapshot,
    TrainerTotals,
    WorkerTotals,
)
from genserver.protocol.verdict import Bottleneck, Verdict, judge
from genserver.protocol.window import recent
from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)

from .board import Lived, Shown
from .lifecycle import WorkerState

__all__ = ["CONTENT_TYPE", "FAMILIES", "Family", "exposition"]

#: Of what `exposition` gives; every Prometheus since 2014 reads it.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: The states of a server (`Fleet.state`), and of a worker as `Status` tells them.
STATES = ("starting", "ready", "stopping", "failed")
WORKER_STATES = ("stalled", *(state.value for state in WorkerState))
MICROSECONDS = 1e6


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. ``kind`` is Prometheus' word."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class _OfWorker:
    family: Family
    value: Callable[[WorkerTotals, Lived], float]


@dataclass(frozen=True, slots=True)
class _OfTrainer:
    family: Family
    value: Callable[[TrainerTotals], float]


def _of_worker(
    name: str, kind: str, text: str, value: Callable[[WorkerTotals, Lived], float]
) -> _OfWorker:
    return _OfWorker(Family(f"genserver_worker_{name}", kind, ("worker",), text), value)


def _of_trainer(
    name: str, kind: str, text: str, value: Callable[[TrainerTotals], float]
) -> _OfTrainer:
    return _OfTrainer(Family(f"genserver_trainer_{name}", kind, ("session",), text), value)


INFO = Family(
    "genserver_info", "gauge", ("version", "generator", "sharding", "recovery"),
    "Always 1. What is served, and by which version of genserver.",
)  # fmt: skip
STATE = Family(
    "genserver_state", "gauge", ("state",),
    "1 at the state that the server is in, 0 at the others; 'ready' when trainers can be served.",
)  # fmt: skip
WORKERS = Family(
    "genserver_workers", "gauge", ("state",),
    "Workers in each state, as genserver probe has it; 'stalled' is 10 s within one element, "
    "'backoff' waits to be started again.",
)  # fmt: skip
TRAINERS = Family(
    "genserver_trainers", "gauge", (), "Trainers that read from this server, 64 at most."
)
UPTIME = Family(
    "genserver_uptime_seconds", "gauge", (),
    "Since the server began; all counters of workers begin at 0 with it and with nothing else.",
)  # fmt: skip
CORES = Family("genserver_cores", "gauge", (), "Cores that the server's processes may use.")
MEMORY = Family(
    "genserver_memory_bytes", "gauge", (), "Memory that the server's processes may have."
)
VERDICT = Family(
    "genserver_verdict", "gauge", ("bottleneck",),
    "1 at who was the bottleneck in the last 10 s, or as long as 20 elements took, 0 at the "
    "others; 'unknown' when nobody reads, or before the first 20 elements and 3 s.",
)  # fmt: skip
RECOMMENDED = Family(
    "genserver_recommended_workers", "gauge", (),
    "Workers that would match the trainers, as far as cores and memory allow; as many as there "
    "are unless producer-bound.",
)  # fmt: skip
ELEMENT = Family(
    "genserver_worker_element_seconds", "summary", ("worker",),
    "Time of one element in the generator, within 7 %: the quantiles are of the last 10 s, or of "
    "all lives where those had fewer than 20, sum and count of all lives. 0.99 far above 0.5: a "
    "few elements are slow.",
)  # fmt: skip
ERROR = Family(
    "genserver_worker_last_error_info", "gauge", ("worker", "error"),
    "Always 1. Why the worker's last process ended, or what its generator raised last, cut to "
    "120 bytes; absent where neither happened.",
)  # fmt: skip

_WORKER = (
    _of_worker(
        "elements_total", "counter",
        "Elements that the generator gave, those that were made again after a death included.",
        lambda w, _: w.elements,
    ),
    _of_worker(
        "sent_bytes_total", "counter", "Bytes of elements that were sent to trainers.",
        lambda w, _: w.nbytes,
    ),
    _of_worker(
        "making_seconds_total", "counter",
        "Time inside the generator; its rate is the share of time, near 1 when it never rests.",
        lambda w, _: w.making / MICROSECONDS,
    ),
    _of_worker(
        "blocked_seconds_total", "counter",
        "Time in which it may not make more because what it made is not used yet; a rate near 1 "
        "says that workers are more than fast enough.",
        lambda w, _: w.blocked / MICROSECONDS,
    ),
    _of_worker(
        "cpu_seconds_total", "counter",
        "Core time of its processes, over all lives but for the last second of each that died; a "
        "rate far below that of making: the generator waits for a disk or a network.",
        lambda _, lived: lived.cpu / MICROSECONDS,
    ),
    _of_worker(
        "resident_memory_bytes", "gauge",
        "Memory of its process; 0 between two lives. Growth without end: the generator keeps "
        "something (--max-items).",
        lambda w, _: w.rss,
    ),
    _of_worker(
        "buffer_bytes", "gauge", "Bytes that were made and that the trainers have not used yet.",
        lambda w, _: w.kept,
    ),
    _of_worker(
        "buffer_limit_bytes", "gauge",
        "How many those may be: at the limit the trainers are behind, near 0 they use each "
        "element as soon as it is made.",
        lambda w, _: w.room,
    ),
    _of_worker(
        "restarts_total", "counter", "How often its process was started again.",
        lambda _, lived: lived.restarts,
    ),
    _of_worker(
        "replayed_elements_total", "counter", "Elements that were made again after a death.",
        lambda w, _: w.replayed,
    ),
    _of_worker(
        "lost_elements_total", "counter",
        "Elements that were made and that no trainer got (--recovery stream).",
        lambda w, _: w.lost,
    ),
)  # fmt: skip

_TRAINER = (
    _of_trainer(
        "elements_total", "counter", "Elements that were handed to the trainer.",
        lambda t: t.elements,
    ),
    _of_trainer(
        "received_bytes_total", "counter", "Bytes of elements that were handed to the trainer.",
        lambda t: t.nbytes,
    ),
    _of_trainer(
        "waiting_seconds_total", "counter",
        "Time that it waited for elements; by the sum with using, the share of its time.",
        lambda t: t.waiting / MICROSECONDS,
    ),
    _of_trainer(
        "using_seconds_total", "counter",
        "Time between being given an element and asking for the next one.",
        lambda t: t.using / MICROSECONDS,
    ),
    _of_trainer(
        "measured_at_steps", "gauge",
        "1 where its times are those around its training steps, 0 where tf.data's buffers ask.",
        lambda t: t.steps,
    ),
)  # fmt: skip

FAMILIES: tuple[Family, ...] = (
    INFO, STATE, WORKERS, TRAINERS, UPTIME, CORES, MEMORY, VERDICT, RECOMMENDED,
    *(row.family for row in _WORKER), ELEMENT, ERROR, *(row.family for row in _TRAINER),
)  # fmt: skip


def exposition(shown: Shown, version: str) -> bytes:
    """What a scraper gets: the figures of a moment; ``version`` is genserver's."""
    return generate_latest(_Scrape(shown, version))


@dataclass(frozen=True, slots=True)
class _Scrape:
    """As `generate_latest` asks for them."""

    shown: Shown
    version: str

    def collect(self) -> Iterator[Metric]:
        """Every family, also those that nobody has a figure of yet."""
        snapshot = self.shown.snapshots[-1]
        yield from _of_server(self.shown, self.version)
        yield from _of_times(snapshot, judge(recent(self.shown.snapshots)), len(snapshot.workers))
        yield from _of_workers(snapshot, self.shown.lived)
        yield from _of_trainers(snapshot)


def _of_server(shown: Shown, version: str) -> Iterator[Metric]:
    status = shown.status
    info = _family(INFO)
    info.add_metric(
        [version, _plain(status.generator), _plain(status.sharding), _plain(status.recovery)], 1
    )
    yield info
    state = _family(STATE)
    for name in STATES:
        state.add_metric([name], status.state == name)
    yield state
    workers = _family(WORKERS)
    counts = Counter(worker.state for worker in status.workers)
    for name in WORKER_STATES:
        workers.add_metric([name], counts[name])
    yield workers


def _of_times(snapshot: Snapshot, verdict: Verdict, workers: int) -> Iterator[Metric]:
    for family, value in (
        (TRAINERS, len(_by_label(snapshot))),
        (UPTIME, snapshot.at / MICROSECONDS),
        (CORES, snapshot.cores),
        (MEMORY, snapshot.memory),
    ):
        plain = _family(family)
        plain.add_metric([], value)
        yield plain
    one_hot = _family(VERDICT)
    for bottleneck in Bottleneck:
        known = bottleneck is not Bottleneck.UNKNOWN
        label = f"{bottleneck.value}-bound" if known else bottleneck.value
        one_hot.add_metric([label], verdict.bottleneck is bottleneck)
    yield one_hot
    recommended = _family(RECOMMENDED)
    recommended.add_metric([], workers if verdict.workers is None else verdict.workers)
    yield recommended


def _of_workers(snapshot: Snapshot, lived: Mapping[int, Lived]) -> Iterator[Metric]:
    for row in _WORKER:
        family = _family(row.family)
        for worker in snapshot.workers:
            family.add_metric([str(worker.index)], row.value(worker, lived[worker.index]))
        yield family
    times = SummaryMetricFamily(ELEMENT.name, ELEMENT.help, labels=ELEMENT.labels)
    errors = _family(ERROR)
    for worker in snapshot.workers:
        label = str(worker.index)
        for quantile, value in (("0.5", worker.p50), ("0.99", worker.p99)):
            if value != UNKNOWN:
                labels = {"worker": label, "quantile": quantile}
                times.add_sample(ELEMENT.name, labels, value / MICROSECONDS)
        times.add_metric([label], worker.elements, worker.making / MICROSECONDS)
        if worker.error:
            errors.add_metric([label, _plain(worker.error)], 1)
    yield times
    yield errors


def _of_trainers(snapshot: Snapshot) -> Iterator[Metric]:
    trainers = _by_label(snapshot)
    for row in _TRAINER:
        family = _family(row.family)
        for label, trainer in trainers.items():
            family.add_metric([label], row.value(trainer))
        yield family


def _by_label(snapshot: Snapshot) -> dict[str, TrainerTotals]:
    """Trainers by what `genserver top` calls them. One whose link was made again may be there
    twice for a moment: the one that has read more is the later."""
    trainers: dict[str, TrainerTotals] = {}
    for trainer in sorted(snapshot.trainers, key=lambda t: t.elements):
        trainers[f"{trainer.session:016x}"[:8]] = trainer
    return trainers


def _family(family: Family) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    return kind(family.name, family.help, labels=family.labels)


def _plain(text: str) -> str:
    """On one line, of what any encoding can say: names of files and errors may hold anything."""
    return "".join(c if c.isprintable() else " " for c in text)
