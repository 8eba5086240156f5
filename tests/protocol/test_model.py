"""The pair of ends under any mixture of delay, cuts and deaths: nothing lost, nothing twice."""

from __future__ import annotations

from genserver.protocol.stream import Window
from genserver.protocol.trainer_events import Lost
from hypothesis import Phase, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ..support.pair import HEAVIEST, Consumer, Net, Wire, padding, reborn, weight

#: One below the worker's limit, which has a test of its own.
STREAMS = 4
picks = st.integers(0, 1000)


class PairMachine(RuleBasedStateMachine):
    """One trainer with several streams, one worker at a time, and bad luck."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Net()
        self.trainer = self.net.trainer()
        self.net.flow()
        self.next_stream = 0

    @property
    def wanted(self) -> dict[int, Consumer]:
        """Streams that the user has not dropped and not seen to their end."""
        return {i: c for i, c in self.trainer.consumers.items() if not c.done}

    @property
    def ghosts(self) -> list[Wire]:
        """Wires that the trainer has given up, with messages that may still arrive."""
        wires = self.net.wires.values()
        return [w for w in wires if w is not self.trainer.wire and w.to_worker]

    @precondition(lambda self: len(self.wanted) < STREAMS)
    @rule(
        length=st.integers(0, 14), elements=st.integers(1, 7),
        nbytes=st.sampled_from([1, 60, 150, 10_000]),
    )  # fmt: skip
    def open(self, length: int, elements: int, nbytes: int) -> None:
        self.net.open(self.trainer, self.next_stream, length, Window(elements, nbytes))
        self.next_stream += 1

    @precondition(lambda self: self.net.worker.jobs)
    @rule(pick=picks, count=st.integers(1, 5), cut=st.booleans())
    def make(self, pick: int, count: int, cut: bool) -> None:
        keys = sorted(self.net.worker.jobs)
        key = keys[pick % len(keys)]
        for _ in range(count):
            self.net.make(key)
        if cut:
            self.net.cut(key)

    @rule(count=st.integers(1, 6))
    def to_worker(self, count: int) -> None:
        for _ in range(count):
            self.net.to_worker(self.trainer.wire)

    @rule(count=st.integers(1, 6))
    def to_trainer(self, count: int) -> None:
        for _ in range(count):
            self.net.to_trainer(self.trainer)

    @precondition(lambda self: self.wanted)
    @rule(pick=picks, count=st.integers(1, 4))
    def consume(self, pick: int, count: int) -> None:
        stream = sorted(self.wanted)[pick % len(self.wanted)]
        for _ in range(count):
            self.net.consume(self.trainer, stream)

    @precondition(lambda self: self.ghosts)
    @rule(pick=picks, count=st.integers(1, 4))
    def arrive_late(self, pick: int, count: int) -> None:
        wire = self.ghosts[pick % len(self.ghosts)]
        for _ in range(count):
            self.net.to_worker(wire)

    @precondition(lambda self: self.wanted)
    @rule(pick=picks)
    def close(self, pick: int) -> None:
        self.net.close(self.trainer, sorted(self.wanted)[pick % len(self.wanted)])

    # One rule for all bad luck, so that most steps make progress.
    @rule(kind=st.sampled_from(["out", "back", "both", "dead", "dead", "die"]))
    def fault(self, kind: str) -> None:
        if kind in ("out", "both"):
            self.trainer.wire.to_worker.clear()
        if kind in ("back", "both"):
            self.trainer.wire.to_trainer.clear()
        if kind == "dead":
            self.net.lose(self.trainer)
        if kind == "die":
            self.net.rebirth()
            self.net.worker.end.serve(self.net.now)

    @rule(seconds=st.sampled_from([0.5, 2.0, 16.0]), flowing=st.booleans())
    def wait(self, seconds: float, flowing: bool) -> None:
        self.net.wait(seconds, flowing=flowing)

    @rule()
    def work(self) -> None:
        self.net.flow()
        for key in list(self.net.worker.jobs):
            self.net.make(key)
            self.net.cut(key)
        self.net.flow()

    @invariant()
    def in_order_and_once(self) -> None:
        for stream, consumer in self.trainer.consumers.items():
            expected = [(stream, i, padding(i)) for i in range(len(consumer.seen))]
            assert consumer.seen == expected

    @invariant()
    def memory_is_bounded(self) -> None:
        for (_, stream), job in self.net.worker.jobs.items():
            consumer = self.trainer.consumers[stream]
            if consumer.closed:
                continue
            window = consumer.pulled.window
            ahead = range(len(consumer.seen), job.made)
            assert len(ahead) <= window.elements
            assert sum(map(weight, ahead)) < window.nbytes + HEAVIEST

    @invariant()
    def replay_is_bounded(self) -> None:
        for key in self.net.worker.jobs:
            window = self.trainer.consumers[key[1]].pulled.window
            assert self.net.worker.kept(key) <= window.elements

    def teardown(self) -> None:
        for consumer in self.trainer.consumers.values():
            event(f"open when healed: {not consumer.done}")
        assert self.net.settle(lambda: not self.wanted), "a stream never ended"
        assert self.net.settle(lambda: not self.net.worker.jobs), "the worker kept a stream"
        for consumer in self.trainer.consumers.values():
            self._check_whole(consumer)
        self.in_order_and_once()
        event(f"links lost: {min(self.trainer.count(Lost), 5)}")
        event(f"other lives met: {min(reborn(self.trainer), 5)}")

    def _check_whole(self, consumer: Consumer) -> None:
        assert not consumer.failed
        if not consumer.closed:
            assert consumer.count == len(consumer.seen) == consumer.pulled.opening.seed
            event("a stream seen whole")


TestPair = PairMachine.TestCase
TestPair.settings = settings(
    max_examples=150, stateful_step_count=50, report_multiple_bugs=False,
    phases=[Phase.reuse, Phase.generate, Phase.shrink],
)  # fmt: skip
