"""What the command line takes: its options and their help. Pure."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from genserver.protocol.endpoint import DEFAULT_ENDPOINT
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.keys import DEFAULT_NAME

from .config import RECOVERIES, SHARDINGS
from .lives import DEFAULT_RESTARTS, WINDOW

__all__ = ["make_parser"]

#: A command.
Run = Callable[[argparse.Namespace], ExitCode]

_EPILOG = """\
examples:
  genserver serve scans:cubes --workers 4 --arg folder=/data/scans
  genserver serve simulator:episodes --sharding off --length infinite
  genserver probe tcp://127.0.0.1:5555
  genserver top tcp://127.0.0.1:5555
  genserver peek tcp://127.0.0.1:5555 --save samples.png
  genserver keygen keys
  genserver bench scans:cubes --step 0.05 --batch 8

in the trainer:
  from genserver.client import from_server
  dataset = from_server("tcp://127.0.0.1:5555")

exit codes: 0 done or stopped by SIGTERM, 64 usage, 65 the generator failed at its start,
69 nobody listens or the endpoint is in use, 70 a worker died too often, 77 not let in, 78 wrong
module, generator, option or key, 130 Ctrl-C, 143 SIGTERM and a worker had to be killed
"""


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

        sys.stdout.write(f"genserver {version('genserver-data')}\n")
        parser.exit()


def make_parser(
    serve: Run, probe: Run, top: Run, keygen: Run, peek: Run, bench: Run
) -> argparse.ArgumentParser:
    """The parser; ``run`` of what it reads is the command's function, ``parser`` its own."""
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
    _add_serve(commands, serve)
    _add_probe(commands, probe)
    _add_top(commands, top)
    _add_peek(commands, peek)
    _add_keygen(commands, keygen)
    _add_bench(commands, bench)
    return parser


def _add_serve(commands: Any, run: Run) -> None:
    serve = commands.add_parser(
        "serve",
        help="run a generator in worker processes and serve its elements",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.set_defaults(run=run, parser=serve)
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
    _add_items(serve)
    serve.add_argument("--items-fd", type=int, help=argparse.SUPPRESS)  # of Server, as JSON
    serve.add_argument("--arguments-fd", type=int, help=argparse.SUPPRESS)  # of Server, as JSON
    serve.add_argument("--function-fd", type=int, help=argparse.SUPPRESS)  # of from_generator
    serve.add_argument("--stage", type=int, default=0, help=argparse.SUPPRESS)  # of a pipeline
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
        "--keys", metavar="DIR",
        help="let in the trainers that these keys name, and nobody else: DIR is made by "
        "`genserver keygen` (default: those of GENSERVER_KEYS; 'none' for none)",
    )  # fmt: skip
    serve.add_argument(
        "--insecure-network", action="store_true",
        help="listen beyond this host without keys although anyone who reaches the port can "
        "connect",
    )  # fmt: skip
    _add_supervision(serve)
    _add_development(serve)
    _add_surroundings(serve)


def _add_items(serve: Any) -> None:
    serve.add_argument(
        "--items", nargs="+", metavar="ITEM",
        help="call the generator with each of these, JSON or text (a JSON list gives several "
        "arguments; @FILE stands for its lines): a free worker takes the next one",
    )  # fmt: skip
    serve.add_argument(
        "--concurrency", type=int, default=1, metavar="K",
        help="calls over --items that a worker has under way at once, of an async function",
    )  # fmt: skip
    serve.add_argument(
        "--sharding", choices=SHARDINGS,
        help="static: the generator divides by worker.index and worker.count; dynamic: a free "
        "worker takes the next of the items; off: every worker runs it whole (default: dynamic "
        "with --items, static where it takes a worker)",
    )  # fmt: skip


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


def _add_development(serve: Any) -> None:
    group = serve.add_argument_group("while the code is being written")
    group.add_argument(
        "--reload", action="store_true",
        help="when a Python file changes, replace all workers: trainers stay connected, and go on "
        "with the new code; code that does not start waits for its next change "
        "(pip install 'genserver-data[reload]')",
    )  # fmt: skip
    group.add_argument(
        "--reload-dir", action="append", default=[], metavar="DIR",
        help="watch this folder, may be given several times (default: the generator's and the "
        "current one)",
    )  # fmt: skip


def _add_surroundings(serve: Any) -> None:
    serve.add_argument(
        "--http", metavar="HOST:PORT",
        help="tell how the server fares over HTTP: /metrics for Prometheus, /healthz, /readyz "
        "(pip install 'genserver-data[http]')",
    )  # fmt: skip
    serve.add_argument(
        "--replay", type=int, metavar="N",
        help="make N elements once and hand them out in a circle, nearly as fast as the line: "
        "shows how fast the trainer is by itself; not for training",
    )  # fmt: skip
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


def _add_probe(commands: Any, run: Run) -> None:
    probe = commands.add_parser(
        "probe", help="say whether a server is up, what it serves and how its workers fare"
    )
    probe.set_defaults(run=run, parser=probe)
    _add_server(probe)
    probe.add_argument("--json", action="store_true", help="print one JSON object")
    probe.add_argument(
        "--timeout", type=float, default=5.0, metavar="SECONDS", help="default %(default)s"
    )


def _add_top(commands: Any, run: Run) -> None:
    top = commands.add_parser(
        "top",
        help="show all the time how fast workers and trainers are, and who waits for whom",
        description="A table on a terminal (pip install 'genserver-data[top]'), else a line at a "
        "time. q or Ctrl-C ends it, with exit code 0.",
    )
    top.set_defaults(run=run, parser=top)
    _add_server(top)
    top.add_argument(
        "--interval", type=float, default=1.0, metavar="SECONDS",
        help="between two looks (default %(default)s)",
    )  # fmt: skip
    top.add_argument(
        "--once", action="store_true",
        help="print the table once there are figures of 3 s, and end: for scripts",
    )  # fmt: skip


def _add_peek(commands: Any, run: Run) -> None:
    peek = commands.add_parser(
        "peek",
        help="look at some elements: shapes, ranges, what is probably wrong, a picture",
        description="Reads some elements as a trainer does, in a pass of its own: they are made "
        "for it, and no trainer misses one.",
    )
    peek.set_defaults(run=run, parser=peek)
    _add_server(peek)
    peek.add_argument(
        "--save", metavar="FILE",
        help="draw them: images, masks over images, slices through volumes, histograms; a .png, "
        ".svg, .pdf or .jpg (pip install 'genserver-data[peek]')",
    )  # fmt: skip
    peek.add_argument(
        "--elements", type=int, default=8, metavar="N",
        help="how many to read; a picture shows the first 8 (default %(default)s)",
    )  # fmt: skip
    peek.add_argument(
        "--epoch", type=int, default=0, metavar="E",
        help="of which epoch (default %(default)s); its first elements, whichever worker is ready",
    )  # fmt: skip
    peek.add_argument("--json", action="store_true", help="print one JSON object")
    peek.add_argument(
        "--timeout", type=float, default=30.0, metavar="SECONDS",
        help="then what there is must do (default %(default)s)",
    )  # fmt: skip


def _add_server(command: Any) -> None:
    """Whom to ask, and as whom."""
    command.add_argument(
        "endpoint", metavar="ENDPOINT", nargs="?", default=DEFAULT_ENDPOINT,
        help="of the server, as its --bind has it (default %(default)s)",
    )  # fmt: skip
    command.add_argument(
        "--keys", metavar="DIR", help="of a trainer, or those of the server beside it"
    )
    command.add_argument("--insecure-network", action="store_true", help="as for serve")


def _add_keygen(commands: Any, run: Run) -> None:
    keygen = commands.add_parser(
        "keygen", help="make the keys of a server and of a trainer, for the network between them"
    )
    keygen.set_defaults(run=run, parser=keygen)
    keygen.add_argument(
        "folder", metavar="DIR",
        help="gets DIR/server, unless it is there, and DIR/NAME: what each of the two hosts needs",
    )  # fmt: skip
    keygen.add_argument(
        "--name", default=DEFAULT_NAME, metavar="NAME", help="of the trainer (default %(default)s)"
    )


def _add_bench(commands: Any, run: Run) -> None:
    bench = commands.add_parser(
        "bench",
        help="measure a generator alone, through a server and into tf.data: is it worth it, and "
        "how many workers",
        description="Starts what it measures, and ends it: a process of the generator alone, "
        "servers with different numbers of workers, and trainers that read as fast as they can.",
    )
    bench.set_defaults(run=run, parser=bench)
    bench.add_argument("target", metavar="MODULE:GENERATOR", help="as for serve")
    bench.add_argument(
        "--arg", action="append", default=[], metavar="KEY=VALUE", help="as for serve"
    )
    bench.add_argument("--items", nargs="+", metavar="ITEM", help="as for serve")
    bench.add_argument("--sharding", choices=SHARDINGS, help="as for serve")
    bench.add_argument("--spec", metavar="SPEC", help="as for serve")
    bench.add_argument(
        "--workers", type=int, metavar="N",
        help="the most to measure with (default: as many as cores and memory can use)",
    )  # fmt: skip
    bench.add_argument(
        "--step", type=float, metavar="SECONDS",
        help="what a training step takes without waiting for data: how many workers match it?",
    )  # fmt: skip
    bench.add_argument(
        "--batch", type=int, default=1, metavar="N",
        help="elements that a step uses; tf.data is read in such batches (default %(default)s)",
    )  # fmt: skip
    bench.add_argument(
        "--seconds", type=float, default=10.0, metavar="S",
        help="of measuring, all stages together (default %(default)g); processes start besides",
    )  # fmt: skip
    bench.add_argument("--json", action="store_true", help="print one JSON object")
