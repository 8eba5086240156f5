"""How a command hands over to the trainer's side: in another process.

Nothing of the server may import the client, whose libraries a producer need not have; the two sides
know each other over the wire alone. A command that reads as a trainer does is a module of the
client, with a `main` of its own, which gets its options as one JSON object.

Owns nothing. Imports nothing that takes time.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

__all__ = ["argv_of", "become"]

#: Whether another program can take a process over. Where it cannot, execv starts a second process
#: and ends the first: the shell goes on while the command still prints, and never has its code.
TAKES_OVER = os.name == "posix"
#: Seconds of one wait for that process; then for the next one.
TURN_SECONDS = 60.0

#: Until `main` catches it, Ctrl-C ends the process without a traceback of somebody's import.
_BOOTSTRAP = (
    "import signal as s; "
    "s.getsignal(s.SIGINT) is s.default_int_handler and s.signal(s.SIGINT, s.SIG_DFL); "
    "from genserver.client.{} import main; main()"
)


def argv_of(module: str, options: Mapping[str, Any]) -> list[str]:
    """The command line that runs the `main` of ``genserver.client.<module>`` with these options.

    They are plain data. With -P what lies in the current folder (a user's ``numpy.py``) is not
    found as a module; as ASCII text JSON takes any character that a path may have.
    """
    text = json.dumps(dict(options))
    return [sys.executable, "-P", "-c", _BOOTSTRAP.format(module), text]


def become(module: str, options: Mapping[str, Any]) -> NoReturn:
    """Go on as that module, with this one's terminal, signals and exit code: in this process,
    where the system can do that."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as where it was closed before the start
            stream.flush()
    argv = argv_of(module, options)
    if not TAKES_OVER:
        sys.exit(_code_of(argv))
    os.execv(argv[0], argv)


def _code_of(argv: list[str]) -> int:
    """Run it beneath this process, and return its exit code."""
    import subprocess

    # Ctrl-C reaches both, and it is the other one that says how it ends. Ignoring it would be
    # inherited; what has a function here has its default there.
    signal.signal(signal.SIGINT, lambda *_: None)
    with subprocess.Popen(argv) as process:
        while True:
            try:
                return process.wait(TURN_SECONDS)
            except subprocess.TimeoutExpired:
                continue
