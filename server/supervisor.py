"""The shell of the supervisor: executes what `Fleet` decides. Runs no user code.

Owns the worker processes, which it takes from its launcher, and the control socket. One thread;
signal handlers only record. Leaves nothing behind: processes go before the sockets, and last, in
launcher.py, the folder that they bind in.
"""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from genserver.protocol.endpoint import Endpoint
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.messages import Status
from genserver.protocol.telemetry import Snapshot, TrainerTotals
from genserver.protocol.transport.control import ControlEnd
from genserver.protocol.transport.guard import Guard
from genserver.protocol.transport.loop import Loop
from genserver.protocol.transport.platform import (
    host_id,
    raise_descriptor_limit,
    reap_strangers,
    usable_cores,
)
from genserver.protocol.transport.safety import check_safe
from genserver.protocol.transport.sockets import Router, close_context

from .actions import (
    Abort,
    Action,
    Begin,
    DumpStacks,
    Forget,
    Kill,
    Publish,
    Ready,
    Say,
    Spawn,
    StartOver,
    Tell,
    Terminate,
)
from .config import ConfigError, ServeConfig
from .fleet import Fleet
from .launcher import KILL_SECONDS, SIGNALS, Launcher
from .lives import Death
from .printer import OutputReader, Printer
from .reports import Start, Stop, parse_report
from .spawn import WorkerProcess, describe_exit
from .stalls import tick_for
from .vitals import Vitals

if TYPE_CHECKING:
    from .board import Board
    from .reloading import Reloading
    from .upstream import UpstreamServer
    from .watcher import Watcher

__all__ = ["Supervisor"]

# Seconds until the next step of the ladder, by why the server stops (design 8).
#: SIGTERM: the element may be finished ...
DRAIN_SECONDS = 6.0
#: SIGINT: a generator between two short elements is closed in an orderly way ...
LEAVE_SECONDS = 0.3
#: ... then SIGTERM makes it leave its element; its finally blocks run ...
TERM_SECONDS = 1.0  # ... then SIGKILL

#: Between two looks at the workers' progress; a short time limit of elements wants more of them.
TICK_SECONDS, SHORTEST_TICK = 0.5, 0.05

_STDIN = 0


class Supervisor:
    """One server. `run` belongs to the main thread of its process."""

    def __init__(
        self,
        config: ServeConfig,
        launcher: Launcher,
        *,
        announce: Callable[[Endpoint, Status], None],
        printer: Printer,
        stop_at_eof: bool = False,
        board: Board | None = None,
    ) -> None:
        """``announce`` is called once everything serves, with the real endpoint; ``printer`` shows
        what workers print, ``board`` is kept up to date. ``stop_at_eof`` stops the server when its
        standard input ends."""
        self._config = config
        self._launcher = launcher
        self._announce = announce
        self._printer = printer
        self._stop_at_eof = stop_at_eof
        self._board = board
        self._readers: dict[int, tuple[OutputReader, ...]] = {}
        self._fleet: Fleet | Reloading = _make_fleet(config)
        self._watcher: Watcher | None = None
        self._processes: dict[int, WorkerProcess] = {}
        self._loop = Loop()
        self._loop.tick_every = tick_for(config.item_timeout, SHORTEST_TICK, TICK_SECONDS)
        self._endpoint = config.endpoint
        self._guard = Guard(self._loop, config.keys)
        self._control: ControlEnd | None = None
        self._upstream: UpstreamServer | None = None
        self._vitals = Vitals()
        self._exit = ExitCode.OK
        self._failure = ""
        self._ladder: list[tuple[float, Callable[[], None]]] = []

    def run(self) -> ExitCode:
        """Serve until a signal or a failure; returns the exit code.

        Raises `EndpointError` when the endpoint is refused or in use, `ConfigError` with its code
        and sentence for whatever else ended the server.
        """
        config = self._config
        raise_descriptor_limit()
        check_safe(
            config.endpoint, keys=config.keys is not None, insecure_network=config.insecure_network
        )
        router = Router()
        try:
            self._endpoint = self._guard.bind(router, config.endpoint)
            control = self._control = ControlEnd(
                self._loop, router, _incarnation(), self._fleet.status, self._measure
            )
            if self._board is not None:
                self._board.watch(self._fleet.status, lambda: self._measure(control.trainers))
                self._loop.every_tick(self._board.tick)
            self._serve()
        finally:
            self._clean_up(router)
        if self._failure:
            raise ConfigError(self._failure, self._exit)
        return self._exit

    def _serve(self) -> None:
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._loop.wake_fd, warn_on_full_buffer=False)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._loop.on_signal = self._on_signal
        self._loop.every_tick(self._tick)
        if self._stop_at_eof:
            self._loop.add(_STDIN, self._read_stdin)
        try:
            if self._config.reload is None:
                self._execute(self._fleet.start())
            else:
                self._watch(self._config.reload)
            self._loop.run()
        finally:
            # The end is under way: a second Ctrl-C must not stop the clean-up half-way.
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)

    def _execute(self, actions: list[Action]) -> None:
        stillborn: dict[int, Death] = {}
        for action in actions:
            if isinstance(action, Spawn):
                try:
                    self._spawn(action)
                except OSError as error:  # no memory, descriptors or processes left: perhaps later
                    stillborn[action.index] = Death(f"its process cannot be started: {error}")
            elif isinstance(action, Tell):
                if action.index not in stillborn:
                    self._processes[action.index].tell(action.command)
            elif isinstance(action, Begin):
                self._begin(action)
            elif isinstance(action, Publish):
                assert self._control is not None  # made before the first action
                self._control.publish()
            elif isinstance(action, Ready):
                self._announce(self._endpoint, self._fleet.status())
            elif isinstance(action, DumpStacks):
                self._processes[action.index].dump_stacks()
            elif isinstance(action, Kill):
                self._processes[action.index].signal_group(signal.SIGKILL)
            elif isinstance(action, Terminate):
                self._processes[action.index].signal_group(signal.SIGTERM)
            elif isinstance(action, Forget):
                from .watched import forget_compiled  # most servers keep their code

                forget_compiled(action.paths)
            elif isinstance(action, StartOver):
                assert self._control is not None  # made before the first action
                self._control.start_over(_incarnation(), action.reason)
            elif isinstance(action, Say):
                self._printer.say(f"genserver: {action.text}", error=True)
            elif isinstance(action, Abort):
                self._failure, self._exit = action.text, action.code
                self._stop("failed: " + action.text.partition("\n")[0], drain=False)
        for index, death in stillborn.items():
            self._execute(self._fleet.exited(index, death, time.monotonic(), _chance()))

    def _begin(self, action: Begin) -> None:
        from .upstream import UpstreamServer  # most servers have one stage

        def ready(endpoint: str) -> None:
            self._loop.call(lambda: self._execute(self._fleet.began(endpoint, time.monotonic())))

        def failed(code: ExitCode, text: str) -> None:
            self._loop.call(lambda: self._execute(self._fleet.upstream_failed(code, text)))

        self._upstream = UpstreamServer(self._config, action.options, ready=ready, failed=failed)

    def _watch(self, folders: tuple[str, ...]) -> None:
        """Start the workers once the code that they read is watched."""
        from .reloading import Reloading
        from .watcher import Watcher

        fleet = self._fleet
        assert isinstance(fleet, Reloading)  # as `_make_fleet` has it

        def reload(paths: set[str]) -> None:
            self._execute(fleet.changed(paths, time.monotonic()))
            self._loop.hurry(fleet.due)

        self._watcher = Watcher(
            folders,
            begun=lambda: self._loop.call(lambda: self._execute(fleet.start())),
            changed=lambda paths: self._loop.call(lambda: reload(paths)),
            failed=lambda text: self._loop.call(
                lambda: self._execute([Abort(ExitCode.CONFIG, text)])
            ),
        )

    def _spawn(self, spawn: Spawn) -> None:
        index = spawn.index
        process = self._processes[index] = self._launcher.take(spawn)
        process.tell(Start())
        self._fleet.spawned(index, process.pid)
        self._loop.add(process.fd, lambda: self._read_reports(index))
        name = (
            f"stage {self._config.stage} worker {index}"
            if self._config.stage
            else f"worker {index}"
        )
        self._readers[index] = (
            OutputReader(process.output, name, self._printer, error=False),
            OutputReader(process.errors, name, self._printer, error=True),
        )
        for reader in self._readers[index]:
            self._loop.add(reader.fd, functools.partial(self._read_output, reader))

    def _read_output(self, reader: OutputReader) -> bool:
        if not reader.read():
            self._loop.remove(reader.fd)
        return False

    def _read_stdin(self) -> bool:
        if not os.read(_STDIN, 4096):
            self._loop.remove(_STDIN)
            self._stop("the program that started it is gone", drain=False)
        return False

    def _read_reports(self, index: int) -> bool:
        process = self._processes[index]
        for line in process.reader.lines():
            self._execute(self._fleet.report(index, parse_report(line), time.monotonic()))
        if process.reader.ended:
            self._loop.remove(process.fd)
        return False

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif self._fleet.stopping or number == signal.SIGINT:
            if not self._failure:
                interrupted = number == signal.SIGINT
                self._exit = ExitCode.INTERRUPTED if interrupted else ExitCode.TERMINATED
            self._stop(f"stopped by {signal.Signals(number).name}", drain=False)
        else:
            # Whose code is being replaced makes nothing that is wanted.
            drain = self._config.reload is None or self._fleet.ready
            self._stop("stopped by SIGTERM", drain=drain)

    def _reap(self) -> None:
        for index, process in list(self._processes.items()):
            code = process.exit_code()
            if code is None:
                continue
            self._read_reports(index)  # what it said last explains its end
            process.signal_group(signal.SIGKILL)  # its own children end with it
            self._loop.remove(process.fd)
            for reader in self._readers.pop(index):
                reader.finish()
                self._loop.remove(reader.fd)
            process.close()
            del self._processes[index]
            making = self._launcher.pages[index].settle()
            death = Death(describe_exit(code), making, code)
            self._execute(self._fleet.exited(index, death, time.monotonic(), _chance()))
        self._look_upstream()
        if self._fleet.stopping and not self._processes:
            self._loop.stop()
        self._loop.hurry(self._fleet.due)

    def _look_upstream(self) -> None:
        ours = [process.pid for process in self._processes.values()]
        if self._upstream is not None:
            code = self._upstream.exit_code()
            if code is not None:
                text = describe_exit(code)
                self._execute(self._fleet.upstream_failed(ExitCode.WORKER_DIED, text))
            if self._upstream.pid is None:
                return  # it is being started: nobody knows whose children are whose
            ours.append(self._upstream.pid)
        reap_strangers(ours)

    def _stop(self, reason: str, *, drain: bool) -> None:
        """Say goodbye and climb the ladder: finish, TERM, KILL."""
        assert self._control is not None  # made before the first action
        self._fleet.stop()
        self._control.publish()
        # Nobody starts a failed server again without looking, nor that of a program that is done.
        returns = not (self._failure or self._stop_at_eof)
        self._control.leave(reason, returns=returns)
        now = time.monotonic()
        term = now + (DRAIN_SECONDS if drain else LEAVE_SECONDS)
        kill = term + TERM_SECONDS
        self._ladder = [
            (term, lambda: self._signal_all(signal.SIGTERM)),
            (kill, lambda: self._signal_all(signal.SIGKILL)),
            (kill + KILL_SECONDS, self._loop.stop),
        ]
        for process in self._processes.values():
            process.tell(Stop(reason, returns))
        self._loop.hurry(term)
        if self._upstream is not None and not drain:
            self._upstream.interrupt()
        if not self._processes:
            self._loop.stop()

    def _tick(self, now: float) -> None:
        self._reap()  # a SIGCHLD may have been merged with another
        pages = self._launcher.pages
        self._execute(self._fleet.tick(now, {i: pages[i].read() for i in self._processes}))
        for readers in self._readers.values():
            for reader in readers:
                reader.tick(now)
        while self._ladder and self._ladder[0][0] <= now:
            self._ladder.pop(0)[1]()
        self._loop.hurry(self._ladder[0][0] if self._ladder else self._fleet.due)

    def _measure(self, trainers: Iterable[TrainerTotals]) -> Snapshot:
        return self._vitals.snapshot(self._fleet.status(), self._launcher.pages, trainers)

    def _signal_all(self, number: signal.Signals) -> None:
        if number is signal.SIGKILL and self._processes and self._exit is ExitCode.OK:
            self._exit = ExitCode.TERMINATED
        for process in self._processes.values():
            process.signal_group(number)

    def _clean_up(self, router: Router) -> None:
        for process in self._processes.values():
            process.signal_group(signal.SIGKILL)
        if self._watcher is not None:
            self._watcher.stop()
        if self._upstream is not None:
            self._upstream.stop()
        if self._control is not None:
            self._control.close()
        else:
            router.close()
        self._guard.close()
        self._loop.close()
        close_context()


def _make_fleet(config: ServeConfig) -> Fleet | Reloading:
    if config.reload is None:
        return Fleet(config, usable_cores(), host_id())
    from .reloading import Reloading  # most servers keep their code

    return Reloading(config, usable_cores(), host_id(), os.getcwd())


def _incarnation() -> int:
    """64 random bits, as `secrets` would draw them, which imports a library of hashes first."""
    return int.from_bytes(os.urandom(8), "big")


def _chance() -> float:
    """A random number from 0 to 1; see `_incarnation`."""
    return int.from_bytes(os.urandom(4), "big") / 2**32
