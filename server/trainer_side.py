"""How a command hands over to the trainer's side: in another process.

Nothing of the server may import the client, whose libraries a producer need not have; the two sides
know each other over the wire alone. A command that reads as a trainer does is a module of the
client, with a `main` of its own, which gets its options as one JSON object.

Owns nothing. Imports nothing that takes time.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

__all__ = ["argv_of", "become"]


def argv_of(module: str, options: Mapping[str, Any]) -> list[str]:
    """The command line that runs ``genserver.client.<module>`` with these options.

    They are plain data. With -P what lies in the current folder (a user's ``numpy.py``) is not
    found as a module; as ASCII text JSON takes any character that a path may have.
    """
    text = json.dumps(dict(options))
    return [sys.executable, "-P", "-m", f"genserver.client.{module}", text]


def become(module: str, options: Mapping[str, Any]) -> NoReturn:
    """Go on as that module, in this process: with its terminal, its signals and its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # as where it was closed before the start
            stream.flush()
    argv = argv_of(module, options)
    os.execv(argv[0], argv)
