"""What a server shows of itself to whoever asks over HTTP. Pure: time is an argument.

The supervisor's thread writes, once a second and whole; any thread reads. Each attribute that is
read is replaced and never changed, so nobody waits for anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from genserver.protocol.link import BEAT_EVERY, SUSPECT_AFTER
from genserver.protocol.messages import Status
from genserver.protocol.telemetry import Snapshot
from genserver.protocol.window import Window

__all__ = ["STUCK_AFTER", "Board", "Lived", "Shown"]

#: Seconds between two looks, which is also how old what is shown may be.
EVERY = BEAT_EVERY
#: Seconds without a turn of the supervisor's loop after which it counts as stuck: what trainers
#: call a silent peer after. It turns twice a second; only starting hundreds of workers at once
#: takes as long.
STUCK_AFTER = SUSPECT_AFTER


@dataclass(frozen=True, slots=True)
class Lived:
    """Of one worker over all its lives: microseconds of a core, and how often it was restarted.

    The system counts for a process alone, and another fleet (--reload) begins with less.
    """

    cpu: int
    restarts: int


@dataclass(frozen=True, slots=True)
class Shown:
    """A server at a moment."""

    status: Status
    #: Of the last seconds, the latest last.
    snapshots: tuple[Snapshot, ...]
    #: By worker.
    lived: Mapping[int, Lived]


@dataclass(slots=True)
class _Process:
    """The latest one of a worker: what it used, and what those before it did."""

    pid: int
    cpu: int = 0
    before: int = 0
    restarts: int = 0


class Board:
    """Of one server."""

    def __init__(self, now: float) -> None:
        #: When the supervisor's loop turned last; its start is one.
        self.turned = now
        #: None until the first look.
        self.shown: Shown | None = None
        self._status: Callable[[], Status] | None = None
        self._measure: Callable[[], Snapshot] | None = None
        self._looked = float("-inf")
        self._window = Window()
        self._processes: dict[int, _Process] = {}

    def watch(self, status: Callable[[], Status], measure: Callable[[], Snapshot]) -> None:
        """Where to look from the next tick on."""
        self._status, self._measure = status, measure

    def tick(self, now: float) -> None:
        """The supervisor's loop turned."""
        self.turned = now
        if self._status is None or self._measure is None or now - self._looked < EVERY:
            return
        self._looked = now
        status, snapshot = self._status(), self._measure()
        self._window.add(snapshot)
        self.shown = Shown(status, self._window.snapshots, self._lived(status, snapshot))

    def show(self, status: Status) -> None:
        """It changed, and somebody may look before the next tick."""
        if self.shown is not None:
            self.shown = replace(self.shown, status=status)

    def age(self, now: float) -> float:
        """Seconds since the supervisor's loop turned."""
        return now - self.turned

    def _lived(self, status: Status, snapshot: Snapshot) -> dict[int, Lived]:
        pids = {worker.index: worker.pid for worker in status.workers}
        lived = {}
        for worker in snapshot.workers:
            pid = pids.get(worker.index, 0)
            process = self._processes.setdefault(worker.index, _Process(pid))
            if process.pid != pid:
                process.before += process.cpu
                process.pid, process.cpu = pid, 0
            process.cpu = max(process.cpu, worker.cpu)  # 0 while nobody can say
            process.restarts = max(process.restarts, worker.restarts)
            lived[worker.index] = Lived(process.before + process.cpu, process.restarts)
        return lived
