"""Random faults against a running server, its links and its trainer, from one seed.

Owns a thread while it is at work, and leaves everything healed. What it does is a table; who judges
what became of the elements is the checker. Imports no pytest.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from .processes import eventually
from .proxy import DOWN, UP, Proxy, Toxics
from .server_process import ServerProcess, supports

__all__ = ["FAULTS", "Fault", "Nemesis", "Target", "possible", "resting"]

T = TypeVar("T")


@dataclass(slots=True)
class Target:
    """What may be harmed."""

    server: ServerProcess
    proxy: Proxy
    #: Where the generator looks for orders (hashed.py), or "".
    orders: str = ""
    #: The trainer rests for so many seconds before its next element; `resting` sets this back.
    rest: float = 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault; it takes as long as it lasts, and says what it did."""

    name: str
    do: Callable[[Target, random.Random], str]
    #: The option of ``genserver serve`` that a build must have to survive it, or "".
    needs: str = ""


def _seconds(chance: random.Random, longest: float) -> float:
    """How long: short ones are frequent."""
    return longest * chance.random() ** 3


def _worker(target: Target, chance: random.Random) -> tuple[int, int]:
    """(index, pid) of a worker that lives."""
    found: list[tuple[int, int]] = []

    def look() -> bool:
        found[:] = target.server.worker_pids().items()
        return bool(found)

    if not eventually(look):
        raise RuntimeError("no worker lives")
    return chance.choice(found)


def _stop(pid: int, seconds: float) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        time.sleep(seconds)  # the fault
        os.kill(pid, signal.SIGCONT)


def kill_worker(target: Target, chance: random.Random) -> str:
    index, pid = _worker(target, chance)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return f"worker {index}, pid {pid}"


def stop_worker(target: Target, chance: random.Random) -> str:
    (index, pid), seconds = _worker(target, chance), _seconds(chance, 3.0)
    _stop(pid, seconds)
    return f"worker {index} for {seconds:.2f} s"


def stop_supervisor(target: Target, chance: random.Random) -> str:
    seconds = _seconds(chance, 3.0)
    _stop(target.server.pid, seconds)
    return f"for {seconds:.2f} s"


def hang_worker(target: Target, chance: random.Random) -> str:
    index, pid = _worker(target, chance)
    (Path(target.orders) / f"hang-{pid}").touch()  # at the next element that it makes
    return f"worker {index}, pid {pid}"


def cut(target: Target, chance: random.Random) -> str:
    port = chance.choice([None, *target.proxy.ports])
    return f"{target.proxy.cut(port)} connections to {port or 'all ports'}"


def cut_in_the_middle(target: Target, chance: random.Random) -> str:
    direction, after = chance.choice([UP, DOWN]), chance.randrange(1, 200_000)
    target.proxy.spoil(direction, Toxics(reset_after=after))
    return f"{direction}, after {after} bytes"


def hold(target: Target, chance: random.Random) -> str:
    directions = chance.choice([(UP,), (DOWN,), (UP, DOWN)])
    # One of eight is longer than the 15 s after which a link is given up.
    seconds = chance.uniform(16, 20) if chance.random() < 1 / 8 else _seconds(chance, 3.0)
    target.proxy.hold(*directions)
    time.sleep(seconds)  # the fault
    target.proxy.heal()
    return f"{' and '.join(directions)} for {seconds:.2f} s"


def slow(target: Target, chance: random.Random) -> str:
    toxics = Toxics(
        latency=chance.uniform(0, 0.3), bandwidth=chance.randrange(10**6, 10**8), slice=2**14
    )
    target.proxy.spoil(chance.choice([UP, DOWN]), toxics)
    seconds = _seconds(chance, 3.0)
    time.sleep(seconds)  # the fault
    target.proxy.heal()
    return f"{toxics} for {seconds:.2f} s"


def rest_trainer(target: Target, chance: random.Random) -> str:
    target.rest = _seconds(chance, 3.0)
    return f"for {target.rest:.2f} s"


def stop_trainer(target: Target, chance: random.Random) -> str:
    """The whole process, this thread and the proxy with it."""
    seconds = _seconds(chance, 3.0)
    command = f"kill -STOP {os.getpid()}; sleep {seconds}; kill -CONT {os.getpid()}"
    subprocess.run(["sh", "-c", command], check=True, timeout=60)
    return f"for {seconds:.2f} s"


def kill_server(target: Target, chance: random.Random) -> str:
    target.server.kill()
    seconds = _seconds(chance, 2.0)
    time.sleep(seconds)  # the fault
    target.server.start()
    return f"started again after {seconds:.2f} s"


def restart_server(target: Target, chance: random.Random) -> str:
    code = target.server.stop()
    target.server.start()
    return f"exit code {code}"


_SUPERVISED, _TIMED = "--max-restarts", "--item-timeout"
FAULTS = [
    Fault("cut", cut),
    Fault("cut-in-the-middle", cut_in_the_middle),
    Fault("hold", hold),
    Fault("slow", slow),
    Fault("stop-worker", stop_worker),
    Fault("stop-supervisor", stop_supervisor),
    Fault("rest-trainer", rest_trainer),
    Fault("stop-trainer", stop_trainer),
    Fault("kill-worker", kill_worker, _SUPERVISED),
    Fault("hang-worker", hang_worker, _TIMED),
    Fault("kill-server", kill_server, _SUPERVISED),
    Fault("restart-server", restart_server, _SUPERVISED),
]


def possible(names: Sequence[str] | None = None) -> list[Fault]:
    """The faults of these names, or all, that this build can survive."""
    chosen = [fault for fault in FAULTS if names is None or fault.name in names]
    return [fault for fault in chosen if not fault.needs or supports(fault.needs)]


def resting(elements: Iterable[T], target: Target) -> Iterator[T]:
    """The elements as a trainer takes them that rests where the nemesis asks for it."""
    for element in elements:
        if target.rest:
            seconds, target.rest = target.rest, 0.0
            time.sleep(seconds)  # the fault
        yield element


@dataclass(slots=True)
class _Done:
    at: float
    name: str
    text: str


@dataclass(slots=True)
class Nemesis:
    """At work inside its block: one fault after the other, with random pauses between them."""

    target: Target
    faults: Sequence[Fault]
    seed: int
    #: Mean seconds between the end of one fault and the beginning of the next.
    every: float
    done: list[_Done] = field(default_factory=list)
    #: What ended the thread early; a bug here, or a server that did not come back.
    failure: str = ""
    _end: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def last(self, count: int = 5) -> str:
        """The latest faults, for a report."""
        return "; ".join(f"{d.at:.1f} s {d.name} {d.text}" for d in self.done[-count:])

    def counts(self) -> dict[str, int]:
        """How often each fault happened."""
        names = [done.name for done in self.done]
        return {fault.name: names.count(fault.name) for fault in self.faults}

    def __enter__(self) -> Nemesis:
        self._thread = threading.Thread(target=self._run, name="nemesis")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        assert self._thread is not None
        self._thread.join()

    def _run(self) -> None:
        chance = random.Random(self.seed)
        began = time.monotonic()
        while not self._end.wait(chance.expovariate(1 / self.every)):
            fault = chance.choice(self.faults)
            at = time.monotonic() - began
            try:
                self.done.append(_Done(at, fault.name, fault.do(self.target, chance)))
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                self.failure = f"{at:.1f} s {fault.name}: {error}"
                return
