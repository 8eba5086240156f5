"""``--workers 0``: the generator runs in this process, for `breakpoint()`, coverage and profilers.

Everything else is as it always is: the same decisions (fleet.py), runner, codec, sockets and
random states, which are put back after each element because the process is not ours alone.
Owns its two sockets and their folder; the process's one I/O thread serves them. The generator runs
on the thread that calls `run`.
"""

from __future__ import annotations

import functools
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from genserver.protocol.endpoint import Endpoint
from genserver.protocol.errors import GenserverError
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.messages import Status
from genserver.protocol.spec import ElementSpec
from genserver.protocol.transport.control import ControlEnd
from genserver.protocol.transport.guard import Guard
from genserver.protocol.transport.platform import has_ipc, host_id, memory_size
from genserver.protocol.transport.process import acquire_loop, release_loop
from genserver.protocol.transport.safety import check_safe
from genserver.protocol.transport.serving import DataEnd, make_data_end
from genserver.protocol.transport.sockets import Router

from .actions import Abort, Action, Publish, Ready, Tell
from .answers import loaded, searched
from .config import ConfigError, ServeConfig
from .fleet import Fleet
from .private_folder import PrivateFolder
from .progress_page import ProgressPage
from .replay import replaying, room_for
from .reports import Bound, Report, Search, UseSpec
from .run import Rules
from .runner import Runner, StopRequested
from .source import load_source

__all__ = ["InProcess"]

#: Seconds that a call on the I/O thread may take; it blocks on nothing.
CALL_SECONDS = 10.0


class InProcess:
    """One server with one worker in this process. `stop` from any thread ends `run`."""

    def __init__(
        self, config: ServeConfig, *, announce: Callable[[Endpoint, Status], None]
    ) -> None:
        """``announce`` is called on the thread of `run` once everything serves."""
        self._config = replace(config, workers=1)
        self._announce = announce
        self._fleet = Fleet(self._config, 1, host_id())
        self._endpoint = config.endpoint
        self._loop = acquire_loop()
        self._guard = Guard(self._loop, config.keys)
        self._folder = PrivateFolder() if has_ipc() else None
        self._control: ControlEnd | None = None
        self._data: DataEnd | None = None
        self._runner: Runner | None = None
        self._stopped = threading.Event()

    def run(self) -> ExitCode:
        """Serve until `stop`. Raises `EndpointError`, and `ConfigError` with its exit code."""
        try:
            check_safe(
                self._endpoint, keys=self._config.keys is not None,
                insecure_network=self._config.insecure_network,
            )  # fmt: skip
            self._on_loop(self._bind)
            self._serve()
        except StopRequested:
            return ExitCode.OK
        finally:
            self._stopped.set()
            self._on_loop(self._close)
            release_loop()
            if self._folder is not None:
                self._folder.remove()
        return ExitCode.OK

    def stop(self) -> None:
        """Have `run` return after the element that is being made. Any thread; idempotent."""
        self._stopped.set()
        if self._data is not None:
            self._data.exchange.stop()

    def _serve(self) -> None:
        assert self._data is not None  # _bind made it
        config = self._config
        source = load_source(
            config.target, config.arguments, items=config.items, concurrency=config.concurrency
        )
        if config.replay is not None:
            room = room_for(1, memory=memory_size(), cores=1)
            source = replaying(
                source, config.replay, target=config.target, length=config.length, room=room
            )
        rules = Rules(
            divided=config.sharding != "off", recovery=config.recovery, max_rerun=config.max_rerun
        )
        self._runner = Runner(source, self._data.exchange, rules, ProgressPage(), guest=True)
        self._report(loaded(source))
        if not self._stopped.is_set():
            self._runner.run()

    def _report(self, report: Report) -> None:
        self._execute(self._fleet.report(0, report, time.monotonic()))

    def _execute(self, actions: list[Action]) -> None:
        """Carry out what the fleet decides; it knows of worker 0 alone."""
        assert self._control is not None  # _bind made it
        for action in actions:
            if isinstance(action, Tell) and isinstance(action.command, Search):
                assert self._runner is not None  # the module is loaded before it is searched
                self._report(searched(self._runner, action.command, self._config.target))
            elif isinstance(action, Tell) and isinstance(action.command, UseSpec):
                self._use(ElementSpec.from_wire(action.command.spec))
            elif isinstance(action, Publish):
                self._on_loop(self._control.publish)
            elif isinstance(action, Ready) and not self._stopped.is_set():
                self._announce(self._endpoint, self._fleet.status())
            elif isinstance(action, Abort):
                raise ConfigError(action.text, action.code)

    def _use(self, spec: ElementSpec) -> None:
        assert self._runner is not None  # the module is loaded before its spec is known
        assert self._data is not None  # _bind made it
        self._runner.use_spec(spec)
        self._on_loop(functools.partial(self._data.serve, spec))

    # On the I/O thread.

    def _bind(self) -> None:
        control, data = Router(), Router()
        try:
            self._endpoint = self._guard.bind(control, self._endpoint)
            ipc, port = "", 0
            if self._folder is not None:
                ipc = os.path.join(self._folder.path, "0.sock")
                data.bind(Endpoint("ipc", path=ipc))
            tcp = self._config.worker_endpoint(self._endpoint, 0)
            if tcp is not None:
                port = self._guard.bind(data, tcp).port
        except GenserverError:
            control.close()
            data.close()
            self._guard.close()
            raise
        self._control = ControlEnd(self._loop, control, secrets.randbits(64), self._fleet.status)
        self._data = make_data_end(self._loop, data, ipc)
        self._fleet.start()
        self._fleet.spawned(0, os.getpid())
        self._fleet.report(0, Bound(ipc, port), time.monotonic())

    def _close(self) -> None:
        if self._control is None or self._data is None:
            return
        if not self._fleet.stopping:
            self._fleet.stop()
        # The server's goodbye comes first: it explains why a worker cannot be reached.
        self._control.leave("the server stopped")
        self._data.leave("the server stopped")
        self._data.close()
        self._control.close()
        self._guard.close()

    def _on_loop(self, function: Callable[[], None]) -> None:
        """Call on the I/O thread and wait; raises what it raises."""
        done = threading.Event()
        failures: list[Exception] = []

        def call() -> None:
            try:
                function()
            except Exception as error:  # noqa: BLE001  # it is the caller's, and raised there
                failures.append(error)
            finally:
                done.set()

        self._loop.call(call)
        deadline = time.monotonic() + CALL_SECONDS
        while not done.wait(0.5):
            if time.monotonic() > deadline:
                raise ConfigError("the I/O thread does not answer", ExitCode.WORKER_DIED)
        for error in failures:
            raise error
