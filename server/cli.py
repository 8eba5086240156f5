"""The command line: parses, calls, prints.

Exit codes are in exit_codes.py. Errors that a user can make end in one sentence on standard error.
What a command needs is imported when it runs: workers are started before zmq and numpy are loaded.
"""

from __future__ import annotations

import argparse
import functools
import os
import re
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from genserver.protocol.child.inherited import taken
from genserver.protocol.endpoint import DEFAULT_ENDPOINT, Endpoint
from genserver.protocol.errors import GenserverError
from genserver.protocol.transport.platform import can_serve

from .announce import start_up_lines
from .config import (
    RECOVERIES,
    SHARDINGS,
    ConfigError,
    ServeConfig,
    make_config,
    parse_arguments,
)
from .exit_codes import ExitCode
from .lives import DEFAULT_RESTARTS, WINDOW

if TYPE_CHECKING:
    from genserver.protocol.messages import Status

__all__ = ["main"]

#: What a reader of our output gets at the end, in seconds, to take the last lines.
PRINT_SECONDS = 1.0

_EPILOG = """\
examples:
  genserver serve scans:cubes --workers 4 --arg folder=/data/scans
  genserver serve simulator:episodes --sharding off --length infinite
  genserver probe tcp://127.0.0.1:5555

in the trainer:
  from genserver.client import from_server
  dataset = from_server("tcp://127.0.0.1:5555")

exit codes: 0 done or stopped by SIGTERM, 64 usage, 65 the generator failed at its start,
69 nobody listens or the endpoint is in use, 70 a worker died too often, 78 wrong module, generator
or option, 130 Ctrl-C, 143 SIGTERM and a worker had to be killed
"""


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command and exit."""
    _fill_standard_descriptors()
    _warn_of_namesake()
    try:
        code = _run(_parse(arguments))
    except ConfigError as error:
        code = _fail(str(error), error.code)
    except GenserverError as error:
        code = _fail(str(error), ExitCode.UNAVAILABLE)
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
    options, unknown = _parser().parse_known_args(arguments)
    if unknown:
        # Other servers have a --port; its number may have been taken for the target.
        given = " ".join(sys.argv[1:] if arguments is None else arguments)
        port = re.search(r"(?:^| )(?:--port|-p)[= ](\d+)(?: |$)", given)
        way = "--bind " if options.run is _serve else ""
        hint = f"; say {way}tcp://127.0.0.1:{port[1]}" if port else ""
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    return options


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """argparse would exit with 2, which shells use for themselves."""
        self.print_usage(sys.stderr)
        self.exit(ExitCode.USAGE, f"genserver: {message}\n")


class _Version(argparse.Action):
    """Says what is installed, which takes its time to find out."""

    def __call__(
        self, parser: argparse.ArgumentParser, *_args: object, **_options: object
    ) -> NoReturn:
        from importlib.metadata import version

        print(f"genserver {version('genserver-data')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="genserver",
        description="Runs a heavy Python generator in its own processes and feeds a TensorFlow "
        "trainer from it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="show program's version number and exit"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_serve(commands)
    _add_probe(commands)
    return parser


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser(
        "serve",
        help="run a generator in worker processes and serve its elements",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.set_defaults(run=_serve, parser=serve)
    serve.add_argument(
        "target", metavar="MODULE:GENERATOR",
        help="a generator function, also as path/to/FILE.py:GENERATOR; a parameter named 'worker' "
        "gets the worker's part of the job",
    )  # fmt: skip
    serve.add_argument(
        "--workers", type=int, metavar="N",
        help="producer processes; default: usable cores less one where the work can be divided, "
        "else 1; 0 runs the generator in this process, for breakpoint() and coverage",
    )  # fmt: skip
    serve.add_argument(
        "--bind", default=DEFAULT_ENDPOINT, metavar="ENDPOINT",
        help="tcp://HOST:PORT or ipc://PATH (default %(default)s); worker i listens at PORT+1+i; "
        "ipc://* is a file in a private folder",
    )  # fmt: skip
    serve.add_argument(
        "--arg", action="append", default=[], metavar="KEY=VALUE",
        help="an argument of the generator; VALUE is read as JSON if it is, else as text",
    )  # fmt: skip
    serve.add_argument("--arguments-fd", type=int, help=argparse.SUPPRESS)  # of Server, as JSON
    serve.add_argument("--function-fd", type=int, help=argparse.SUPPRESS)  # of from_generator
    serve.add_argument("--stage", type=int, default=0, help=argparse.SUPPRESS)  # of a pipeline
    serve.add_argument(
        "--sharding", choices=SHARDINGS,
        help="static: the generator divides by worker.index and worker.count; "
        "off: every worker runs it whole (default: static where it takes a worker)",
    )  # fmt: skip
    serve.add_argument(
        "--seed", type=int, metavar="S",
        help="what a trainer that names no seed takes for all random states (default: random)",
    )  # fmt: skip
    serve.add_argument(
        "--spec", metavar="SPEC",
        help="the element spec, e.g. '(float32[64,64,1], int64[])'; default: that of the first "
        "element; None stands for a free dimension",
    )  # fmt: skip
    serve.add_argument(
        "--length", metavar="N",
        help="elements of one pass over all workers (of each with --sharding off), or 'infinite'",
    )  # fmt: skip
    serve.add_argument(
        "--insecure-network", action="store_true",
        help="listen beyond this host although anyone who reaches the port can connect",
    )  # fmt: skip
    _add_supervision(serve)
    _add_surroundings(serve)


def _add_supervision(serve: Any) -> None:
    group = serve.add_argument_group("workers that die, hang or leak")
    group.add_argument(
        "--recovery", choices=RECOVERIES,
        help="what becomes of a stream whose worker died: auto, it goes on at the first element "
        "that did not arrive, which the generator seeks (worker.start) or runs up to again; seek, "
        "the same, and a generator that does not seek is refused; stream, it goes on with other "
        "random elements, and what was lost is counted; none, the trainer gets an error "
        "(default auto)",
    )  # fmt: skip
    group.add_argument(
        "--max-rerun", type=float, metavar="SECONDS",
        help="fail a stream whose elements would have to be run again for longer than that",
    )  # fmt: skip
    group.add_argument(
        "--max-restarts", type=int, metavar="N",
        help=f"restarts of one worker within {WINDOW:.0f} s; one death more ends the server "
        f"(default {DEFAULT_RESTARTS})",
    )  # fmt: skip
    group.add_argument(
        "--item-timeout", type=float, metavar="SECONDS",
        help="kill a worker that makes one element for longer than that (default: never)",
    )  # fmt: skip
    group.add_argument(
        "--max-items", type=int, metavar="N",
        help="replace a worker after N elements, for generators that leak (default: never)",
    )  # fmt: skip


def _add_surroundings(serve: Any) -> None:
    serve.add_argument(
        "--ready-fd", type=int, metavar="FD",
        help="write the endpoint and a newline to this descriptor when everything serves",
    )  # fmt: skip
    serve.add_argument(
        "--stop-at-eof", action="store_true",
        help="stop when standard input ends, with the program that holds its other end",
    )  # fmt: skip
    serve.add_argument(
        "--quiet", action="store_true", help="print only what workers print and what goes wrong"
    )


def _add_probe(commands: Any) -> None:
    probe = commands.add_parser(
        "probe", help="say whether a server is up, what it serves and how its workers fare"
    )
    probe.set_defaults(run=_probe, parser=probe)
    probe.add_argument(
        "endpoint", metavar="ENDPOINT", nargs="?", default=DEFAULT_ENDPOINT,
        help="of the server, as its --bind has it (default %(default)s)",
    )  # fmt: skip
    probe.add_argument("--json", action="store_true", help="print one JSON object")
    probe.add_argument(
        "--timeout", type=float, default=5.0, metavar="SECONDS", help="default %(default)s"
    )
    probe.add_argument("--insecure-network", action="store_true", help="as for serve")


def _serve(options: argparse.Namespace) -> ExitCode:
    if not can_serve():
        raise ConfigError(
            "generators are served on Linux and macOS; a trainer on this system can use them from "
            "there: from_server('tcp://HOST:PORT')"
        )
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` has it: the user's module is found here
    inherited = {} if options.arguments_fd is None else taken(options.arguments_fd)
    config = make_config(
        options.target,
        bind=options.bind,
        workers=options.workers,
        arguments=parse_arguments(options.arg) | inherited,
        sharding=options.sharding,
        seed=options.seed,
        spec=options.spec,
        length=options.length,
        insecure_network=options.insecure_network,
        function=options.function_fd,
        stage=options.stage,
        recovery=options.recovery,
        max_rerun=options.max_rerun,
        max_restarts=options.max_restarts,
        item_timeout=options.item_timeout,
        max_items=options.max_items,
    )
    if config.workers == 0:
        return _serve_in_process(options, config)
    return _serve_in_workers(options, config)


def _serve_in_workers(options: argparse.Namespace, config: ServeConfig) -> ExitCode:
    from .launcher import Launcher

    with Launcher(config) as launcher:
        # A name may turn out to be of another host, which is refused: then nothing is started.
        if config.endpoint.on_this_host or config.insecure_network:
            launcher.start_first()
        config = launcher.placed(config)
        from .printer import Printer
        from .supervisor import Supervisor

        printer = Printer()
        supervisor = Supervisor(
            config, launcher, announce=_announcer(options, printer.say), printer=printer,
            stop_at_eof=options.stop_at_eof,
        )  # fmt: skip
        try:
            return supervisor.run()
        finally:
            printer.close(PRINT_SECONDS)


def _announcer(
    options: argparse.Namespace, say: Callable[[str], None]
) -> Callable[[Endpoint, Status], None]:
    def announce(endpoint: Endpoint, status: Status) -> None:
        if not options.quiet:
            say(start_up_lines(endpoint, status))
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
        insecure_network=options.insecure_network,
        as_json=options.json,
    )
    print(answer)
    return ExitCode.OK if ready else ExitCode.UNAVAILABLE
