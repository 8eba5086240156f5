"""What two snapshots say of the time between them: pure."""

from __future__ import annotations

import msgpack
import pytest
from genserver.protocol.codec import decode_header, encode
from genserver.protocol.errors import RemoteProtocolError
from genserver.protocol.fields import MAX_HEADER, MAX_WORKERS
from genserver.protocol.link import Numbered
from genserver.protocol.messages import Beat
from genserver.protocol.telemetry import (
    MAX_ERROR,
    MAX_ERRORS,
    MAX_TRAINERS,
    Snapshot,
    Span,
    TrainerTotals,
    WorkerTotals,
)

SECOND = 1_000_000


def at(
    seconds: float, *workers: WorkerTotals, trainers: tuple[TrainerTotals, ...] = ()
) -> Snapshot:
    return Snapshot(
        at=int(seconds * SECOND), cores=2, memory=2**30, workers=workers, trainers=trainers
    )


def test_rates_and_shares_are_those_of_the_time_between() -> None:
    """Whatever was before does not count."""
    before = WorkerTotals(index=0, elements=1000, nbytes=500, making=9 * SECOND, cpu=3 * SECOND)
    after = WorkerTotals(
        index=0, elements=1100, nbytes=2500, making=14 * SECOND, blocked=4 * SECOND,
        cpu=4 * SECOND, kept=30, room=40,
    )  # fmt: skip
    (worker,) = Span.between(at(20, before), at(30, after)).workers
    assert (worker.elements, worker.nbytes) == (10.0, 200.0)
    assert (worker.making, worker.blocked, worker.cpu) == (0.5, 0.4, 0.1)
    assert worker.idle == pytest.approx(0.1)
    assert worker.fill == 0.75


def test_who_is_new_began_at_nothing() -> None:
    """A worker of a server that grew, and a trainer that came."""
    came = TrainerTotals(session=7, elements=50, waiting=SECOND, using=3 * SECOND)
    span = Span.between(at(0), at(10, WorkerTotals(index=3, elements=20), trainers=(came,)))
    assert span.workers[0].elements == 2.0
    assert (span.trainers[0].elements, span.trainers[0].wait) == (5.0, 0.25)
    assert span.wait == 0.25


def test_another_life_of_a_worker_has_used_no_core_before() -> None:
    """Its process counts from nothing; the worker's other counters go on."""
    before = WorkerTotals(index=0, elements=10, cpu=50 * SECOND)
    after = WorkerTotals(index=0, elements=20, cpu=SECOND, restarts=1)
    (worker,) = Span.between(at(0, before), at(10, after)).workers
    assert (worker.elements, worker.cpu) == (1.0, 0.1)


def test_a_trainer_that_did_not_read_is_left_out() -> None:
    """One that evaluates, or has ended."""
    idle = TrainerTotals(session=7, elements=50, waiting=SECOND, using=SECOND)
    assert Span.between(at(0, trainers=(idle,)), at(10, trainers=(idle,))).trainers == ()


def test_the_largest_snapshot_fits_a_header() -> None:
    """512 workers after a year with their errors, and 64 trainers."""
    year = 365 * 86_400 * SECOND
    workers = tuple(
        WorkerTotals(
            index=index,
            elements=2**40,
            nbytes=2**50,
            making=year,
            blocked=year,
            p50=2**30,
            p99=2**31,
            kept=2**34,
            room=2**34,
            replayed=2**31,
            lost=2**31,
            restarts=2**15,
            rss=2**36,
            cpu=year,
            error="x" * (MAX_ERRORS // MAX_WORKERS),
        )
        for index in range(MAX_WORKERS)
    )
    trainers = tuple(
        TrainerTotals(session=2**63 + n, elements=2**40, nbytes=2**50, waiting=year, using=year)
        for n in range(MAX_TRAINERS)
    )
    beat = Numbered(1, Beat(snapshot=at(year / SECOND, *workers, trainers=trainers)))
    (header,) = encode(beat)
    assert len(bytes(header)) < MAX_HEADER, len(bytes(header))
    assert decode_header(bytes(header)) == (1, beat.message)


@pytest.mark.parametrize(
    "reading",
    [[1, 2], [1, 2, 3, 4, 5, 6], [1, 2, 3, -4, 5, True], ["1", 2, 3, 4, 5, True], {}, 5],
)
def test_a_reading_of_another_form_is_a_breach(reading: object) -> None:
    """Every field has its kind."""
    with pytest.raises(RemoteProtocolError):
        decode_header(msgpack.packb({"k": 11, "l": 0, "r": reading}))


def test_an_error_of_a_worker_has_its_limit() -> None:
    """One that is longer is a breach: the sender cuts it."""
    for length, fits in ((MAX_ERROR, True), (MAX_ERROR + 1, False)):
        (header,) = encode(Numbered(0, Beat(at(1, WorkerTotals(index=0, error="x" * length)))))
        if fits:
            decode_header(bytes(header))
            continue
        with pytest.raises(RemoteProtocolError):
            decode_header(bytes(header))
