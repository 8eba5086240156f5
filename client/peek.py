"""``genserver peek``: the process that reads a few elements and says what they look like.

The command line hands over to it (server/trainer_side.py): its one argument is a JSON object with
the options. Owns nothing beyond one pass of the server; prints, and writes the picture.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import NoReturn

from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.errors import (
    EndpointError,
    GeneratorError,
    GenserverError,
    SpecError,
    Stalled,
)
from genserver.protocol.exit_codes import ExitCode, code_of

from .album import UNDRAWABLE, Album, why_undrawn
from .glance import Glance
from .options import OptionError, PullOptions
from .peek_page import Page, as_json, page
from .picture_file import SUFFIXES, PictureFile

__all__ = ["Asked", "PeekError", "main", "peek"]

#: Seconds that a server may take to answer.
ANSWER_SECONDS = 5.0
MOST_ELEMENTS = 100_000
LONGEST = 86_400.0


class PeekError(GenserverError):
    """It cannot be done as asked; ``code`` is the exit code, the text one sentence."""

    def __init__(self, text: str, code: ExitCode) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of the command; `PeekError` names a wrong one."""

    endpoint: str
    save: str | None = None
    elements: int = 8
    epoch: int = 0
    timeout: float = 30.0
    json: bool = False
    keys: str | None = None
    insecure_network: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.elements <= MOST_ELEMENTS:
            raise PeekError(f"--elements must be 1 to {MOST_ELEMENTS}", ExitCode.USAGE)
        if not (math.isfinite(self.timeout) and 0 < self.timeout <= LONGEST):
            raise PeekError(f"--timeout must be more than 0 and up to {LONGEST:.0f} seconds",
                            ExitCode.USAGE)  # fmt: skip
        if not 0 <= self.epoch < 2**63:
            raise PeekError("--epoch must be 0 or more", ExitCode.USAGE)


def main() -> NoReturn:
    """What the command line runs."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as it is while this is loaded
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = peek(_asked(sys.argv[1:]))
    except GenserverError as error:
        print(f"genserver: {error}", file=sys.stderr)
        code = _code_of(error)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output (head, less) has seen enough; keep the exit quiet.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.OK
    sys.exit(code)


def _asked(arguments: list[str]) -> Asked:
    try:
        (text,) = arguments
        return Asked(**json.loads(text))
    except (ValueError, TypeError):
        text = "this is a part of the command `genserver peek`, which takes the options"
        raise PeekError(text, ExitCode.USAGE) from None


def _code_of(error: GenserverError) -> ExitCode:
    if isinstance(error, PeekError):
        return error.code
    if isinstance(error, GeneratorError):
        return ExitCode.GENERATOR
    if isinstance(error, OptionError):
        return ExitCode.USAGE
    return ExitCode.CONFIG if isinstance(error, SpecError) else code_of(error)


def peek(asked: Asked) -> ExitCode:
    """Look, print, draw. Raises what went wrong, after what was seen until then was printed."""
    try:
        parse_endpoint(asked.endpoint)
    except EndpointError as error:
        raise PeekError(str(error), ExitCode.USAGE) from None
    file = None if asked.save is None else _picture_file(asked.save)
    options = PullOptions(
        keys=asked.keys, insecure_network=asked.insecure_network, epoch=asked.epoch,
        connect_timeout=min(ANSWER_SECONDS, asked.timeout), first_element_timeout=asked.timeout,
    )  # fmt: skip
    began = time.monotonic()
    failure: GenserverError | None = None
    with Glance(
        asked.endpoint, elements=asked.elements, seconds=asked.timeout, options=options
    ) as glance:  # fmt: skip
        album = Album(glance.spec, asked.elements, pictures=file is not None)
        try:
            for element in glance.elements():
                album.add(element)
        except GenserverError as error:
            failure = error
        ended = glance.ended
    if not album.elements:
        raise failure or _nothing(asked, ended=ended)
    why = ""
    if album.elements < asked.elements:
        why = "then it failed" if failure else "the pass has no more" if ended else "time is up"
    told = Page(
        endpoint=asked.endpoint, generator=glance.generator, spec=glance.spec, epoch=asked.epoch,
        wanted=asked.elements, elements=album.elements, seconds=time.monotonic() - began,
        why_fewer=why, batched=album.batched, statistics=album.statistics,
        warnings=album.warnings(),
    )  # fmt: skip
    saved = None
    if file is not None:
        try:
            _draw(album, told, file)
            saved = asked.save
        except OSError as error:
            failure = PeekError(f"--save {asked.save}: {error.strerror or error}", ExitCode.CONFIG)
        except PeekError as error:
            failure = error
    _print(told, saved, json_=asked.json)
    if failure is not None:
        raise failure
    return ExitCode.OK


def _draw(album: Album, told: Page, file: PictureFile) -> None:
    """Raises OSError where it cannot be written, PeekError where it cannot be drawn."""
    # What the variable names has no part in this, and may be something that is not installed.
    os.environ["MPLBACKEND"] = "agg"
    why = album.undrawn
    if not why:
        try:
            from .picture import drawn

            data = drawn(album, told, file.kind)
        except ImportError as error:  # of half an installation
            text = f"--save needs the package matplotlib: {why_undrawn(error)}"
            raise PeekError(text, ExitCode.CONFIG) from None
        except UNDRAWABLE as error:
            why = why_undrawn(error)
    if why:
        text = f"--save: the picture cannot be drawn, please report it: {why}"
        raise PeekError(text, ExitCode.WORKER_DIED) from None
    file.write(data)


def _nothing(asked: Asked, *, ended: bool) -> GenserverError:
    if ended:
        return PeekError(f"epoch {asked.epoch} has no elements", ExitCode.GENERATOR)
    return Stalled(seconds=asked.timeout, workers="--timeout SECONDS waits longer")


def _print(told: Page, saved: str | None, *, json_: bool) -> None:
    if json_:
        print(as_json(told, saved), flush=True)
        return
    text = "\n".join(page(told))
    if saved is not None:
        text += f"\n\nsaved {saved}"
    # Paths and texts of others, on a terminal that may not know them.
    encoding = sys.stdout.encoding or "ascii"
    print(text.encode(encoding, "replace").decode(encoding), flush=True)


def _picture_file(path: str) -> PictureFile:
    """Checked before anything is read: elements may take minutes."""
    if os.path.splitext(path)[1].lower() not in SUFFIXES:
        text = f"--save {path}: a picture's name ends with {', '.join(SUFFIXES)}"
        raise PeekError(text, ExitCode.USAGE)
    if importlib.util.find_spec("matplotlib") is None:
        text = "--save needs the package matplotlib: pip install 'genserver-data[peek]'"
        raise PeekError(text, ExitCode.CONFIG)
    file = PictureFile(path)
    try:
        file.check()
    except OSError as error:
        text = f"--save {path}: {error.strerror or error}"
        raise PeekError(text, ExitCode.CONFIG) from None
    return file
