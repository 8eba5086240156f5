"""The worker process: entry point, and the wiring of its two threads.

The main thread runs the user's generators; the I/O thread owns the data socket. Imports no
TensorFlow, and says what it costs when the user's module does. It ends when the supervisor does.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import select
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

from genserver.protocol.child.inherited import taken
from genserver.protocol.endpoint import Endpoint, parse_endpoint
from genserver.protocol.errors import EndpointError, NotGuarded
from genserver.protocol.exit_codes import ExitCode, code_of
from genserver.protocol.keys import ServerKeys
from genserver.protocol.messages import GoAway
from genserver.protocol.spec import ElementSpec
from genserver.protocol.transport.guard import Guard
from genserver.protocol.transport.loop import Loop
from genserver.protocol.transport.platform import (
    die_with_parent,
    memory_size,
    raise_descriptor_limit,
    usable_cores,
)
from genserver.protocol.transport.process import end_loop
from genserver.protocol.transport.serving import make_data_end
from genserver.protocol.transport.sockets import Router, close_context

from .answers import loaded, searched
from .config import ConfigError
from .lives import STABLE
from .progress_page import ProgressPage
from .reports import (
    Bound,
    Command,
    Failed,
    Leaving,
    LineReader,
    Search,
    Start,
    Stop,
    UseSpec,
    parse_command,
    write_line,
)
from .run import Rules
from .runner import Runner, StopRequested
from .source import load_source
from .spawn import STACKS_SIGNAL
from .stalls import tick_for

__all__ = ["main"]

logger = logging.getLogger("genserver")

#: Seconds that the I/O thread gets to say goodbye.
GOODBYE_SECONDS = 1.0
#: Bounds a wait for the supervisor, in seconds.
TURN_SECONDS = 0.5
#: Between two ticks, where the time limit of elements is short.
SHORTEST_TICK = 0.02
#: How long (seconds) a generator in pure Python may keep the I/O thread from the interpreter. The
#: default of 5 ms is paid at each of the five or so hand-overs of a message: elements of 50 ms
#: reached 0.81 of the bare loops with it and 0.93 with this (benchmarks/limits.py).
SWITCH_INTERVAL = 0.001


def main(given: int, down: int, up: int, page: int) -> None:
    """Serve until told to stop; never returns normally with work left."""
    _prepare_output()
    sys.setswitchinterval(SWITCH_INTERVAL)
    config = taken(given)
    if not die_with_parent(config["parent"]):
        sys.exit(ExitCode.OK)
    process = _Process(config, down, up, ProgressPage.inherited(page))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor's business
    signal.signal(signal.SIGTERM, process.on_sigterm)
    sys.exit(process.run())


def _prepare_output() -> None:
    """Show our own lines, the stacks of a crash in native code, and why a breakpoint fails.

    The root logger is the user's: their `logging.basicConfig` must not find it taken.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("genserver: %(message)s"))
    logger.addHandler(handler)
    logger.propagate = False
    faulthandler.enable()
    faulthandler.register(STACKS_SIGNAL)
    if "PYTHONBREAKPOINT" not in os.environ:  # a remote debugger, perhaps
        sys.breakpointhook = _no_terminal


def _no_terminal(*_args: object, **_options: object) -> None:
    raise RuntimeError(
        "breakpoint() needs a terminal, and a worker process has none: serve the generator with "
        "--workers 0, which runs it in the server's own process"
    )


class _Process:
    def __init__(self, config: dict[str, Any], down: int, up: int, page: ProgressPage) -> None:
        self._config = config
        self._up = up
        self._index: int = config["index"]
        self._loop = Loop()
        # The page must show that elements are being made before the supervisor judges.
        longest = self._loop.tick_every
        self._loop.tick_every = tick_for(config["item_timeout"], SHORTEST_TICK, longest)
        self._router = Router()
        keys = config["keys"]
        self._guard = Guard(self._loop, None if keys is None else ServerKeys.from_wire(keys))
        self._data = make_data_end(self._loop, self._router, config["ipc"])
        self._down = down
        self._commands = LineReader(down)
        self._started = False
        self._loop.add(down, self._read_commands)
        self._thread = threading.Thread(target=self._do_io, name="genserver-io", daemon=True)
        self._runner: Runner | None = None
        self._page = page
        self._loop.every_tick(page.refine)
        self._loop.every_tick(self._measure)
        #: What of it the page knows.
        self._told = 0
        self._stopping = False
        #: What trainers are told as the worker leaves: whether to wait for another life. What the
        #: server said of its end comes first, and the I/O thread may be told of that at any time.
        self._goodbye = GoAway("the worker ended", returns=True)
        self._last_word: GoAway | None = None

    def run(self) -> ExitCode:
        """Bind, load, serve; the exit code."""
        try:
            self._bind()
            if not self._await_start():
                return ExitCode.OK
            self._thread.start()
            self._load()
            assert self._runner is not None  # _load made it
            self._runner.run()
            if self._runner.worn:
                self._goodbye = GoAway(
                    f"it made its {self._config['max_items']} elements", returns=True
                )
                write_line(self._up, Leaving())
        except (EndpointError, NotGuarded, ConfigError) as error:
            code = error.code if isinstance(error, ConfigError) else code_of(error)
            write_line(self._up, Failed(int(code), str(error)))
            return code
        except StopRequested:
            return ExitCode.OK
        finally:
            self._end()
        return ExitCode.OK

    def on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        """Leave the user's code at once; its finally blocks run."""
        if not self._stopping:
            self._stopping = True
            self._data.exchange.stop()
            raise StopRequested

    def _bind(self) -> None:
        raise_descriptor_limit()
        ipc, port = self._config["ipc"], 0
        if ipc:
            self._router.bind(Endpoint("ipc", path=ipc))
        if self._config["tcp"]:
            port = self._guard.bind(self._router, parse_endpoint(self._config["tcp"])).port
        write_line(self._up, Bound(ipc, port))

    def _await_start(self) -> bool:
        """Whether the server got its endpoint: if it did not, no code of the user's runs."""
        while not (self._started or self._data.exchange.stopping):
            select.select([self._down], [], [], TURN_SECONDS)
            self._read_commands()
        return self._started

    def _load(self) -> None:
        target, function = self._config["target"], self._config["function"]
        if function is None:
            source = load_source(
                target, self._config["arguments"], self._config["stage"],
                items=self._config["items"], concurrency=self._config["concurrency"],
            )  # fmt: skip
        else:
            from .sent import load_sent  # most servers are sent nothing

            source = load_sent(function, target, self._config["stage"])
        if self._config["replay"] is not None:
            from .replay import replaying, room_for  # most servers replay nothing

            room = room_for(self._config["workers"], memory=memory_size(), cores=usable_cores())
            source = replaying(
                source, self._config["replay"], target=target, length=self._config["length"],
                room=room,
            )  # fmt: skip
        if "tensorflow" in sys.modules and self._index == 0:
            logger.warning(
                "%s imports TensorFlow: every worker pays its start-up and about 0.5 GB of memory",
                target,
            )
        self._runner = Runner(source, self._data.exchange, self._rules(), self._page)
        write_line(self._up, loaded(source))

    def _rules(self) -> Rules:
        config = self._config
        exact_until = time.monotonic_ns() + int(STABLE * 1e9) if config["life"] else 0
        return Rules(
            divided=config["sharding"] != "off", recovery=config["recovery"],
            max_rerun=config["max_rerun"], max_items=config["max_items"], exact_until=exact_until,
        )  # fmt: skip

    def _end(self) -> None:
        self._stopping = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the end is under way
        if self._thread.is_alive():
            self._loop.call(self._leave)
            self._loop.stop()
            self._thread.join(GOODBYE_SECONDS)
        if not self._thread.is_alive():
            self._data.close()
            self._guard.close()
            end_loop()  # which pulls from the stage before this one, where there is one
            close_context()

    # On the I/O thread.

    def _do_io(self) -> None:
        try:
            self._loop.run()
        except Exception:
            # A safety net that should never be needed: a worker whose I/O thread is gone would
            # look alive for ever. Dead, it is named.
            logger.exception("the I/O thread failed")
            os._exit(ExitCode.WORKER_DIED)

    def _measure(self, _now: float) -> None:
        sent, meter = self._data.sent, self._page.meter
        meter.sent(sent - self._told)
        self._told = sent
        meter.keeps(*self._data.exchange.level)

    def _leave(self) -> None:
        said = self._last_word or self._goodbye
        self._data.leave(said.reason, returns=said.returns)

    def _read_commands(self) -> bool:
        for line in self._commands.lines():
            self._obey(parse_command(line))
        if self._commands.ended:
            self._die()
        return False

    def _obey(self, command: Command) -> None:
        if isinstance(command, Start):
            self._started = True
        elif isinstance(command, Stop):
            self._last_word = GoAway("the server stopped", command.returns)
            self._data.exchange.stop()
        elif isinstance(command, Search):
            self._data.exchange.command(lambda: self._search(command))
        elif isinstance(command, UseSpec):
            spec = ElementSpec.from_wire(command.spec)
            self._data.exchange.command(lambda: self._use(spec, command.upstream))
            self._data.serve(spec)

    def _die(self) -> None:
        """The supervisor is gone: end at once, and the user's own children with us.

        The kernel does the same to this process on Linux, also when a C call holds the interpreter.
        The next server removes the folder.
        """
        os.killpg(os.getpgrp(), signal.SIGKILL)

    # On the main thread.

    def _use(self, spec: ElementSpec, upstream: str) -> None:
        assert self._runner is not None  # commands wait for the runner
        self._runner.connect(upstream)
        self._runner.use_spec(spec)

    def _search(self, search: Search) -> None:
        assert self._runner is not None  # commands wait for the runner
        self._runner.connect(search.upstream)
        write_line(self._up, searched(self._runner, search, self._config["target"]))
