"""The pure core of a supervisor that reloads: one `Fleet` after the other, one for each version of
the user's code. It has the face of a `Fleet`.

Events and time in, actions out. A change ends the processes of the present fleet; when the last one
is gone the next fleet starts from the beginning, with the same places, so that trainers find each
worker where it was. Until it serves, trainers are told that the server starts, and why. If it
serves the same as before, they go on with it; if not, the server becomes another one, as if it had
been stopped and started. Code that does not start leaves no process, and waits for the next change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.fields import cut_text
from genserver.protocol.messages import Status
from genserver.protocol.watch import difference

from .actions import (
    Abort,
    Action,
    Forget,
    Kill,
    Publish,
    Ready,
    Say,
    StartOver,
    Tell,
    Terminate,
)
from .config import ServeConfig
from .fleet import Fleet, Place, room_for_causes
from .lives import Death
from .reports import Bound, Loaded, Report, Stop
from .stalls import Reading
from .watched import described

__all__ = ["KILL_AFTER", "TERM_AFTER", "Reloading"]

#: Seconds from a change until a worker must leave its element, and until it is killed: those of
#: Ctrl-C, since nobody wants what the old code still makes.
TERM_AFTER, KILL_AFTER = 0.3, 1.3


class Reloading:
    """All workers of one server, whatever code they run."""

    def __init__(self, config: ServeConfig, cores: int, host: str, here: str) -> None:
        """``here`` is the folder that files are named from."""
        self._here = here
        self._config, self._cores, self._host = config, cores, host
        self._fleet = Fleet(config, cores, host)
        #: Of every worker that there ever was.
        self._places: dict[int, Place] = {}
        self._first = True
        #: Whose processes run, and which of them have said where they listen.
        self._alive: set[int] = set()
        self._bound: set[int] = set()
        #: Whether the processes that run are of code that is not wanted any more ...
        self._leaving = False
        #: ... and the means to end them, each with its time.
        self._ladder: list[tuple[float, type[Terminate] | type[Kill]]] = []
        #: Whether nothing starts before the next change.
        self._broken = False
        #: Why it does not serve, for those who wait.
        self._why = ""
        #: Files that changed since the present fleet was started.
        self._changed: set[str] = set()
        #: What trainers know as this server.
        self._served: Status | None = None
        self.stopping = False

    def start(self) -> list[Action]:
        """The first workers."""
        return self._fleet.start()

    def spawned(self, index: int, pid: int) -> None:
        """A `Spawn` was carried out."""
        self._alive.add(index)
        self._fleet.spawned(index, pid)

    def changed(self, paths: Iterable[str], now: float) -> list[Action]:
        """Files of the user's code changed."""
        if self.stopping:
            return []
        paths = sorted(paths)
        self._changed.update(paths)
        self._why = f"{described(paths, self._here)} changed"
        self._broken = False
        actions: list[Action] = [Say(f"{self._why}: the workers start again with the new code")]
        if not self._leaving:
            actions += self._end_all(now)
        return [*actions, Publish(), *self._begin_if_over()]

    def report(self, index: int, report: Report, now: float) -> list[Action]:
        """A worker said something."""
        if self._leaving:
            return []  # of code that is gone
        if isinstance(report, Bound):
            self._bound.add(index)
        if isinstance(report, Loaded) and report.upstream is not None:
            text = f"{self._config.target} is a pipeline, and --reload is for one stage"
            return self._follow([Abort(ExitCode.CONFIG, text)], now, mends=not self._first)
        return self._follow(self._fleet.report(index, report, now), now, mends=self._mends(index))

    def exited(self, index: int, death: Death, now: float, chance: float) -> list[Action]:
        """A worker's process ended. ``chance`` is a random number from 0 to 1."""
        self._alive.discard(index)
        if self.stopping:
            return []
        if self._leaving or self._broken:
            return self._begin_if_over()
        mends = self._mends(index)
        return self._follow(self._fleet.exited(index, death, now, chance), now, mends=mends)

    def tick(self, now: float, readings: Mapping[int, Reading]) -> list[Action]:
        """Let time pass."""
        actions: list[Action] = []
        while self._ladder and self._ladder[0][0] <= now:
            _, means = self._ladder.pop(0)
            actions += [means(index) for index in sorted(self._alive)]
        if self._leaving or self._broken:
            return actions
        return self._follow(self._fleet.tick(now, readings), now, mends=True)

    @property
    def due(self) -> float:
        """When `tick` has something to do at the latest."""
        if self._leaving or self._broken:
            return self._ladder[0][0] if self._ladder else float("inf")
        return self._fleet.due

    def began(self, endpoint: str, now: float) -> list[Action]:
        """The stage before this one is ready: there is none, see `report`."""
        return self._follow(self._fleet.began(endpoint, now), now, mends=True)

    def upstream_failed(self, code: ExitCode, text: str) -> list[Action]:
        """The same, and it ended."""
        return self._fleet.upstream_failed(code, text)

    def stop(self) -> None:
        """The server stops."""
        self.stopping = True
        self._ladder.clear()  # the shell has another
        self._fleet.stop()

    @property
    def ready(self) -> bool:
        """Whether the present code serves."""
        return self._fleet.ready and not (self._leaving or self._broken)

    def status(self) -> Status:
        """What trainers and `probe` are told."""
        away = self._leaving or self._broken
        if self.ready or not (away or self._served):
            return self._fleet.status()
        # The terms that trainers know, until it is sure that they hold; and no new life yet.
        known = self._served or self._fleet.status()
        new = {} if away else {w.index: w for w in self._fleet.status().workers}
        why = cut_text(self._why, room_for_causes(len(known.workers)))
        workers = []
        for worker in known.workers:
            state, pid = "backoff", worker.pid
            if worker.index in new:
                fresh = new[worker.index]
                state, pid = fresh.state if fresh.between_lives else "loaded", fresh.pid
            workers.append(replace(worker, state=state, pid=pid, cause=why))
        state = "stopping" if self.stopping else "starting"
        return replace(known, state=state, cause=why, workers=tuple(workers))

    def _mends(self, index: int) -> bool:
        """Whether other code may mend what is wrong with a worker. Who could not even listen when
        the server was started has nothing against the code."""
        return index in self._bound or not self._first

    def _follow(self, actions: list[Action], now: float, *, mends: bool) -> list[Action]:
        """What the fleet wants, but for what a server that reloads does in another way."""
        followed: list[Action] = []
        for action in actions:
            if isinstance(action, Abort) and mends:
                return [*followed, *self._fail(action.text, now)]
            followed += self._serves() if isinstance(action, Ready) else [action]
        return followed

    def _fail(self, text: str, now: float) -> list[Action]:
        """The code does not start, or does not run: nothing of it is left, the server is."""
        self._broken = True
        self._why = text.partition("\n")[0]
        lines = f"{text.rstrip()}\ngenserver: waiting until the code changes"
        return [Say(lines), *self._end_all(now), Publish()]

    def _serves(self) -> list[Action]:
        """Every worker is ready."""
        before, self._served = self._served, self._fleet.status()
        if before is None:
            return [Ready()]
        differing = difference(before, self._served)
        if differing is None:
            return [Say("the new code serves")]
        name, then, now = differing
        what = f"{name} is {now}, before it was {then}"
        return [
            Say(f"the new code serves something else, and trainers must begin anew: {what}"),
            StartOver("its new code serves something else"),
        ]

    def _end_all(self, now: float) -> list[Action]:
        self._leaving = bool(self._alive)
        self._ladder = [(now + TERM_AFTER, Terminate), (now + KILL_AFTER, Kill)]
        return [Tell(index, Stop(self._why, returns=True)) for index in sorted(self._alive)]

    def _begin_if_over(self) -> list[Action]:
        """The next fleet, when nothing is left of the last one and there is code to run."""
        if self._alive:
            return []
        self._leaving = False
        self._ladder.clear()
        if self._broken:
            return []
        for old in self._fleet.workers:
            self._places[old.index] = Place(old.lives.life + 1, old.port, old.lost)
        self._first = False
        forget = Forget(tuple(sorted(self._changed)))
        self._changed.clear()
        self._fleet = Fleet(self._config, self._cores, self._host, places=self._places)
        return [forget, *self._fleet.start(), Publish()]
