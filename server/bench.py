"""``genserver bench``: is it worth serving this generator, and with how many workers?

Runs one process after the other and reads what each says: the generator alone, a server with
different numbers of workers and a trainer that reads from it, and the same in TensorFlow, if it is
installed. What is measured says bench_plan.py, what it means bench_report.py. Owns these processes,
each in a session of its own; none is left when it ends, of what they started neither. Only where
it is killed itself (SIGKILL) can what the generator started stay.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from genserver.protocol.errors import ServerFailed
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.keys import NONE
from genserver.protocol.transport.platform import has_ipc, memory_size, usable_cores

from .bench_plan import Alone, Timing, timing, worker_counts
from .bench_report import Bench, Read, as_json, sentences, table
from .config import MAX_WORKERS, ConfigError, make_config
from .handle import Server

__all__ = ["Asked", "bench"]

#: Seconds that the first element of a generator may take, as in a trainer, and a process to start.
FIRST_SECONDS = 300.0
#: Seconds that a process gets to end once it has answered.
GOODBYE_SECONDS = 5.0
#: Seconds that a killed process may take to end; only an uninterruptible system call takes longer.
KILL_SECONDS = 10.0
#: The longest single wait, in seconds: a Ctrl-C just before one begins does not end it.
TURN_SECONDS = 0.5
#: What the figures of a step can be said of, in seconds, and elements in a batch.
SHORTEST_STEP, LONGEST_STEP, MAX_BATCH = 1e-6, 86400.0, 1_000_000
#: Stages before it is known how many there are.
STAGES = 5
#: Of one server; the same everywhere.
SEED = 1
#: What a child's answer may have, in bytes.
MAX_ANSWER = 1 << 20
#: What a child does not see, and what TensorFlow does not say there.
HIDDEN = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
#: What this process finds, a child finds, and what its generator starts does not: another Python
#: could not do with this one's libraries.
_PATH = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
_ALONE = "from genserver.server.bench_alone import alone; alone(sys.argv[2])"
_READING = "from genserver.client.reading import main; main()"
#: Both sides in one process, as in a trainer that uses no server.
_PLAIN = (
    "from genserver.server.bench_alone import passes_of; from genserver.client.reading import "
    "plain; options = json.loads(sys.argv[2]); plain(options, passes_of)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says."""

    target: str
    arguments: dict[str, Any] = field(default_factory=dict)
    items: list[Any] | None = None
    workers: int | None = None
    sharding: str | None = None
    spec: str | None = None
    #: Seconds of measuring, all stages together.
    seconds: float = 10.0
    step: float | None = None
    batch: int = 1
    as_json: bool = False

    def __post_init__(self) -> None:
        wrong = {
            "--seconds must be 1 to 3600": not 1.0 <= self.seconds <= 3600.0,
            f"--step must be {SHORTEST_STEP:g} to {LONGEST_STEP:g} seconds": (
                self.step is not None and not SHORTEST_STEP <= self.step <= LONGEST_STEP
            ),
            f"--batch must be 1 to {MAX_BATCH}": not 1 <= self.batch <= MAX_BATCH,
            f"--workers must be 1 to {MAX_WORKERS}": (
                self.workers is not None and not 1 <= self.workers <= MAX_WORKERS
            ),
        }
        for text, applies in wrong.items():
            if applies:
                raise ConfigError(text, ExitCode.USAGE)
        self._check_as_serve()

    def _check_as_serve(self) -> None:
        """A server would refuse it only when the generator alone is measured."""
        make_config(
            self.target, bind="tcp://127.0.0.1:0", workers=self.workers, arguments=self.arguments,
            items=self.items, sharding=self.sharding, spec=self.spec, keys=NONE,
        )  # fmt: skip


def bench(asked: Asked) -> ExitCode:
    """Measure and print. Raises `ConfigError` with its exit code, as `serve` does.

    A request to end is a KeyboardInterrupt, so that the processes end first."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # else somebody wants it ignored
            signal.signal(number, signal.default_int_handler)
    # What the generator and the server print is none of the answer.
    with contextlib.redirect_stdout(sys.stderr):
        found = _measured(asked)
    if asked.as_json:
        sys.stdout.write(json.dumps(as_json(found)) + "\n")
    else:
        sys.stdout.write(f"{table(found)}\n\n" + "\n".join(sentences(found)) + "\n")
    return ExitCode.OK


def _measured(asked: Asked) -> Bench:
    alone = _alone(asked)
    cores, memory = usable_cores(), memory_size()
    counts = worker_counts(
        alone, asked=asked.workers, whole=asked.sharding == "off", cores=cores, memory=memory
    )
    tensorflow = importlib.util.find_spec("tensorflow") is not None
    times = timing(asked.seconds, 1 + len(counts) + 2 * tensorflow)
    reads = [_served(asked, "numpy", workers, times) for workers in counts]
    found = Bench(
        target=asked.target, alone=alone, reads=tuple(reads), cores=cores, memory=memory,
        step=asked.step, batch=asked.batch, tensorflow=tensorflow,
    )  # fmt: skip
    if not tensorflow:
        return found
    served = _served(asked, "tf", found.enough.workers, times)
    return replace(found, reads=(*reads, served, _plain(asked, times, alone)))


def _alone(asked: Asked) -> Alone:
    _progress("the generator alone")
    options = _generator(asked) | {"plan": timing(asked.seconds, STAGES).plan(1)}
    answer = _answer(_ALONE, options, asked)
    fields = answer | {"rates": tuple(answer["rates"])}
    return Alone(**fields)


def _served(asked: Asked, into: str, workers: int, times: Timing) -> Read:
    _progress(
        f"{workers} worker{'s' * (workers > 1)}, into {'numpy' if into == 'numpy' else 'tf.data'}"
    )
    with _server(asked, workers) as endpoint:
        # So many elements may be ready before the first is read.
        options = {"into": into, "endpoint": endpoint, "plan": times.plan(2 * workers)}
        answer = _answer(_READING, options | {"batch": asked.batch}, asked)
    return Read(into, workers, tuple(answer["rates"]), answer["passes"])


def _plain(asked: Asked, times: Timing, alone: Alone) -> Read:
    _progress("plain from_generator")
    options = {"plan": times.plan(1), "spec": alone.spec, "batch": asked.batch}
    answer = _answer(_PLAIN, _generator(asked) | options, asked)
    return Read("plain", 0, tuple(answer["rates"]), answer["passes"])


def _generator(asked: Asked) -> dict[str, Any]:
    return {
        "target": asked.target, "arguments": asked.arguments, "items": asked.items,
        "spec": asked.spec, "seed": SEED,
    }  # fmt: skip


@contextlib.contextmanager
def _server(asked: Asked, workers: int) -> Iterator[str]:
    """As `genserver serve` starts it, where nobody else finds it."""
    try:
        server = Server(
            asked.target, workers=workers, arguments=asked.arguments, items=asked.items,
            sharding=asked.sharding, spec=asked.spec, seed=SEED, keys=NONE, quiet=True,
            bind="ipc://*" if has_ipc() else "tcp://127.0.0.1:0", ready_timeout=FIRST_SECONDS,
        )  # fmt: skip
    except ServerFailed as error:
        code = ExitCode.UNAVAILABLE if error.code is None else ExitCode(error.code)
        raise ConfigError(error.said or str(error), code) from None
    with server:
        yield server.endpoint


def _answer(code: str, options: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """What a process that runs ``code`` says; `ConfigError` for what went wrong there."""
    path = json.dumps([folder for folder in sys.path if isinstance(folder, str)])
    reader, writer = os.pipe()
    given = json.dumps(dict(options) | {"report": writer, "parent": os.getpid()})
    with tempfile.TemporaryFile() as printed:
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _PATH + code, path, given], pass_fds=(writer,),
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=printed,
                env=os.environ | HIDDEN, start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(writer)
        try:
            said = _await(reader, process, FIRST_SECONDS + 4.0 * asked.seconds)
            # It says goodbye to its server, which else would go on for it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GOODBYE_SECONDS)
        finally:
            os.close(reader)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # and whatever it started
            status = process.wait(KILL_SECONDS)
        if not said:
            printed.seek(0)
            sys.stderr.write(printed.read().decode(errors="replace"))
            how = f"exit code {status}" if status >= 0 else f"signal {-status}"
            raise ConfigError(f"a process of bench ended with {how}", ExitCode.GENERATOR)
    answer: dict[str, Any] = json.loads(said)
    if "error" in answer:
        raise ConfigError(answer["error"], ExitCode(answer.get("code", ExitCode.GENERATOR)))
    return answer


def _await(reader: int, process: subprocess.Popen[bytes], seconds: float) -> bytes:
    """The line that is written, or what there is of it when the process has ended.

    The end of the pipe says neither: whatever the generator forked holds it open."""
    deadline, said = time.monotonic() + seconds, b""
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while len(said) < MAX_ANSWER and not said.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0:
                raise ConfigError(
                    f"nothing is measured after {seconds:.0f} s: the generator's elements take too "
                    "long; --seconds gives it longer", ExitCode.UNAVAILABLE,
                )  # fmt: skip
            ended = process.poll() is not None  # looked at first: what it wrote is there by then
            if selector.select(0.0 if ended else min(TURN_SECONDS, left)):
                piece = os.read(reader, 1 << 16)
                if not piece:
                    break
                said += piece
            elif ended:
                break
    return said


def _progress(what: str) -> None:
    if sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"genserver: measures {what}\n")
