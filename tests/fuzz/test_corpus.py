"""The kept inputs, in every run of the suite: sound, and all of the decoder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .decoder import CORPUS
from .keep import DECODER, lines_of, reached
from .seeds import seeds
from .target import run, warm

INPUTS = {path.name: path.read_bytes() for path in sorted(CORPUS.iterdir())}
DECODER_FILE = Path(__file__).parent / "decoder.py"


def test_the_corpus_is_small() -> None:
    """It is kept in git, and replayed each time."""
    assert len(INPUTS) >= 50
    assert sum(map(len, INPUTS.values())) < 300_000


def test_every_kept_input_is_refused_or_sound() -> None:
    """And so is every seed: what was a finding once stays none."""
    warm()
    outcomes = {run(data) for data in (*INPUTS.values(), *seeds())}
    assert {"refused", "ITEM", "STATUS", "spec", "endpoint", "large"} <= outcomes


def test_the_corpus_reaches_the_decoder() -> None:
    """At least 95 of 100 lines of all that reads foreign bytes (rule D11)."""
    warm()
    steps = {step for data in INPUTS.values() for step in reached(data) if isinstance(step, tuple)}
    lines = {(module.__file__, line) for module in DECODER for line in lines_of(module)}
    found = {(name, line) for name, _, line in steps} & lines
    missing = sorted(f"{Path(name).name}:{line}" for name, line in lines - found)
    assert len(found) >= 0.95 * len(lines), missing


def test_decoding_imports_unpickles_and_executes_nothing() -> None:
    """All golden frames and all kept inputs, under the interpreter's audit hook: no event at all,
    none above a second, and the process does not grow by 64 MiB."""
    done = subprocess.run(
        [sys.executable, str(DECODER_FILE), "--replay"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) >= len(INPUTS)


#: A decoder that does more than decode, and what the hook calls it.
MORE = {
    "__import__('colorsys')": "import",
    "eval(code)": "exec",
    "compile('1', '', 'eval')": "compile",
    "marshal.loads(b'N')": "marshal.loads",
    "pickle.loads(b'cbuiltins\\nlen\\n.')": "pickle.find_class",
    "open('/dev/null')": "open",
    "subprocess.Popen(['true'])": "subprocess.Popen",
    "socket.socket()": "socket.__new__",
    "os.system('true')": "os.system",
    "swallowed(open, '/dev/null')": "open",
}
BROKEN = """
import contextlib, marshal, os, pickle, socket, subprocess, sys
from genserver.protocol import codec
from tests.fuzz.limits import Limits
from tests.fuzz.seeds import seeds
from tests.fuzz.watch import Event

def swallowed(call, *arguments):
    with contextlib.suppress(Exception):
        call(*arguments)

code, seed, unpackb = compile("1", "", "eval"), next(seeds()), codec.msgpack.unpackb
limits = Limits()
limits.judge(seed)
for source in sys.argv[1:]:
    more = eval(f"lambda: {source}")
    codec.msgpack.unpackb = lambda *a, **k: (more(), unpackb(*a, **k))[1]
    try:
        limits.judge(seed)
        print("nothing")
    except Event as event:
        print(event)
"""


def test_a_decoder_that_does_more_is_caught() -> None:
    """Each kind of event, also when the decoder swallows the hook's own error."""
    done = subprocess.run(
        [sys.executable, "-c", BROKEN, *MORE],
        capture_output=True, text=True, timeout=60, check=False, cwd=DECODER_FILE.parents[2],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    caught = [line.split()[0] for line in done.stdout.splitlines()]
    assert dict(zip(MORE, caught, strict=True)) == MORE
