"""One way through one workload in a process of its own, measured whenever it is asked.

    python _way_process.py CASE

Reads a line of JSON, {"warm_up": s, "seconds": s}, measures a slice and answers with a line; ends
with its standard input. A way that is not to be had answers {"refused": why}. So the libraries
that are compared never share an interpreter, and a process's memory is that of its way alone.
Between two slices no pass is open: no loader works ahead while another one is measured.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from importlib import import_module
from typing import Any, TextIO

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from _case import Case, Passes, Refused
from genserver.protocol.transport.platform import die_with_parent


def main() -> None:
    """Until standard input ends."""
    answers = _own_output()
    if not die_with_parent(os.getppid()):
        return
    case = Case.from_text(sys.argv[1])
    with ExitStack() as stack:
        try:
            from _measure import measure

            module = import_module(f"ways.{case.module}")
        except ModuleNotFoundError as error:
            _answer(answers, {"refused": f"not installed: {error.name}"})
            return
        _answer(answers, {"ready": True})
        _serve(answers, case, stack, measure, module.opened)


def _serve(
    answers: TextIO, case: Case, stack: ExitStack, measure: Callable[..., Any],
    opened: Callable[[Case], Any],
) -> None:  # fmt: skip
    passes: Passes | None = None
    for line in sys.stdin:
        began = time.perf_counter()
        if passes is None:
            try:
                passes = stack.enter_context(opened(case))
            except Refused as reason:
                _answer(answers, {"refused": str(reason)})
                return
        _answer(answers, asdict(measure(passes, case, began, **json.loads(line))))


def _own_output() -> TextIO:
    """The standard output for answers alone: what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _answer(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
