"""The pure core of the supervisor: what to do when a worker reports, dies, or a signal comes.

Events in, actions out; no process, pipe, clock or socket. The start goes so: worker 0 loads the
user's module; what it says decides how many workers there are; worker 0 makes the first element to
find the spec, an empty worker passes that on; then all serve.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from genserver.protocol.codec import MAX_CAUSE, too_wide
from genserver.protocol.fields import cut_text
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.spec import ElementSpec

from .config import ServeConfig
from .exit_codes import ExitCode
from .reports import Bound, Command, Failed, Found, Loaded, Report, Search, UseSpec

__all__ = ["Abort", "Action", "Fleet", "FleetEvent", "Publish", "Ready", "Spawn", "Tell",
           "WORKER_STATES", "WorkerState", "next_state"]  # fmt: skip


class WorkerState(Enum):
    """One worker process."""

    STARTING = "starting"  # the process runs, the user's module is being imported
    LOADED = "loaded"  # the module is imported, the spec is not known to it
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class FleetEvent(Enum):
    """What happens to a worker."""

    LOADED = "its module is imported"
    SPEC = "it was told the spec"
    STOP = "the server stops"
    EXIT = "its process ended"


_W, _E = WorkerState, FleetEvent
WORKER_STATES: dict[WorkerState, dict[FleetEvent, WorkerState]] = {
    _W.STARTING: {_E.LOADED: _W.LOADED, _E.STOP: _W.STOPPING, _E.EXIT: _W.FAILED},
    _W.LOADED: {_E.SPEC: _W.READY, _E.STOP: _W.STOPPING, _E.EXIT: _W.FAILED},
    _W.READY: {_E.STOP: _W.STOPPING, _E.EXIT: _W.FAILED},
    _W.STOPPING: {
        _E.LOADED: _W.STOPPING,  # it had reported before it heard
        _E.STOP: _W.STOPPING,
        _E.EXIT: _W.STOPPED,
    },
    _W.STOPPED: {_E.STOP: _W.STOPPED},
    _W.FAILED: {_E.STOP: _W.FAILED},
}


def next_state(state: WorkerState, event: FleetEvent) -> WorkerState:
    """The table's next state; `ValueError` for a pair that is not in it."""
    try:
        return WORKER_STATES[state][event]
    except KeyError:
        raise ValueError(f"a worker that is {state.value}: {event.value}") from None


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a worker process."""

    index: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Write to a worker's pipe."""

    index: int
    command: Command


@dataclass(frozen=True, slots=True)
class Publish:
    """Send the status to the trainers."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Everything serves: print the start-up line."""


@dataclass(frozen=True, slots=True)
class Abort:
    """End the server with this code and sentence."""

    code: ExitCode
    text: str


Action = Spawn | Tell | Publish | Ready | Abort


@dataclass(slots=True)
class _Worker:
    index: int
    state: WorkerState = WorkerState.STARTING
    pid: int = 0
    ipc: str = ""
    port: int = 0
    cause: str = ""
    search_waits: bool = False


@dataclass(slots=True)
class Fleet:
    """All workers of one server."""

    config: ServeConfig
    cores: int
    host: str
    workers: list[_Worker] = field(default_factory=list)
    spec: ElementSpec | None = None
    sharding: str = ""
    length: int = -2
    failure: str = ""
    stopping: bool = False
    ready: bool = False

    def start(self) -> list[Action]:
        """The first workers: all when their number was given, else worker 0 alone."""
        return [self._spawn() for _ in range(self.config.workers or 1)]

    def spawned(self, index: int, pid: int) -> None:
        """A `Spawn` was carried out."""
        self.workers[index].pid = pid

    def report(self, index: int, report: Report) -> list[Action]:
        """A worker said something."""
        worker = self.workers[index]
        if isinstance(report, Bound):
            worker.ipc, worker.port = report.ipc, report.port
            return []
        if isinstance(report, Failed):
            return self._abort(ExitCode(report.code), report.text)
        if isinstance(report, Loaded):
            return self._loaded(worker, report)
        if isinstance(report, Found):
            return self._adopt(report.spec, len(self.workers)) or self._tell_spec()
        return self._pass_search_on(index)

    def exited(self, index: int, cause: str) -> list[Action]:
        """A worker's process ended; ``cause`` names its code or signal."""
        worker = self.workers[index]
        worker.state = next_state(worker.state, FleetEvent.EXIT)
        if worker.state is WorkerState.STOPPED:
            return []
        worker.cause = cause
        return [
            Publish(),
            *self._abort(ExitCode.WORKER_DIED, f"worker {index} (pid {worker.pid}) died: {cause}"),
        ]

    def stop(self) -> list[int]:
        """The server stops: the workers that are still alive."""
        self.stopping = True
        for worker in self.workers:
            worker.state = next_state(worker.state, FleetEvent.STOP)
        return [w.index for w in self.workers if w.state is WorkerState.STOPPING]

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
        return Status(
            state=self.state, generator=self.config.target, sharding=self.sharding,
            seed=self.config.seed, cardinality=self.length, host=self.host, spec=self.spec,
            workers=tuple(
                WorkerStatus(w.index, w.state.value, w.pid, w.ipc, w.port, w.cause)
                for w in self.workers
            ),
            cause=cut_text(self.failure, MAX_CAUSE),
        )  # fmt: skip

    def _spawn(self) -> Spawn:
        self.workers.append(_Worker(len(self.workers)))
        return Spawn(len(self.workers) - 1)

    def _abort(self, code: ExitCode, text: str) -> list[Action]:
        if self.stopping or self.failure:
            return []
        self.failure = text
        return [Publish(), Abort(code, text)]

    def _loaded(self, worker: _Worker, report: Loaded) -> list[Action]:
        worker.state = next_state(worker.state, FleetEvent.LOADED)
        actions = self._decide(report) if worker.index == 0 and not self.stopping else []
        if self.spec is not None:
            return [*actions, *self._tell_spec()]
        if worker.search_waits:
            return [*actions, self._search(worker.index)]
        return actions

    def _decide(self, report: Loaded) -> list[Action]:
        """Worker 0 knows what the generator can do: settle the workers, the sharding, the spec."""
        count = self.config.workers
        divisible = report.divisible and self.config.sharding != "off"
        if count is None:
            dividing = divisible or self.config.sharding == "off"
            count = max(1, self.cores - 1) if dividing else 1
        if self.config.sharding == "static" and not report.divisible:
            return self._abort(ExitCode.CONFIG, self._indivisible("--sharding static"))
        if count > 1 and not report.divisible and self.config.sharding != "off":
            return self._abort(ExitCode.CONFIG, self._indivisible(f"{count} workers"))
        self.sharding = self.config.sharding or ("static" if report.divisible else "single")
        self.length = report.length if self.config.length is None else self.config.length
        declared = report.spec if self.config.spec is None else self.config.spec.to_wire()
        refused = [] if declared is None else self._adopt(declared, count)
        if refused:
            return refused
        actions: list[Action] = [self._spawn() for _ in range(count - len(self.workers))]
        if self.spec is None:
            actions.append(self._search(0))
        return [*actions, Publish()]

    def _adopt(self, wire: list[Any], workers: int) -> list[Action]:
        """Take the spec on, or end: trainers could not be told of one that is too wide."""
        longest_ipc = max(len(w.ipc.encode()) for w in self.workers) + len(str(workers))
        refusal = too_wide(wire, workers, longest_ipc)
        if refusal:
            return self._abort(ExitCode.GENERATOR, f"{self.config.target}: {refusal}")
        self.spec = ElementSpec.from_wire(wire)
        return []

    def _indivisible(self, wanted: str) -> str:
        return (
            f"{self.config.target} cannot be divided, so {wanted} would serve every element more "
            "than once: give it a parameter named 'worker' and use worker.index and worker.count, "
            "or say --sharding off if whole copies are right (endless random elements), "
            "or --workers 1"
        )

    def _search(self, index: int) -> Action:
        self.workers[index].search_waits = False
        return Tell(index, Search(index, len(self.workers), self.config.seed))

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

    def _tell_spec(self) -> list[Action]:
        """Tell every loaded worker the spec; the server is ready when none is left."""
        assert self.spec is not None  # the callers looked
        actions: list[Action] = []
        for worker in self.workers:
            if worker.state is WorkerState.LOADED:
                worker.state = next_state(worker.state, FleetEvent.SPEC)
                actions.append(Tell(worker.index, UseSpec(self.spec.to_wire())))
        if all(w.state is WorkerState.READY for w in self.workers) and not self.ready:
            self.ready = True
            actions.append(Ready())
        return [*actions, Publish()]
