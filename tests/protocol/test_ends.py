"""Trainers and a worker back to back, without sockets: handshake, silence, loss and limits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from genserver.protocol.errors import LocalProtocolError, RemoteProtocolError
from genserver.protocol.link import BEAT_EVERY, DEAD_AFTER, SUSPECT_AFTER, Link, Numbered
from genserver.protocol.messages import (
    Beat,
    Close,
    End,
    EndAck,
    Error,
    Fail,
    GoAway,
    Grant,
    Hello,
    Message,
    Open,
    Role,
    Status,
    Welcome,
)  # fmt: skip
from genserver.protocol.stream import PulledStream, Window
from genserver.protocol.tables import LinkState
from genserver.protocol.trainer_end import TrainerEnd
from genserver.protocol.trainer_events import (
    Failed,
    Left,
    Lost,
    Reborn,
    Refused,
    Suspect,
    Told,
    Welcomed,
)
from genserver.protocol.worker_end import LEASE, MAX_PEERS, MAX_STREAMS, WorkerEnd
from genserver.protocol.worker_events import Dropped, Event, Started

from ..support.pair import Net, SimTrainer, opening

WINDOW = Window(4, 1000)
HELLO = Hello(session=7, fence=1)


def ready(session: int = 1) -> tuple[Net, SimTrainer]:
    """A net with one welcomed trainer."""
    net = Net()
    trainer = net.trainer(session)
    net.flow()
    return net, trainer


def serving() -> WorkerEnd:
    """A worker that knows its spec."""
    end = WorkerEnd(1)
    end.serve(0.0)
    return end


def said(end: WorkerEnd) -> list[Message]:
    """What a worker wants to send."""
    return [numbered.message for _, numbered in end.outgoing()]


def greeted(end: WorkerEnd, peer: bytes, hello: Hello = HELLO, now: float = 0.0) -> list[Message]:
    """The answer to a HELLO."""
    end.receive(peer, Numbered(0, hello), now)
    return said(end)


def on_wire(net: Net, trainer: SimTrainer) -> list[Message]:
    """What is under way to a trainer."""
    return [numbered.message for numbered in trainer.wire.to_trainer]


def test_handshake() -> None:
    """HELLO is answered with WELCOME, which says which life of the worker answers."""
    net, trainer = ready()
    assert trainer.events == [Welcomed()]
    assert trainer.end.incarnation == net.worker.end.incarnation == 1
    assert trainer.end.link.state is LinkState.READY


def test_streams_opened_early_start_when_ready() -> None:
    """A stream that was opened before WELCOME starts with it."""
    net = Net()
    trainer = net.trainer()
    consumer = net.open(trainer, 0, 5, WINDOW)
    assert net.settle(lambda: consumer.done)
    assert len(consumer.seen) == 5


@pytest.mark.parametrize("change", [{"major": 2}, {"major": 0}, {"magic": "other"}])
def test_another_version_is_refused(change: dict[str, object]) -> None:
    """A HELLO of another major version or of a stranger is told so, and never welcomed."""
    end = serving()
    (error,) = greeted(end, b"a", replace(HELLO, **change))
    assert isinstance(error, Error)
    assert (error.code, error.stream, end.sessions) == ("version", None, 0)


def test_a_refusal_is_an_event() -> None:
    """The trainer learns why the link was refused, and says nothing more on it."""
    trainer = TrainerEnd(1, 0.0)
    trainer.connect(0.0)
    trainer.outgoing()
    error = Error("version", "no")
    assert trainer.receive(Numbered(0, error), 0.0) == [Refused(error)]
    trainer.leave("bye", 0.0)
    assert trainer.outgoing() == []
    assert trainer.tick(100.0) == []


def test_early_trainers_are_welcomed_when_served() -> None:
    """A HELLO that comes before the spec is known is answered as soon as it is."""
    net = Net(serving=False)
    trainer = net.trainer()
    net.flow()
    assert trainer.events == []
    net.worker.end.serve(net.now)
    net.collect()
    net.flow()
    assert trainer.events == [Welcomed()]


def test_an_early_trainer_may_leave() -> None:
    """A trainer that said goodbye before the spec was known is not welcomed."""
    end = WorkerEnd(1)
    assert greeted(end, b"a") == []
    end.receive(b"a", Numbered(1, GoAway("no")), 0.0)
    end.serve(1.0)
    assert said(end) == []


def test_who_says_goodbye_is_no_link_any_more() -> None:
    """At the next look, not after its silence: what it was lent hangs on that."""
    end = serving()
    greeted(end, b"a")
    end.receive(b"a", Numbered(1, GoAway("done")), 0.0)
    end.tick(0.5)
    assert not end.knows(b"a")


def test_an_early_trainer_may_vanish() -> None:
    """A trainer that fell silent before the spec was known is not welcomed."""
    end = WorkerEnd(1)
    greeted(end, b"a")
    end.tick(DEAD_AFTER)
    end.serve(DEAD_AFTER)
    assert (said(end), end.sessions) == ([], 0)


@pytest.mark.parametrize("message", [Beat(), Open(1, 0, 1, 0, 0), GoAway("")])
def test_hello_comes_first(message: Message) -> None:
    """A stranger that says anything else than HELLO breaks the protocol."""
    with pytest.raises(RemoteProtocolError, match="first message must be HELLO"):
        serving().receive(b"a", Numbered(0, message), 0.0)


@pytest.mark.parametrize("message", [Welcome(1), End(1, 0), Fail(1, 0, "", "", "")])
def test_only_the_server_says(message: Message) -> None:
    """What only a server may say is a breach when a trainer says it."""
    end = serving()
    greeted(end, b"a")
    with pytest.raises(RemoteProtocolError, match="may not come from the trainer"):
        end.receive(b"a", Numbered(1, message), 0.0)


def test_a_breach_is_answered_and_forgotten() -> None:
    """Who breaks the protocol is told so, and its session waits for a better link."""
    end = serving()
    greeted(end, b"a")
    end.refuse(b"a", "because", 0.0)
    assert said(end) == [Error("protocol", "because")]
    assert end.sessions == 1
    assert isinstance(greeted(end, b"b", replace(HELLO, fence=2))[0], Welcome)


def test_the_ninth_stream_is_refused() -> None:
    """A worker runs eight streams; the ninth fails alone, and the others go on."""
    net, trainer = ready()
    streams = [net.open(trainer, i, 3, WINDOW) for i in range(MAX_STREAMS + 1)]
    net.flow()
    assert [consumer.failed for consumer in streams] == [False] * MAX_STREAMS + [True]
    (failed,) = [event for event in trainer.events if isinstance(event, Failed)]
    assert (failed.stream, failed.failure.code) == (MAX_STREAMS, "too_many_streams")
    assert trainer.count(Refused) == 0
    assert net.settle(lambda: all(consumer.done for consumer in streams))
    assert [len(consumer.seen) for consumer in streams] == [3] * MAX_STREAMS + [0]


def test_room_is_made_by_closing() -> None:
    """A stream that was closed leaves its place to another."""
    net, trainer = ready()
    for i in range(MAX_STREAMS):
        net.open(trainer, i, 3, WINDOW)
    net.close(trainer, 0)
    last = net.open(trainer, 99, 3, WINDOW)
    assert net.settle(lambda: last.done)
    assert len(last.seen) == 3


def test_vanished_sessions_make_room() -> None:
    """When all places are taken, the trainer that vanished the longest ago loses its own."""
    net = Net()
    gone, later, here = net.trainer(1), net.trainer(2), net.trainer(3)
    for trainer, count in ((gone, 3), (later, 3), (here, 2)):
        for i in range(count):
            net.open(trainer, i, 3, WINDOW)
    net.flow()
    net.worker.end.unroutable(gone.wire.peer)
    net.trainers = [later, here]
    net.wait(2.0)
    net.worker.end.unroutable(later.wire.peer)
    net.trainers = [here]
    consumer = net.open(here, 9, 3, WINDOW)
    net.flow()
    assert not consumer.failed
    assert {key[0] for key in net.worker.jobs} == {2, 3}


def test_present_sessions_keep_their_streams() -> None:
    """No place is taken from a trainer that is there."""
    net = Net()
    first, second = net.trainer(1), net.trainer(2)
    for i in range(MAX_STREAMS):
        net.open(first, i, 3, WINDOW)
    net.flow()
    assert net.open(second, 0, 3, WINDOW) is second.consumers[0]
    net.flow()
    assert second.consumers[0].failed
    assert net.worker.end.open_streams == MAX_STREAMS


def test_sessions_do_not_share_streams() -> None:
    """Two trainers may use the same stream ids."""
    net = Net()
    one, two = net.trainer(1), net.trainer(2)
    consumers = [net.open(one, 5, 4, WINDOW), net.open(two, 5, 6, WINDOW)]
    assert net.settle(lambda: all(consumer.done for consumer in consumers))
    assert [len(consumer.seen) for consumer in consumers] == [4, 6]


def test_a_newer_link_supersedes() -> None:
    """What the old link of a session still says is ignored, and it gets nothing more."""
    end = serving()
    greeted(end, b"old")
    assert isinstance(greeted(end, b"new", replace(HELLO, fence=2))[0], Welcome)
    assert end.receive(b"old", Numbered(1, Open(1, 0, 1, 0, 0)), 0.0) == []
    assert end.open_streams == 0
    assert [type(event) for event in end.receive(b"new", Numbered(1, opening(1, 5)), 0.0)] == [
        Started
    ]


@pytest.mark.parametrize("fence", [1, 2])
def test_an_older_link_is_refused(fence: int) -> None:
    """A HELLO that was overtaken by a newer one does not take the session back."""
    end = serving()
    greeted(end, b"new", replace(HELLO, fence=2))
    assert greeted(end, b"old", replace(HELLO, fence=fence)) == [
        Error("protocol", "superseded by a newer link")
    ]


def test_streams_that_hello_does_not_name_are_dropped() -> None:
    """A stream that was closed while the link was down is dropped by the next HELLO."""
    net, trainer = ready()
    for i in range(3):
        net.open(trainer, i, 3, WINDOW)
    net.flow()
    trainer.end.link.lose()
    net.close(trainer, 1)
    net.connect(trainer)
    net.flow()
    assert set(net.worker.jobs) == {(1, 0), (1, 2)}


def test_streams_closed_during_the_handshake_are_dropped() -> None:
    """A stream that was closed between HELLO and WELCOME does not stay behind."""
    net, trainer = ready()
    net.open(trainer, 0, 3, WINDOW)
    net.flow()
    net.connect(trainer)
    net.close(trainer, 0)
    net.flow()
    assert net.worker.jobs == {}


def test_a_new_link_begins_with_hello() -> None:
    """What was to be said on the old link is not said on the new one."""
    _, trainer = ready()
    trainer.end.open(PulledStream(opening(0, 3), WINDOW), 0.0)
    trainer.end.connect(0.0)
    assert trainer.end.outgoing() == [Numbered(0, Hello(1, 2, (0,)))]


def test_nothing_of_a_stream_comes_before_its_resume() -> None:
    """What is made between WELCOME and the resuming OPEN waits for it, in its place."""
    net, trainer = ready()
    consumer = net.open(trainer, 0, 3, WINDOW)
    net.flow()
    net.make((1, 0))
    net.cut((1, 0))
    net.lose(trainer)
    net.to_worker(trainer.wire)
    for _ in range(3):
        net.make((1, 0))
    net.worker.end.tick(2.0)
    net.collect()
    assert [type(message) for message in on_wire(net, trainer)] == [Welcome, Beat]
    assert net.settle(lambda: consumer.done)
    assert (len(consumer.seen), trainer.count(Lost)) == (3, 1)


def test_beats_keep_a_link() -> None:
    """Two ends with nothing to say stay ready for as long as they like."""
    net, trainer = ready()
    net.wait(10 * DEAD_AFTER)
    assert trainer.events == [Welcomed()]
    assert net.worker.end.sessions == 1


def test_beats_are_not_sent_beside_other_messages() -> None:
    """A beat goes out only when nothing else did for a second."""
    link = Link(Role.TRAINER, 0.0)
    link.stamp(HELLO, 0.0)
    assert link.beat_due(BEAT_EVERY)  # the answer tells whether HELLO arrived
    link.receive(Numbered(0, Welcome(1)), 0.0)
    assert link.beat_due(BEAT_EVERY)
    link.stamp(Grant(1, 1, 1, 0), BEAT_EVERY)
    assert not link.beat_due(BEAT_EVERY * 1.5)


def test_silence_is_told_once() -> None:
    """A silent worker is suspected once per silence."""
    net, trainer = ready()
    net.wait(SUSPECT_AFTER * 2, flowing=False)
    assert trainer.count(Suspect) == 1
    net.flow()
    net.wait(SUSPECT_AFTER * 2, flowing=False)
    assert trainer.count(Suspect) == 2
    assert trainer.count(Lost) == 0


def test_a_long_silence_loses_the_link() -> None:
    """A worker that is silent for too long is given a new link, and the stream goes on."""
    net, trainer = ready()
    consumer = net.open(trainer, 0, 9, WINDOW)
    net.flow()
    peer = trainer.wire.peer
    net.wait(DEAD_AFTER, flowing=False)
    assert trainer.count(Lost) == 1
    assert trainer.wire.peer != peer
    assert net.settle(lambda: consumer.done)
    assert len(consumer.seen) == 9


def test_a_link_that_stays_silent_after_its_welcome_is_given_longer() -> None:
    """Twice as long each time, as one element may take longer than that over its line; what comes
    in time shows that it does not."""
    end = TrainerEnd(1, 0.0)
    waits, now = [], 0.0
    for _ in range(5):
        end.connect(now)
        end.receive(Numbered(0, Welcome(7)), now)
        began = now
        while not any(isinstance(event, Lost) for event in end.tick(now)):
            now += 1.0
        waits.append(now - began)
    assert waits == [15.0, 30.0, 60.0, 120.0, 120.0]
    end.connect(now)
    end.receive(Numbered(0, Welcome(7)), now)
    end.receive(Numbered(1, Beat()), now + 1.0)
    assert not end.tick(now + 1.0)
    assert [type(event) for event in end.tick(now + 1.5 + DEAD_AFTER)] == [Lost]


def test_a_handshake_that_hangs_is_lost() -> None:
    """A HELLO without an answer is said again on another link."""
    net = Net()
    trainer = net.trainer()
    net.wait(DEAD_AFTER, flowing=False)
    assert trainer.count(Lost) == 1


def test_a_silent_trainer_keeps_its_session_for_a_lease() -> None:
    """A session outlives its link until the lease ends, then its streams are dropped."""
    net, trainer = ready()
    net.open(trainer, 0, 9, WINDOW)
    net.flow()
    net.trainers = []
    net.wait(LEASE - 1)
    assert len(net.worker.jobs) == net.worker.end.sessions == 1
    net.wait(1)
    assert (net.worker.jobs, net.worker.end.sessions) == ({}, 0)


def test_goodbye_frees_the_session() -> None:
    """A trainer that leaves frees its streams at once."""
    net, trainer = ready()
    net.open(trainer, 0, 9, WINDOW)
    net.flow()
    trainer.end.leave("done", net.now)
    net.collect()
    net.flow()
    assert (net.worker.jobs, net.worker.end.sessions) == ({}, 0)


def test_the_worker_says_goodbye() -> None:
    """A worker that leaves says so, and both ends are silent after it."""
    net, trainer = ready()
    net.worker.end.leave("stopping", net.now, returns=True)
    net.collect()
    net.flow()
    assert trainer.events[-1] == Left("stopping", returns=True)
    net.wait(2 * DEAD_AFTER)
    assert trainer.count(Lost) == 0


@pytest.mark.parametrize("lost", range(6))
@pytest.mark.parametrize("direction", ["to_worker", "to_trainer"])
def test_a_lost_message_is_repaired(lost: int, direction: str) -> None:
    """Whichever message is lost, the link is lost with it, and every element comes once."""
    net = Net()
    net.losing[direction] = lost
    trainer = net.trainer()
    consumer = net.open(trainer, 0, 12, WINDOW)
    assert net.settle(lambda: consumer.done and not net.worker.jobs)
    assert (net.losing, trainer.count(Lost)) == ({}, 1)
    assert [index for _, index, _ in consumer.seen] == list(range(12))


def test_a_number_that_comes_twice_is_a_breach() -> None:
    """A message cannot be played again on its link."""
    end = serving()
    greeted(end, b"a")
    with pytest.raises(RemoteProtocolError, match="number 0 came twice"):
        end.receive(b"a", Numbered(0, Beat()), 0.0)


def test_a_lost_link_hears_nothing() -> None:
    """After a missing number the rest of the link is ignored by both ends."""
    net, trainer = ready()
    link = trainer.end.link
    assert trainer.end.receive(Numbered(9, Beat()), 0.0) == [Lost("a message is missing")]
    assert not link.receive(Numbered(1, Beat()), 0.0)
    end = net.worker.end
    assert end.receive(trainer.wire.peer, Numbered(9, Beat()), 0.0) == []
    with pytest.raises(RemoteProtocolError, match="HELLO"):
        end.receive(trainer.wire.peer, Numbered(10, Beat()), 0.0)


def test_another_life_is_noticed() -> None:
    """Another life of a worker is told from the first, and the stream goes on where it was."""
    net, trainer = ready()
    consumer = net.open(trainer, 0, 9, Window(2, 1000))
    net.flow()
    net.make((1, 0))
    net.cut((1, 0))
    net.flow()
    net.consume(trainer, 0)
    net.rebirth()
    net.worker.end.serve(net.now)
    assert net.settle(lambda: consumer.done)
    assert trainer.count(Reborn) == 1
    assert [index for _, index, _ in consumer.seen] == list(range(9))
    assert net.worker.end.incarnation == 2


def test_a_failure_reaches_the_trainer_once() -> None:
    """A generator that raised fails its stream, also when the first FAIL was lost."""
    net, trainer = ready()
    net.open(trainer, 0, 9, WINDOW)
    net.flow()
    net.worker.end.fail((1, 0), element=3, kind="E", text="t", trace="", now=net.now)
    net.collect()
    trainer.wire.to_trainer.clear()
    net.lose(trainer)
    net.flow()
    assert [e for e in trainer.events if isinstance(e, Failed)] == [
        Failed(0, Fail(0, 3, "E", "t", ""))
    ]
    assert net.worker.jobs == {}


def test_an_end_is_resent_until_answered() -> None:
    """END goes out again each second while its END_ACK is missing."""
    end = serving()
    greeted(end, b"a")
    end.receive(b"a", Numbered(1, opening(4, 0)), 0.0)
    end.end((7, 4), 0.0)
    assert said(end) == [End(4, 0)]
    for now in (1.0, 2.0):
        end.tick(now)
        assert said(end) == [Beat(), End(4, 0)]
    assert end.receive(b"a", Numbered(2, EndAck(4)), 2.0) == [Dropped((7, 4))]
    end.tick(3.0)
    assert said(end) == [Beat()]


def test_an_end_is_answered_at_once() -> None:
    """The worker hears END_ACK without having to say END again."""
    net, trainer = ready()
    net.open(trainer, 0, 2, WINDOW)
    net.work()
    assert (net.worker.jobs, net.now) == ({}, 0.0)


def test_an_end_after_close_is_answered() -> None:
    """A trainer that closed a stream still answers its END, which crossed with CLOSE."""
    net, trainer = ready()
    net.open(trainer, 0, 0, WINDOW)
    net.flow()
    net.make((1, 0))
    net.close(trainer, 0)
    net.to_trainer(trainer)
    assert [numbered.message for numbered in trainer.wire.to_worker] == [Close(0), EndAck(0)]
    net.flow()
    assert net.worker.jobs == {}


def test_what_nobody_wants_is_not_sent() -> None:
    """Chunks, ends and failures of a stream that is gone are dropped silently."""
    end = serving()
    greeted(end, b"a")
    end.end((7, 4), 0.0)
    end.fail((8, 4), element=0, kind="", text="", trace="", now=0.0)
    assert said(end) == []


def test_strangers_are_bounded() -> None:
    """Beyond its limit of peers a worker forgets the most silent one."""
    end = serving()
    for i in range(MAX_PEERS + 1):
        greeted(end, b"%d" % i, Hello(session=i, fence=1), now=float(i) / 1000)
    assert isinstance(
        greeted(end, b"again", Hello(session=MAX_PEERS, fence=2), now=1.0)[0], Welcome
    )
    end.receive(b"2", Numbered(1, Beat()), 1.0)
    with pytest.raises(RemoteProtocolError, match="HELLO"):
        end.receive(b"0", Numbered(1, Beat()), 1.0)


def test_the_supervisors_status_is_told() -> None:
    """A STATUS reaches the trainer's owner."""
    trainer = TrainerEnd(1, 0.0)
    trainer.connect(0.0)
    trainer.receive(Numbered(0, Welcome(1)), 0.0)
    status = Status("ready", "m:g", "off", 0, -1, "", None)
    assert trainer.receive(Numbered(1, status), 0.0) == [Told(status)]


def test_nothing_is_sent_before_the_welcome() -> None:
    """A stream's messages wait for WELCOME; saying them earlier is our own bug."""
    trainer = TrainerEnd(1, 0.0)
    trainer.connect(0.0)
    trainer.open(PulledStream(opening(0, 3), WINDOW), 0.0)
    trainer.close(0, 0.0)
    assert [type(numbered.message) for numbered in trainer.outgoing()] == [Hello]
    with pytest.raises(LocalProtocolError):
        trainer.link.stamp(Close(0), 0.0)


# Users, by their keys.


def hello_of(worker: WorkerEnd, user: str, session: int) -> bytes:
    """The peer of a new session of a user."""
    peer = f"{user}{session}".encode()
    worker.receive(peer, Numbered(0, Hello(session, 1)), 0.0, user)
    return peer


def opens(worker: WorkerEnd, peer: bytes, number: int, stream: int) -> list[Event]:
    opened = Open(stream=stream, index=0, count=1, epoch=0, seed=0)
    return worker.receive(peer, Numbered(number, opened), 0.0)


def test_one_user_does_not_keep_the_others_out() -> None:
    """Who has all streams, in however many sessions, loses them one by one to those who have fewer,
    down to as many; he is told which."""
    worker = WorkerEnd(1)
    worker.serve(0.0)
    greedy = [hello_of(worker, "greedy", session) for session in range(MAX_STREAMS)]
    for peer in greedy:
        (event,) = opens(worker, peer, 1, 1)
        assert isinstance(event, Started)
    other = hello_of(worker, "other", 100)
    worker.outgoing()
    for number in range(1, MAX_STREAMS // 2 + 1):
        dropped, started = opens(worker, other, number, number)
        assert isinstance(dropped, Dropped)
        assert isinstance(started, Started)
        assert started.key[0] == 100
        ((told, numbered),) = worker.outgoing()
        assert told in greedy
        assert isinstance(numbered.message, Error)
        assert (numbered.message.code, numbered.message.stream) == ("too_many_streams", 1)
    assert opens(worker, other, MAX_STREAMS // 2 + 1, 99) == []  # now both have as many
    ((told, numbered),) = worker.outgoing()
    assert told == other
    assert isinstance(numbered.message, Error)


def test_many_links_of_one_user_push_out_his_own() -> None:
    """However busy they are, and however silent the other is."""
    worker = WorkerEnd(1)
    worker.serve(0.0)
    quiet = hello_of(worker, "quiet", 1)
    for session in range(2, 3 * MAX_PEERS):
        hello_of(worker, "greedy", session)
    assert worker.knows(quiet)
