"""The command line: calls, prints; parser.py says what it takes.

Exit codes are in protocol/exit_codes.py. Errors that a user can make end in one sentence on
standard error.
What a command needs is imported when it runs: workers are started before zmq and numpy are loaded.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import re
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from genserver.protocol.child.inherited import taken
from genserver.protocol.endpoint import Endpoint
from genserver.protocol.errors import GenserverError
from genserver.protocol.exit_codes import ExitCode, code_of
from genserver.protocol.transport.platform import can_serve

from .announce import start_up_lines
from .config import (
    ConfigError,
    ServeConfig,
    make_config,
    parse_arguments,
    parse_items,
)
from .parser import make_parser

if TYPE_CHECKING:
    from genserver.protocol.messages import Status

    from .web import Web

__all__ = ["main"]

#: What a reader of our output gets at the end, in seconds, to take the last lines.
PRINT_SECONDS = 1.0


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    _fill_standard_descriptors()
    _warn_of_namesake()
    try:
        code = _run(_parse(arguments))
    except ConfigError as error:
        code = _fail(str(error), error.code)
    except GenserverError as error:
        code = _fail(str(error), code_of(error))
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output (head, less) has seen enough; keep the exit quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    sys.exit(code)


def _fill_standard_descriptors() -> None:
    """Where 0, 1 or 2 is closed (``>&-``), a pipe of ours would get its number and our text."""
    while True:
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor > 2:
            os.close(descriptor)
            return


def _warn_of_namesake() -> None:
    """The package index has an unrelated project that is called as our packages are."""
    if any(map(_has_namesake, sys.path)):
        _fail(
            "the unrelated package 'genserver' is installed beside 'genserver-data' and may hide "
            "it: pip uninstall genserver",
            ExitCode.OK,
        )


def _has_namesake(folder: str) -> bool:
    """By the name of its metadata, as importlib.metadata finds it, which takes 30 ms to import."""
    try:
        names = os.listdir(folder or os.curdir)
    except OSError:  # an archive, or nothing
        return False
    return any(
        n.startswith("genserver-") and n.endswith((".dist-info", ".egg-info")) for n in names
    )


def _fail(text: str, code: ExitCode) -> ExitCode:
    print(f"genserver: {text}", file=sys.stderr)
    return code


def _run(options: argparse.Namespace) -> ExitCode:
    chosen: ExitCode = options.run(options)
    return chosen


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    """What a command does not know is said with that command's usage."""
    parser = make_parser(_serve, _probe, _top, _keygen, _peek, _bench)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        # Other servers have a --port; its number may have been taken for the target.
        given = " ".join(sys.argv[1:] if arguments is None else arguments)
        port = re.search(r"(?:^| )(?:--port|-p)[= ](\d+)(?: |$)", given)
        way = "--bind " if options.run is _serve else ""
        hint = f"; say {way}tcp://127.0.0.1:{port[1]}" if port else ""
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return options


def _serve(options: argparse.Namespace) -> ExitCode:
    if not can_serve():
        raise ConfigError(
            "generators are served on Linux and macOS; a trainer on this system can use them from "
            "there: from_server('tcp://HOST:PORT')"
        )
    _find_modules_here()
    inherited = {} if options.arguments_fd is None else taken(options.arguments_fd)
    items = None if options.items is None else parse_items(options.items)
    if options.items_fd is not None:
        items = taken(options.items_fd)["items"]
    config = make_config(
        options.target,
        bind=options.bind,
        workers=options.workers,
        arguments=parse_arguments(options.arg) | inherited,
        items=items,
        concurrency=options.concurrency,
        sharding=options.sharding,
        seed=options.seed,
        spec=options.spec,
        length=options.length,
        insecure_network=options.insecure_network,
        keys=options.keys,
        function=options.function_fd,
        stage=options.stage,
        recovery=options.recovery,
        max_rerun=options.max_rerun,
        max_restarts=options.max_restarts,
        item_timeout=options.item_timeout,
        max_items=options.max_items,
        replay=options.replay,
        reload=_watched(options),
        http=options.http,
    )
    if config.workers == 0:
        return _serve_in_process(options, config)
    return _serve_in_workers(options, config)


def _find_modules_here() -> None:
    """The user's, as `python -m` has it."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())


def _watched(options: argparse.Namespace) -> tuple[str, ...] | None:
    """The folders whose changes reload the code, if any do."""
    if not options.reload:
        if options.reload_dir:
            raise ConfigError("--reload-dir is for --reload: give both", ExitCode.USAGE)
        return None
    from .watched import watched_folders
    from .watcher import check_installed

    check_installed()
    return watched_folders(options.target, options.reload_dir)


def _web(config: ServeConfig) -> Web | None:
    """What tells the figures over HTTP; it has its port before any worker is started."""
    if config.http is None:
        return None
    from .web import Web, check_installed

    check_installed()
    return Web(config.http, insecure_network=config.insecure_network)


def _serve_in_workers(options: argparse.Namespace, config: ServeConfig) -> ExitCode:
    from .launcher import Launcher

    web = _web(config)
    with web or contextlib.nullcontext(), Launcher(config) as launcher:
        # A name may turn out to be of another host, which is refused: then nothing is started.
        if config.endpoint.on_this_host or config.insecure_network or config.keys is not None:
            launcher.start_first()
        if web is not None:
            web.start()
        config = launcher.placed(config)
        from .printer import Printer
        from .supervisor import Supervisor

        printer = Printer()
        supervisor = Supervisor(
            config, launcher, announce=_announcer(options, printer.say, config.reload, web),
            printer=printer,
            stop_at_eof=options.stop_at_eof,
            board=None if web is None else web.board,
        )  # fmt: skip
        try:
            return supervisor.run()
        finally:
            printer.close(PRINT_SECONDS)


def _announcer(
    options: argparse.Namespace,
    say: Callable[[str], None],
    watched: tuple[str, ...] | None = None,
    web: Web | None = None,
) -> Callable[[Endpoint, Status], None]:
    def announce(endpoint: Endpoint, status: Status) -> None:
        if web is not None:
            web.board.show(status)  # whoever is told that it is ready may ask at once
        if not options.quiet:
            say(start_up_lines(endpoint, status, watched, "" if web is None else web.url))
        if options.ready_fd is not None:
            os.write(options.ready_fd, f"{endpoint}\n".encode())

    return announce


def _serve_in_process(options: argparse.Namespace, config: ServeConfig) -> ExitCode:
    """The terminal belongs to the debugger; a signal leaves the generator at once."""
    from .in_process import InProcess
    from .runner import StopRequested

    if options.stop_at_eof:
        text = "--stop-at-eof reads the standard input that --workers 0 leaves to the debugger"
        raise ConfigError(text, ExitCode.USAGE)
    code = ExitCode.OK

    def leave(number: int, _frame: FrameType | None) -> None:
        nonlocal code
        code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.OK
        server.stop()
        raise StopRequested

    server = InProcess(config, announce=_announcer(options, functools.partial(print, flush=True)))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
    server.run()
    return code


def _probe(options: argparse.Namespace) -> ExitCode:
    from .probe import probe

    answer, ready = probe(
        options.endpoint,
        seconds=options.timeout,
        keys=options.keys,
        insecure_network=options.insecure_network,
        as_json=options.json,
    )
    print(answer)
    return ExitCode.OK if ready else ExitCode.UNAVAILABLE


def _top(options: argparse.Namespace) -> ExitCode:
    from .top import top

    return top(
        options.endpoint,
        keys=options.keys,
        insecure_network=options.insecure_network,
        interval=options.interval,
        once=options.once,
    )


def _peek(options: argparse.Namespace) -> NoReturn:
    from .trainer_side import become

    names = (
        "endpoint", "save", "elements", "epoch", "timeout", "json", "keys", "insecure_network",
    )  # fmt: skip
    become("peek", {name: getattr(options, name) for name in names})


def _keygen(options: argparse.Namespace) -> ExitCode:
    from genserver.protocol.transport.key_files import make_keys

    made = make_keys(options.folder, options.name)
    print("made", *made, sep="\n  ")
    server, trainer = (os.path.join(options.folder, name) for name in ("server", options.name))
    print(f"the server's host needs {server}:  genserver serve ... --keys {server}")
    print(f"the trainer's needs {trainer}:  from_server(..., keys={trainer!r})")
    return ExitCode.OK


def _bench(options: argparse.Namespace) -> ExitCode:
    if not can_serve():
        raise ConfigError("generators are served on Linux and macOS, and bench serves one")
    _find_modules_here()
    from .bench import Asked, bench

    return bench(
        Asked(
            target=options.target,
            arguments=parse_arguments(options.arg),
            items=None if options.items is None else parse_items(options.items),
            workers=options.workers,
            sharding=options.sharding,
            spec=options.spec,
            seconds=options.seconds,
            step=options.step,
            batch=options.batch,
            as_json=options.json,
        )
    )
