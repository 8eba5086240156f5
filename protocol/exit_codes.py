"""The exit codes of the command line, documented in docs/operations.md. Codes of sysexits.h.

Both sides have commands: `serve` is the producers', `peek` reads as a trainer does. Pure.
"""

from __future__ import annotations

from enum import IntEnum

from .errors import GenserverError, KeyFileError, KeyRejected, NotGuarded

__all__ = ["ExitCode", "code_of"]


class ExitCode(IntEnum):
    """What the shell, a container runtime or systemd learns."""

    #: Done, or stopped by SIGTERM after the workers had finished their element.
    OK = 0
    #: The command line cannot be understood.
    USAGE = 64
    #: The generator raised, or yielded what cannot travel, before anything could be served.
    GENERATOR = 65
    #: Nobody listens at the endpoint, or it cannot be bound.
    UNAVAILABLE = 69
    #: A worker died at the start, too often or always at one element; or genserver has a bug.
    WORKER_DIED = 70
    #: The server does not let this one in: the keys of the two ends do not go together.
    REFUSED = 77
    #: The module, the generator, an option or a key is wrong: starting again would not help.
    CONFIG = 78
    #: Ctrl-C (128 + SIGINT).
    INTERRUPTED = 130
    #: SIGTERM, and a worker had to be killed (128 + SIGTERM).
    TERMINATED = 143


def code_of(error: GenserverError) -> ExitCode:
    """Of an error that ended a command: whoever it talks to cannot be used, if nothing else."""
    if isinstance(error, KeyRejected):
        return ExitCode.REFUSED
    wrong = isinstance(error, KeyFileError | NotGuarded)
    return ExitCode.CONFIG if wrong else ExitCode.UNAVAILABLE
