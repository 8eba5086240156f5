"""What a trainer makes of the news about a server and its workers: who is waited for, linked again,
gone on with, given up, and in which words.

The server speaks over the control link, each worker over its own. Streams go on in another life of
a worker only when the server announced that life: else another server behind the same port could go
on with what this one began. Pure: time is an argument, what is to be done comes back as actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from .errors import GenserverError, PeerLost, Rejected, ServerChanged, ServerStopped, WorkerDied
from .link import DEAD_AFTER, Pauses
from .messages import ErrorCode, Status, WorkerStatus

__all__ = [
    "GIVE_UP_AFTER", "PRESENCE", "Abandon", "Action", "GiveUp", "News", "Presence", "Renew",
    "Resume", "Say", "Watch", "difference",
]  # fmt: skip

#: Silence and absence, new links included, after which a peer is given up (design 8), in seconds.
GIVE_UP_AFTER = 120.0


class Presence(Enum):
    """A server, as a trainer knows it."""

    NEW = "new"  # it has not served yet
    HERE = "here"
    SILENT = "silent"  # it does not answer, and neither do new links
    LEFT = "left"  # it said goodbye, and may return
    RETURNING = "returning"  # another life of it answered, and does not serve yet


class News(Enum):
    """What is heard of a server on its control link."""

    LOST = "the link was lost"
    LEFT = "it left, and may return"
    REBORN = "another life of it answered"
    SERVES = "it says that it serves"


_P, _N = Presence, News
#: Every pair is legal: what is new says it.
PRESENCE: dict[Presence, dict[News, Presence]] = {
    _P.NEW: {_N.LOST: _P.NEW, _N.LEFT: _P.NEW, _N.REBORN: _P.NEW, _N.SERVES: _P.HERE},
    **{
        presence: {
            _N.LOST: _P.LEFT if presence is _P.LEFT else _P.SILENT, _N.LEFT: _P.LEFT,
            _N.REBORN: _P.RETURNING, _N.SERVES: _P.HERE,
        }
        for presence in (_P.HERE, _P.SILENT, _P.LEFT, _P.RETURNING)
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Renew:
    """Read what arrived on a worker's link, make it anew at once, and say so (`Watch.renewed`)."""

    worker: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on with a worker's streams that wait for it; ``why`` nobody has their elements."""

    worker: int
    why: str


@dataclass(frozen=True, slots=True)
class Abandon:
    """A worker's streams end with this error: all, or those that are named."""

    worker: int
    error: GenserverError
    streams: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The connection ends with this error, and every stream with it."""

    error: GenserverError


@dataclass(frozen=True, slots=True)
class Say:
    """A line for the user."""

    text: str


Action = Renew | Resume | Abandon | GiveUp | Say


@dataclass(slots=True)
class _Life:
    """A worker in use."""

    #: The life that its link was made for, -1 for none.
    linked: int
    #: Whether the server said that another life than the last one is to answer.
    announced: bool = False
    #: Why the last life ended, as far as the server told.
    cause: str = ""
    lost: int = 0
    #: Its silence counts from here: until then it had a reason.
    excused: float = 0.0
    #: Since when a life answers that the server has not announced.
    strange: float | None = None


class Watch:
    """One connection's view of its server. `status` is the last one that holds for its streams."""

    def __init__(self, endpoint: str, give_up_after: float, now: float) -> None:
        self.status: Status | None = None
        self.presence = Presence.NEW
        self._endpoint = endpoint
        self._give_up_after = give_up_after
        self._lives: dict[int, _Life] = {}
        self._since = now
        self._reason = ""
        #: Whether a line said that it is away: then another says when it serves again.
        self._said = False
        #: Whether another life answered than the one that `status` is of.
        self._another = False
        self._pauses = Pauses(now)

    # The server.

    def told(self, status: Status, now: float) -> list[Action]:
        """A STATUS came: of the life in use, or of the one that answered last."""
        if not self._another:
            self.status = status
            back = self._serves(status, now) if status.state == "ready" else []
            return [*back, *self._look_at_workers(status)]
        if status.state != "ready":
            return []  # it starts; or it failed, and says goodbye next
        assert self.status is not None  # it was here before
        changed = difference(self.status, status)
        if changed is not None:
            return [GiveUp(ServerChanged(self._endpoint, *changed))]
        self.status, self._another = status, False
        return [*self._serves(status, now), *self._start_over(status, now)]

    def lost(self, now: float, heard: float) -> list[Action]:
        """The control link was lost, and is being made anew; the server was last ``heard`` then."""
        if self.presence in (Presence.HERE, Presence.RETURNING):
            self._since, self._reason = heard, "it does not answer"
        self.presence = PRESENCE[self.presence][News.LOST]
        silent = now - heard
        if self.presence is Presence.NEW or silent < DEAD_AFTER:
            return []  # a new link in a moment
        return [self._say(f"is silent for {silent:.0f} s")]

    def suspect(self) -> list[Action]:
        """The server has been silent for a while; a worker's silence is no news."""
        here = self.presence is Presence.HERE
        return [Say(f"the server at {self._endpoint} is silent")] if here else []

    def left(self, reason: str, returns: bool, now: float) -> list[Action]:
        """The server said goodbye."""
        if not returns:
            return [GiveUp(ServerStopped(endpoint=self._endpoint, reason=reason))]
        known = self.presence is Presence.LEFT and self._reason == reason
        if not known:
            self._since, self._reason = now, reason
        self.presence = PRESENCE[self.presence][News.LEFT]
        if known or self.presence is Presence.NEW:
            return []
        return [self._say(f"left ({reason}) and may return")]

    def reborn(self) -> list[Action]:
        """Another life of the server answered."""
        self.presence = PRESENCE[self.presence][News.REBORN]
        if self.presence is Presence.NEW:
            self.status = None
            return []
        self._another = self._said = True
        return [Say(f"another life of the server at {self._endpoint} answers")]

    def absence(self, now: float) -> str:
        """What a waiting trainer is told of a server that does not serve, or ""."""
        if self.presence in (Presence.SILENT, Presence.LEFT):
            away, limit = now - self._since, self._give_up_after
            return f"away for {away:.0f} s ({self._reason}), given up after {limit:.0f} s"
        return "starting again" if self.presence is Presence.RETURNING else ""

    @property
    def away(self) -> bool:
        """Whether it served, and does not at the moment."""
        return self.presence in (Presence.SILENT, Presence.LEFT, Presence.RETURNING)

    # Its workers.

    def reachable(self, worker: int) -> bool:
        """Whether there is somebody to talk to."""
        return self.presence is Presence.HERE and not self._worker(worker).between_lives

    def use(self, worker: int) -> None:
        """A worker is wanted from now on. Who is reachable can be linked at once; for others
        `Renew` comes in time."""
        state = self._worker(worker)
        linked = state.life if self.reachable(worker) else -1
        self._lives[worker] = _Life(linked, cause=state.cause, lost=state.lost)

    def opened(self, worker: int) -> list[Action]:
        """A stream was opened on a worker in use."""
        state = self._worker(worker)
        failed = state.state == "failed"
        return [Abandon(worker, self._died(worker, state.cause))] if failed else []

    def renewed(self, worker: int) -> None:
        """A link was made to the life that the server announced. Only now, because what was read of
        the old link may have been a welcome of the old life."""
        self._lives[worker].announced = True

    def welcomed(self, worker: int) -> None:
        """A worker answered on a new link; if it is another life, `worker_reborn` came before."""
        self._lives[worker].announced = False

    def worker_reborn(self, worker: int, now: float) -> list[Action]:
        """Another life of a worker answered. Its streams wait until the server announced it."""
        life = self._lives[worker]
        if not life.announced:
            life.strange = now if life.strange is None else life.strange
            return []
        life.strange = None
        return [Resume(worker, life.cause or "it was started again")]

    def worker_forgot(self, worker: int, streams: tuple[int, ...]) -> list[Action]:
        """A worker has nothing of these streams any more: this trainer was silent for too long."""
        assert self.status is not None  # it has workers
        if self.status.recovery == "none":
            text = f"worker {worker} gave up this trainer, and recovery is none"
            error = Rejected(self._endpoint, ErrorCode.STRANGER.value, text)
            return [Abandon(worker, error, streams), Resume(worker, "")]
        why = "it had given up this trainer, which was silent for too long"
        if self.status.recovery == "stream":
            why += "; what it had made ahead is lost, and nobody counted it"
        return [Resume(worker, why)]

    def gone_on(self, worker: int, elements: Sequence[int], why: str) -> str:
        """The line for streams that go on at these elements; "" for none."""
        if not elements:
            return ""
        assert self.status is not None  # it has workers
        at = ", ".join(map(str, sorted(elements)))
        how = "new elements in place of" if self.status.recovery == "stream" else "element"
        return f"worker {worker} of {self._endpoint} goes on at {how} {at}: {why}"

    def tick(self, now: float, heard: Mapping[int, float], wanted: Sequence[int]) -> list[Action]:
        """Let time pass; call as often as `TrainerEnd.tick`. ``heard`` says when each linked worker
        was heard last, and ``wanted`` which of them have streams."""
        slept = self._pauses.slept(now)
        if slept:
            self._excuse(slept, now)
        if self.presence in (Presence.SILENT, Presence.LEFT):
            lately = any(now - at < DEAD_AFTER for at in heard.values())
            speaks = self.presence is Presence.SILENT and lately  # its workers do: data still comes
            silent = now - self._since
            given_up = silent >= self._give_up_after and not speaks
            return [GiveUp(self._silent("the server", silent, now, heard))] if given_up else []
        return [action for worker in wanted for action in self._judge(worker, now, heard)]

    def _judge(self, worker: int, now: float, heard: Mapping[int, float]) -> list[Action]:
        """Whoever has no reason to be silent, and is for too long, is given up."""
        life = self._lives[worker]
        state = self._worker(worker)
        # A stalled one lives, as the server sees, and its generator lets no other thread run.
        reason = state.between_lives or state.state == "stalled"
        if self.presence is not Presence.HERE or reason:
            life.excused = now
        since = heard[worker] if life.strange is None else life.strange
        silent = now - max(since, life.excused)
        if silent < self._give_up_after:
            return []
        return [Abandon(worker, self._silent(f"worker {worker}", silent, now, heard))]

    def _excuse(self, seconds: float, now: float) -> None:
        """Who slept for so long did not look for anybody."""
        self._since = min(now, self._since + seconds)
        for life in self._lives.values():
            if life.strange is not None:
                life.strange = min(now, life.strange + seconds)

    def _serves(self, status: Status, now: float) -> list[Action]:
        before, self.presence = self.presence, PRESENCE[self.presence][News.SERVES]
        said, self._said = self._said, False
        if before in (Presence.NEW, Presence.HERE):
            return []
        for life in self._lives.values():
            life.excused = now
        if not said:
            return []
        return [Say(f"the server at {self._endpoint} serves again: {status.generator}")]

    def _start_over(self, status: Status, now: float) -> list[Action]:
        """Another life of the server serves the same: all its workers are other ones."""
        actions: list[Action] = []
        why = "the server was started again"
        for worker, life in self._lives.items():
            if status.recovery == "none" and life.linked >= 0:
                actions.append(Abandon(worker, self._died(worker, why)))
            self._lives[worker] = _Life(-1, cause=why, excused=now)
        return [*actions, *self._look_at_workers(status)]

    def _look_at_workers(self, status: Status) -> list[Action]:
        found = [self._look_at(worker, life, status) for worker, life in self._lives.items()]
        return [action for actions in found for action in actions]

    def _look_at(self, worker: int, life: _Life, status: Status) -> list[Action]:
        """What the server says of a worker in use."""
        state = status.workers[worker]
        actions: list[Action] = []
        if state.lost > life.lost:
            lost = f"{state.lost - life.lost} elements that it had made are lost"
            actions.append(Say(f"worker {worker} of {self._endpoint} died, and {lost}"))
        life.lost = state.lost
        life.cause = state.cause or life.cause
        if state.state == "failed":
            return [*actions, Abandon(worker, self._died(worker, state.cause))]
        over = state.between_lives or state.life != life.linked
        if over and life.linked >= 0:
            life.linked = -1
            if status.recovery == "none":
                actions.append(Abandon(worker, self._died(worker, life.cause)))
        if life.linked < 0 and not state.between_lives:
            life.linked = state.life
            actions.append(Renew(worker))
        return actions

    def _died(self, worker: int, cause: str) -> WorkerDied:
        return WorkerDied(endpoint=self._endpoint, worker=worker, cause=cause)

    def _silent(
        self, peer: str, seconds: float, now: float, heard: Mapping[int, float]
    ) -> PeerLost:
        assert self.status is not None  # who is given up was there
        states = _table(self.status.workers, {worker: now - at for worker, at in heard.items()})
        return PeerLost(endpoint=self._endpoint, peer=peer, seconds=seconds, states=states)

    def _say(self, what: str) -> Say:
        self._said = True
        limit = f"waiting up to {self._give_up_after:.0f} s for it"
        return Say(f"the server at {self._endpoint} {what}; {limit}")

    def _worker(self, worker: int) -> WorkerStatus:
        assert self.status is not None  # it has workers
        return self.status.workers[worker]


def difference(before: Status, now: Status) -> tuple[str, str, str] | None:
    """What another life of a server does not serve as the last one did: its name, then, now."""
    pairs = {
        "the generator": (before.generator, now.generator),
        "the digest of its arguments": (before.arguments, now.arguments),
        "the element spec": (before.spec, now.spec),
        "the sharding": (before.sharding, now.sharding),
        "the number of workers": (len(before.workers), len(now.workers)),
        "the number of replayed elements": (before.replay, now.replay),
        "the cardinality": (before.cardinality, now.cardinality),
    }
    differing = (name for name, (then, new) in pairs.items() if then != new)
    name = next(differing, None)
    return None if name is None else (name, str(pairs[name][0]), str(pairs[name][1]))


def _table(workers: Sequence[WorkerStatus], silent: Mapping[int, float]) -> str:
    """Every worker's state, as the last status has it, and for how long it was silent."""
    lines = []
    for worker in workers:
        seconds = silent.get(worker.index)
        heard = "not in use" if seconds is None else f"heard {seconds:.0f} s ago"
        cause = f", {worker.cause}" if worker.cause else ""
        lines.append(f"  worker {worker.index}: {worker.state}, life {worker.life}, {heard}{cause}")
    return "\n".join(lines)
