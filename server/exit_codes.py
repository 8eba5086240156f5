"""The exit codes of the command line, which commands of the trainer's side have, too."""

from __future__ import annotations

from genserver.protocol.exit_codes import ExitCode, code_of

__all__ = ["ExitCode", "code_of"]
