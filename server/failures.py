"""An exception of the user's code in words: what the trainer and the terminal are told.

The exception itself never travels, so it need not pickle. Nothing about it is trusted: its text may
be of any size, or raise in turn.
"""

from __future__ import annotations

import os
import traceback

from genserver.protocol.errors import ElementError
from genserver.protocol.fields import cut_text

__all__ = ["in_a_line", "kind_of", "refusal_text", "text_of", "user_traceback"]

# Longest parts of a failure, in bytes: together they fit a header.
MAX_KIND = 256
MAX_TEXT = 4_000
MAX_TRACEBACK = 16_000
#: The same of a refused element, which has no traceback but may hold a spec to paste.
MAX_REFUSAL = 16_000
#: Longest line of a traceback, in characters, so that a long message leaves the frames readable.
MAX_LINE = 1_000

#: Frames of genserver and of the import machinery are left out where a traceback begins with them.
_OURS = (os.path.dirname(os.path.abspath(__file__)) + os.sep, "<frozen importlib")
_IMPORTLIB = os.sep + os.path.join("importlib", "__init__.py")


def kind_of(error: BaseException) -> str:
    """The name of its class."""
    return cut_text(type(error).__name__, MAX_KIND)


def in_a_line(kind: str, text: str) -> str:
    """An error's class, and the first line of what it says."""
    first_line = text.partition("\n")[0]
    return f"{kind}: {first_line}" if first_line else kind


def text_of(error: BaseException) -> str:
    """Its message, cut; one that cannot be made is said so."""
    try:
        text = str(error)
    except Exception as second:  # noqa: BLE001  # the user's __str__ may raise anything
        return f"(no text: its __str__ raised {kind_of(second)})"
    return cut_text(_shortened(text), MAX_TEXT)


def refusal_text(error: ElementError) -> str:
    """Why an element cannot travel; the spec to paste comes whole or not at all."""
    text = cut_text(str(error), MAX_REFUSAL + 1)
    if len(text.encode()) <= MAX_REFUSAL:
        return text
    return cut_text(f"{error.path}: {error.reason}", MAX_TEXT)


def user_traceback(error: BaseException) -> str:
    """The traceback's text from the user's first frame on; what is too long is cut at its start."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    pieces: list[str] = []
    room = MAX_TRACEBACK
    told = traceback.TracebackException(type(error), error, trace)
    for piece in reversed([_shortened(piece) for piece in told.format()]):
        room -= len(piece.encode(errors="replace"))
        if room < 0:
            pieces.append("...\n")
            break
        pieces.append(piece)
    return "".join(reversed(pieces))


def _is_ours(file: str) -> bool:
    return file.startswith(_OURS) or file.endswith(_IMPORTLIB)


def _shortened(text: str) -> str:
    """Each message keeps its beginning; of lines that are too long the rest is counted."""
    if len(text) <= MAX_LINE:
        return text
    end = "\n" if text.endswith("\n") else ""
    return f"{text[:MAX_LINE]}... ({len(text) - MAX_LINE} characters more){end}"
