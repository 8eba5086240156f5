"""Lives of a worker that end and begin, sessions that are forgotten, trainers that sleep."""

from __future__ import annotations

import pytest
from genserver.protocol.link import BEAT_EVERY, DEAD_AFTER, Numbered
from genserver.protocol.messages import Error, Grant, Open, Welcome
from genserver.protocol.stream import PulledStream, Window
from genserver.protocol.tables import LinkState
from genserver.protocol.trainer_end import TrainerEnd
from genserver.protocol.trainer_events import Forgotten, Left, Lost, Reborn, Suspect, Welcomed
from genserver.protocol.worker_end import LEASE

from ..support.pair import TICK, Net, SimTrainer, opening

WINDOW = Window(4, 1000)


def ready() -> tuple[Net, SimTrainer]:
    """A net with one welcomed trainer."""
    net = Net()
    trainer = net.trainer()
    net.flow()
    return net, trainer


def test_another_life_waits_for_its_owners_word() -> None:
    """Nothing is opened there before `resume`, neither old streams nor new ones."""
    net, trainer = ready()
    net.open(trainer, 0, 9, WINDOW)
    net.flow()
    net.rebirth()
    net.worker.end.serve(net.now)
    trainer.end.lose("cut")
    trainer.end.connect(net.now)
    hello = trainer.end.outgoing()[0]
    net.worker.end.receive(b"new", hello, net.now)
    (welcome,) = (numbered for _, numbered in net.worker.end.outgoing())
    assert trainer.end.receive(welcome, net.now) == [Reborn(2), Welcomed()]
    trainer.end.open(PulledStream(opening(1, 3), WINDOW), net.now)
    assert trainer.end.outgoing() == []
    assert [stream.id for stream in trainer.end.resume(net.now)] == [0, 1]
    kinds = [type(numbered.message) for numbered in trainer.end.outgoing()]
    assert kinds == [Open, Grant, Open, Grant]


def test_a_life_that_was_not_gone_on_with_is_met_again() -> None:
    """Who left the streams waiting is told of the other life on the next link, too."""
    trainer = TrainerEnd(1, 0.0)
    for incarnation in (1, 2, 2):
        trainer.connect(0.0)
        events = trainer.receive(Numbered(0, Welcome(incarnation)), 0.0)
        assert events == [Reborn(2), Welcomed()][incarnation == 1 :]
    trainer.resume(0.0)
    trainer.connect(0.0)
    assert trainer.receive(Numbered(0, Welcome(2)), 0.0) == [Welcomed()]


def test_a_stream_that_waits_may_be_closed() -> None:
    """It is not opened afterwards."""
    trainer = TrainerEnd(1, 0.0)
    trainer.open(PulledStream(opening(0, 3), WINDOW), 0.0)
    for incarnation in (1, 2):
        trainer.connect(0.0)
        trainer.receive(Numbered(0, Welcome(incarnation)), 0.0)
    trainer.close(0, 0.0)
    assert trainer.resume(0.0) == []


@pytest.mark.parametrize("taken", [0, 1, 2])
def test_credit_is_exact_in_another_life(taken: int) -> None:
    """What waits here stays charged; the new life counts its bytes from nothing."""
    net, trainer = ready()
    consumer = net.open(trainer, 0, 20, Window(4, 64))
    net.flow()
    while net.make((1, 0)):
        net.cut((1, 0))
    net.flow()
    for _ in range(taken):
        net.consume(trainer, 0)
    had, waiting = consumer.pulled.next, sum(d.chunk.nbytes for d in consumer.waiting)
    net.rebirth()
    net.worker.end.serve(net.now)
    net.lose(trainer)
    net.flow()
    (job,) = net.worker.jobs.values()
    assert (job.opening.start, job.limit) == (had, len(consumer.seen) + 4)
    assert job.limit_bytes == max(0, 64 - waiting)
    assert net.settle(lambda: consumer.done)
    assert [index for _, index, _ in consumer.seen] == list(range(20))


def test_a_stranger_is_told_so_and_links_again_at_once() -> None:
    """ZeroMQ connects to another life by itself; the first beat there is enough to notice."""
    net, trainer = ready()
    consumer = net.open(trainer, 0, 9, WINDOW)
    net.flow()
    net.rebirth()
    net.worker.end.serve(net.now)
    net.wait(BEAT_EVERY)
    assert trainer.count(Lost) == trainer.count(Reborn) == 1
    assert net.settle(lambda: consumer.done, 0.1)


@pytest.mark.parametrize("direction", ["to_worker", "to_trainer"])
def test_a_greeting_that_is_lost_is_found_by_the_next_beat(direction: str) -> None:
    """HELLO and WELCOME leave no gap behind them; nobody waits for the silence of the other."""
    net = Net()
    net.losing[direction] = 0
    trainer = net.trainer()
    net.flow()
    assert trainer.events == []
    net.wait(BEAT_EVERY + TICK)
    assert trainer.count(Lost) == trainer.count(Welcomed) == 1


@pytest.mark.parametrize("state", [LinkState.REFUSED, LinkState.GONE, LinkState.LOST])
def test_a_link_that_is_over_is_not_lost_again(state: LinkState) -> None:
    """What its peer says of it is too late."""
    trainer = TrainerEnd(1, 0.0)
    trainer.connect(0.0)
    trainer.link.state = state
    assert trainer.receive(Numbered(0, Error("stranger", "")), 0.0) == []


def test_a_stream_that_was_forgotten_starts_again_where_it_was() -> None:
    """After the lease the same life of the worker makes it anew from the next element."""
    net, trainer = ready()
    consumer = net.open(trainer, 0, 9, Window(2, 1000))
    other = net.open(trainer, 1, 9, WINDOW)
    net.flow()
    net.make((1, 0))
    net.cut((1, 0))
    net.flow()
    net.trainers = []
    net.wait(LEASE)
    assert net.worker.jobs == {}
    net.trainers = [trainer]
    net.wait(TICK)
    assert trainer.events[-2:] == [Forgotten((0,)), Welcomed()]  # nothing of the other had come
    assert {job.opening.stream: job.opening.start for job in net.worker.jobs.values()} == {
        0: 1,
        1: 0,
    }
    assert net.settle(lambda: consumer.done and other.done)
    assert [index for _, index, _ in consumer.seen] == list(range(9))


def test_a_worker_that_does_not_say_what_it_has_forgot_nothing() -> None:
    """So does a supervisor, and an older worker."""
    trainer = TrainerEnd(1, 0.0)
    pulled = PulledStream(opening(0, 3), WINDOW)
    trainer.open(pulled, 0.0)
    pulled.next = 2
    for _ in range(2):
        trainer.connect(0.0)
        assert trainer.receive(Numbered(0, Welcome(1)), 0.0) == [Welcomed()]


def test_a_trainer_that_slept_judges_nobody() -> None:
    """What it did not listen to is no silence: neither suspected nor lost, until it was awake for
    as long; but it makes a new link itself when it must have been given up."""
    net, trainer = ready()
    for _ in range(5):
        net.now += DEAD_AFTER - 1
        assert trainer.end.tick(net.now) == []
    net.now += DEAD_AFTER
    assert trainer.end.tick(net.now) == [Lost("this process slept, and was given up")]
    assert trainer.end.heard >= net.now - 2 * TICK


def test_a_sleep_is_no_part_of_a_silence() -> None:
    """It is left out of it, and what came before and after it counts."""
    net, trainer = ready()
    net.wait(3.0, flowing=False)
    net.now += 9.0
    trainer.end.tick(net.now)
    for _ in range(2):
        net.wait(TICK, flowing=False)
        assert trainer.count(Suspect) == 0
    net.wait(DEAD_AFTER, flowing=False)
    assert (trainer.count(Suspect), trainer.count(Lost)) == (1, 1)


def test_a_sleep_buys_nobody_time() -> None:
    """Who was heard right after it, and dies then, is given up no later than anybody else."""
    net, trainer = ready()
    net.now += 10.0
    net.worker.end.tick(net.now)
    net.collect()
    net.to_trainer(trainer)
    trainer.end.tick(net.now)
    net.wait(DEAD_AFTER, flowing=False)
    assert trainer.count(Lost) == 1


def test_ten_minutes_without_a_look_at_the_elements_are_no_fault() -> None:
    """Nobody takes any while the model is evaluated; the beats go on, and then so do they."""
    net, trainer = ready()
    consumer = net.open(trainer, 0, 30, WINDOW)
    net.flow()
    while net.make((1, 0)):
        net.cut((1, 0))
    net.wait(600.0)
    assert (trainer.count(Lost), trainer.count(Suspect), len(net.worker.jobs)) == (0, 0, 1)
    assert net.settle(lambda: consumer.done)
    assert len(consumer.seen) == 30


def test_who_said_goodbye_says_nothing_more() -> None:
    """What its generators still make on the old link waits for another life."""
    net, trainer = ready()
    net.open(trainer, 0, 9, WINDOW)
    net.flow()
    net.worker.end.leave("recycled", net.now, returns=True)
    net.make((1, 0))
    net.cut((1, 0))
    net.flow()
    assert trainer.events[-1] == Left("recycled", returns=True)
    assert trainer.consumers[0].waiting == type(trainer.consumers[0].waiting)()


def test_after_a_goodbye_a_new_link_finds_the_next_life() -> None:
    """The streams go on there."""
    net, trainer = ready()
    consumer = net.open(trainer, 0, 9, WINDOW)
    net.flow()
    net.worker.end.leave("recycled", net.now, returns=True)
    net.collect()
    net.flow()
    net.rebirth()
    net.worker.end.serve(net.now)
    net.connect(trainer)
    assert net.settle(lambda: consumer.done)
    assert len(consumer.seen) == 9


def test_a_worker_that_slept_forgets_nobody() -> None:
    """Stopped for longer than the lease, it has every session and every link as before."""
    net, trainer = ready()
    net.open(trainer, 0, 9, WINDOW)
    net.wait(TICK)
    net.now += 2 * LEASE
    assert net.worker.end.tick(net.now) == []
    assert net.worker.end.knows(trainer.wire.peer)
    assert len(net.worker.jobs) == 1
