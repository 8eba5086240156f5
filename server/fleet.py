"""The pure core of the supervisor: what to do when a worker reports, dies, or a signal comes.

Events and time in, actions out; no process, pipe, clock or socket. The start goes so: worker 0
loads the user's module; what it says decides how many workers there are; worker 0 makes the first
element to find the spec, an empty worker passes that on; then all serve. Until then a death ends
the server; from then on a worker that dies is started again, as lives.py says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from genserver.protocol.codec import MAX_CAUSE, too_wide
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.fields import cut_text
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.spec import ElementSpec

from .actions import Abort, Action, Begin, DumpStacks, Kill, Publish, Ready, Say, Spawn, Tell
from .config import ConfigError, ServeConfig, digest_arguments
from .lifecycle import WorkerEvent, WorkerState, next_state
from .lives import Death, GiveUp, Lives, Restart
from .reports import Bound, Failed, Found, Leaving, Loaded, Report, Search, UseSpec, Warm
from .settled import Settled, settle, unseeking
from .stalls import Reading, StallWatch

__all__ = ["Fleet", "LONGEST_CAUSE", "Place", "room_for_causes"]

#: Seconds within one element until a worker is shown as stalled, and until its stacks are printed.
STALLED_AFTER, DUMP_AFTER = 10.0, 60.0
#: The most that the status tells of a worker's death, and what telling anything takes, in bytes.
LONGEST_CAUSE, CAUSE_HEAD = 400, 3


@dataclass(frozen=True, slots=True)
class Place:
    """What a worker takes over from an earlier fleet of the same server: which life its first
    process is, the port that the last one had bound, what is lost so far."""

    life: int = 0
    port: int = 0
    lost: int = 0


@dataclass(slots=True)
class _Worker:
    index: int
    lives: Lives
    state: WorkerState = WorkerState.STARTING
    pid: int = 0
    ipc: str = ""
    port: int = 0
    #: How the last process that died ended.
    cause: str = ""
    search_waits: bool = False
    #: Whether it was asked for its first element, and has made it: see `Fleet._warm`.
    warming: bool = False
    warm: bool = False
    #: When the next process is due, in `BACKOFF`.
    due: float = 0.0
    leaving: bool = False
    watch: StallWatch = field(default_factory=StallWatch)
    stalled: bool = False
    dumped: bool = False
    #: Why it ends, where we know better than its exit code: we kill it, or it said why.
    ends: str = ""
    lost: int = 0
    #: The life that listens: trainers that are told of a new one can connect to it.
    bound_life: int = 0


@dataclass(slots=True)
class Fleet:
    """All workers of one server."""

    config: ServeConfig
    cores: int
    host: str
    workers: list[_Worker] = field(default_factory=list)
    #: By worker, where another fleet was before this one.
    places: Mapping[int, Place] = field(default_factory=dict)
    spec: ElementSpec | None = None
    #: What is known of the terms.
    settled: Settled = field(default_factory=lambda: Settled(0, "", -2))
    #: Where the server of the stage before this one listens, once it does.
    upstream_endpoint: str = ""
    failure: str = ""
    stopping: bool = False
    ready: bool = False
    #: Of the generator's arguments, which may be large: made once.
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.digest = digest_arguments(self.config.arguments, self.config.items)

    def start(self) -> list[Action]:
        """The first workers: all when their number was given, else worker 0 alone."""
        return [self._spawn() for _ in range(self.config.workers or 1)]

    def spawned(self, index: int, pid: int) -> None:
        """A `Spawn` was carried out."""
        self.workers[index].pid = pid

    def report(self, index: int, report: Report, now: float) -> list[Action]:
        """A worker said something."""
        worker = self.workers[index]
        if isinstance(report, Bound):
            return self._bound(worker, report)
        if isinstance(report, Failed):
            if self.ready and report.code == ExitCode.UNAVAILABLE:
                # Its port was free once: whoever has it now may go. The exit follows.
                worker.ends = report.text.partition("\n")[0]
                return []
            if worker.state is not WorkerState.STOPPING:
                worker.state = next_state(worker.state, WorkerEvent.GIVE_UP)
                worker.cause = report.text.partition("\n")[0]
            return self._abort(ExitCode(report.code), report.text)
        if isinstance(report, Loaded):
            return self._loaded(worker, report, now)
        worker.warm = True
        if isinstance(report, Warm):
            return self._look_ready()
        if isinstance(report, Found):
            if self.config.recovery == "seek" and not report.seeks:
                return self._abort(ExitCode.CONFIG, unseeking(self.config.target))
            return self._adopt(report.spec, len(self.workers)) or self._tell_spec(now)
        if isinstance(report, Leaving):
            worker.leaving = True
            return []
        return self._pass_search_on(index)

    def exited(self, index: int, death: Death, now: float, chance: float) -> list[Action]:
        """A worker's process ended. ``chance`` is a random number from 0 to 1."""
        worker = self.workers[index]
        planned = worker.leaving and death.code == 0
        known, worker.ends, worker.leaving = worker.ends, "", False
        if worker.state in (WorkerState.STOPPING, WorkerState.FAILED):
            worker.state = next_state(worker.state, WorkerEvent.EXIT)
            return []
        if planned and self.ready:
            return self._retry(worker, worker.lives.left(), now)
        if known:
            death = replace(death, cause=known)
        worker.cause = death.cause
        name = f"worker {index} (pid {worker.pid})"
        verdict: Restart | GiveUp = GiveUp(death.cause)
        if self.ready:
            verdict = worker.lives.died(death, now, chance)
        if isinstance(verdict, GiveUp):
            worker.state = next_state(worker.state, WorkerEvent.GIVE_UP)
            worker.cause = verdict.text
            return [Publish(), *self._abort(ExitCode.WORKER_DIED, f"{name} died: {verdict.text}")]
        when = f"in {verdict.wait:.2g} s" if verdict.wait else "at once"
        again = f"{name} died: {death.cause}; it is started again {when}"
        return [Say(again), *self._retry(worker, verdict, now)]

    def tick(self, now: float, readings: Mapping[int, Reading]) -> list[Action]:
        """Let time pass: start the workers that are due, judge the progress of those that run."""
        actions: list[Action] = []
        for worker in self.workers:
            if worker.state is WorkerState.BACKOFF and worker.due <= now:
                actions += self._respawn(worker)
            elif worker.state in (WorkerState.LOADED, WorkerState.READY):
                actions += self._judge(worker, readings.get(worker.index), now)
        return actions

    @property
    def due(self) -> float:
        """When `tick` has something to do at the latest."""
        waiting = [w.due for w in self.workers if w.state is WorkerState.BACKOFF]
        return min(waiting, default=float("inf"))

    def stop(self) -> None:
        """The server stops, and with it the workers that are still alive."""
        self.stopping = True
        for worker in self.workers:
            worker.state = next_state(worker.state, WorkerEvent.STOP)

    @property
    def state(self) -> str:
        """One word for the whole server."""
        if self.failure:
            return "failed"
        if self.stopping:
            return "stopping"
        return "ready" if self.ready else "starting"

    def status(self) -> Status:
        """What trainers and `probe` are told."""
        dead = sum(bool(worker.cause) for worker in self.workers)
        room = room_for_causes(dead)
        return Status(
            state=self.state, generator=self.config.target, sharding=self.settled.sharding,
            seed=self.config.seed, cardinality=self.settled.length, host=self.host, spec=self.spec,
            workers=tuple(
                WorkerStatus(
                    w.index, "stalled" if w.stalled else w.state.value, w.pid, w.ipc, w.port,
                    cut_text(w.cause, room), w.bound_life, w.lost,
                )
                for w in self.workers
            ),
            cause=cut_text(self.failure, MAX_CAUSE // 2 if dead else MAX_CAUSE),
            recovery=self.config.recovery, arguments=self.digest, items=self.settled.items,
            upstream=self.settled.upstream, replay=self.config.replay or 0,
        )  # fmt: skip

    def _spawn(self) -> Spawn:
        index = len(self.workers)
        place = self.places.get(index, Place())
        lives = Lives(self.config.max_restarts, place.life)
        self.workers.append(_Worker(index, lives, port=place.port, lost=place.lost))
        return Spawn(index, place.life, place.port)

    def _retry(self, worker: _Worker, restart: Restart, now: float) -> list[Action]:
        worker.state = next_state(worker.state, WorkerEvent.RETRY)
        worker.due = now + restart.wait
        worker.watch, worker.stalled, worker.dumped = StallWatch(), False, False
        return self._respawn(worker) if not restart.wait else [Publish()]

    def _judge(self, worker: _Worker, reading: Reading | None, now: float) -> list[Action]:
        """A worker that makes one element for long is shown, then dumped, and perhaps killed."""
        if reading is None:
            return []
        seconds = worker.watch.look(reading, now)
        before = worker.stalled, worker.lost
        worker.stalled, worker.lost = seconds >= STALLED_AFTER, reading.lost
        worker.dumped = worker.dumped and worker.stalled
        actions: list[Action] = []
        if (worker.stalled, worker.lost) != before:
            actions.append(Publish())
        name, limit = f"worker {worker.index} (pid {worker.pid})", self.config.item_timeout
        if seconds >= DUMP_AFTER and not worker.dumped:
            worker.dumped = True
            text = f"{name} has been making {reading.making} for {seconds:.0f} s. It is here:"
            actions += [Say(text), DumpStacks(worker.index)]
        if limit is not None and seconds >= limit and not worker.ends:
            worker.ends = f"killed after --item-timeout {limit:g} s in {reading.making}"
            actions.append(Kill(worker.index))
        return actions

    def _respawn(self, worker: _Worker) -> list[Action]:
        worker.state = next_state(worker.state, WorkerEvent.SPAWN)
        spawn = Spawn(worker.index, worker.lives.life, worker.port)
        assert self.spec is not None  # the server was ready
        # At once, so that trainers are answered while the user's module is imported.
        return [spawn, Tell(worker.index, self._use_spec()), Publish()]

    def _bound(self, worker: _Worker, bound: Bound) -> list[Action]:
        worker.ipc, worker.port = bound.ipc, bound.port
        worker.bound_life = worker.lives.life
        return [Publish()] if worker.bound_life else []

    def _abort(self, code: ExitCode, text: str) -> list[Action]:
        if self.stopping or self.failure:
            return []
        self.failure = text
        return [Publish(), Abort(code, text)]

    def _loaded(self, worker: _Worker, report: Loaded, now: float) -> list[Action]:
        worker.state = next_state(worker.state, WorkerEvent.LOADED)
        if self.ready:
            return self._ready_again(worker, now)
        actions = self._decide(report) if worker.index == 0 and not self.stopping else []
        if self.spec is not None:
            return [*actions, *self._tell_spec(now)]
        if worker.search_waits:
            return [*actions, self._search(worker.index)]
        return [*actions, *self._warm()]

    def _ready_again(self, worker: _Worker, now: float) -> list[Action]:
        """A later life has loaded; it was told the spec when it was started."""
        if worker.state is not WorkerState.LOADED:
            return []  # the server stops
        worker.state = next_state(worker.state, WorkerEvent.SPEC)
        worker.lives.ready(now)
        return [Publish()]

    def _decide(self, report: Loaded) -> list[Action]:
        """Worker 0 knows what the generator can do: settle the workers, the sharding, the spec."""
        try:
            self.settled = settle(self.config, report, self.cores)
        except ConfigError as error:
            return self._abort(error.code, str(error))
        count = self.settled.workers
        declared = report.spec if self.config.spec is None else self.config.spec.to_wire()
        refused = [] if declared is None else self._adopt(declared, count)
        if refused:
            return refused
        actions: list[Action] = [self._spawn() for _ in range(count - len(self.workers))]
        if report.upstream is not None:
            actions.append(Begin(report.upstream))
        elif self.spec is None:
            actions.append(self._search(0))
        return [*actions, Publish()]

    def began(self, endpoint: str, now: float) -> list[Action]:
        """The stage before this one is ready."""
        self.upstream_endpoint = endpoint
        if self.stopping:
            return []
        return [self._search(0), *self._warm()] if self.spec is None else self._tell_spec(now)

    def upstream_failed(self, code: ExitCode, text: str) -> list[Action]:
        """The stage before this one did not start, or ended."""
        return [] if self.stopping else self._abort(code, f"the first stage ended: {text}")

    def _adopt(self, wire: list[Any], workers: int) -> list[Action]:
        """Take the spec on, or end: trainers could not be told of one that is too wide."""
        longest_ipc = max(len(w.ipc.encode()) for w in self.workers) + len(str(workers))
        refusal = too_wide(wire, workers, longest_ipc)
        if refusal:
            return self._abort(ExitCode.GENERATOR, f"{self.config.target}: {refusal}")
        self.spec = ElementSpec.from_wire(wire)
        return []

    def _use_spec(self) -> UseSpec:
        assert self.spec is not None  # the callers looked
        return UseSpec(self.spec.to_wire(), self.upstream_endpoint)

    def _search(self, index: int, *, warm: bool = False) -> Action:
        self.workers[index].search_waits = False
        self.workers[index].warming = True
        where = self.upstream_endpoint
        return Tell(index, Search(index, len(self.workers), self.config.seed, where, warm))

    def _pass_search_on(self, index: int) -> list[Action]:
        following = index + 1
        if following == len(self.workers):
            return self._abort(
                ExitCode.GENERATOR,
                f"{self.config.target} yields no element in any worker; if that is meant, say what "
                "its elements would be with --spec",
            )
        if self.workers[following].state is WorkerState.LOADED:
            return [self._search(following)]
        self.workers[following].search_waits = True
        return []

    def _tell_spec(self, now: float) -> list[Action]:
        """Tell every loaded worker the spec; the server is ready when none is left."""
        assert self.spec is not None  # the callers looked
        actions = self._warm()
        if self.settled.upstream and not self.upstream_endpoint:
            return []  # told when the stage before this one is ready
        for worker in self.workers:
            if worker.state is WorkerState.LOADED:
                worker.state = next_state(worker.state, WorkerEvent.SPEC)
                worker.lives.ready(now)
                actions.append(Tell(worker.index, self._use_spec()))
        return [*actions, *self._look_ready(), Publish()]

    def _look_ready(self) -> list[Action]:
        """Whether every worker is ready by now, and where there are stages, has something."""
        if self.ready or not all(w.state is WorkerState.READY for w in self.workers):
            return []
        if self._staged and not all(w.warm for w in self.workers):
            return []
        self.ready = True
        return [Ready(), Publish()]

    @property
    def _staged(self) -> bool:
        return bool(self.settled.upstream or self.config.stage)

    def _warm(self) -> list[Action]:
        """All stages begin together: a worker that starts when a trainer is there already would
        have it wait."""
        if not self._staged or (self.settled.upstream and not self.upstream_endpoint):
            return []
        return [
            self._search(worker.index, warm=True)
            for worker in self.workers
            if worker.state is WorkerState.LOADED and not (worker.warm or worker.warming)
        ]


def room_for_causes(workers: int) -> int:
    """How many bytes the status may tell of each of so many workers' deaths."""
    return min(LONGEST_CAUSE, MAX_CAUSE // 2 // max(1, workers) - CAUSE_HEAD)
