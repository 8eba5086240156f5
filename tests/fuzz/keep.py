"""Which inputs are worth keeping: the least that take every step of the decoder.

A feature of an input is a step from one line to another, or a sentence that refused it. Needs no
atheris, so that the suite can ask how much of the decoder the kept inputs reach.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from genserver.protocol import codec, fields, payload, spec
from genserver.protocol.errors import GenserverError

from .target import run

__all__ = ["DECODER", "least", "lines_of", "reached", "write"]

#: What reads foreign bytes, by module.
DECODER: dict[Any, set[str]] = {
    codec: {
        "decode_header", "parts_of", "piece_sizes", "placed_in", "decode_item", "_unpack", "_count",
        "_item_header", "_pairs", "checked_shape", "count_of", "_placed", "_array_parts", "_size",
    },
    payload: {"chunk_of", "_column", "_from_inline", "_checked", "_from_offsets", "_utf8"},
    fields: {"read", "check", "_wrong", "_bool", "_optional", "_spec", "_worker", "_pair"},
    spec: {"from_wire", "_from_wire", "_record", "nameable", "_array_from_wire"},
}  # fmt: skip
_FILES = {module.__file__ for module in DECODER}
#: A line of the decoder, or a step between two.
Step = tuple[str, int, int]


def reached(data: bytes) -> set[Step | str]:
    """The features of an input."""
    features: set[Step | str] = set()
    last: dict[FrameType, int] = {}

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in _FILES:
            return None
        if event == "exception" and isinstance(argument[1], GenserverError):
            features.add(re.sub(r"\W*\d[\d, ]*|'.*'|\[.*", "#", str(argument[1]))[:60])
        elif event == "line":
            features.add((frame.f_code.co_filename, last.get(frame, 0), frame.f_lineno))
            last[frame] = frame.f_lineno
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        features.add(run(data))
    finally:
        sys.settrace(before)
    return features


def least(inputs: Iterable[bytes]) -> list[bytes]:
    """The inputs, short ones first, each of which adds a feature."""
    known: set[Step | str] = set()
    kept = []
    for data in sorted(set(inputs), key=lambda data: (len(data), data)):
        features = reached(data)
        if not features <= known:
            known |= features
            kept.append(data)
    return kept


def write(folder: Path, inputs: Iterable[bytes]) -> None:
    """The folder has these inputs and no others, each under its digest."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        path.unlink()
    for data in inputs:
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def lines_of(module: Any) -> set[int]:
    """The lines of the decoder's functions in a module, as the interpreter numbers them."""
    source = Path(module.__file__).read_text()
    return set(_lines(compile(source, module.__file__, "exec"), DECODER[module], inside=False))


def _lines(code: CodeType, names: set[str], *, inside: bool) -> Iterator[int]:
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            ours = inside or inner.co_name in names
            if ours:
                # The first is the `def` itself, which runs when the module is loaded.
                yield from (n for _, _, n in inner.co_lines() if n and n != inner.co_firstlineno)
            yield from _lines(inner, names, inside=ours)
