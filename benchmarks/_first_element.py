"""A trainer that waits for its server: when has it the first element?

    python _first_element.py ENDPOINT

Imports TensorFlow, asks for a server that is not there yet, answers {"waiting": ...} when the
client says that it keeps trying, and {"at": ...}, an instant of the system's monotonic clock, when
the first element has come; ends with its standard input.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow  # noqa: F401  # a trainer has it long before the server is there
from genserver.client import from_server
from genserver.protocol.transport.platform import die_with_parent


class _Answers(logging.Handler):
    """The client tells its user that it waits; here, the user is a program."""

    def emit(self, record: logging.LogRecord) -> None:
        print(json.dumps({"waiting": record.getMessage()}), flush=True)


def main(endpoint: str) -> None:
    """One element, then wait to be ended."""
    die_with_parent(os.getppid())
    logger = logging.getLogger("genserver")
    logger.addHandler(_Answers())
    logger.setLevel(logging.INFO)
    iterator = iter(from_server(endpoint, wait=True))
    next(iterator)
    print(json.dumps({"at": time.monotonic()}), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
