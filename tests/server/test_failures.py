"""The words for exceptions of the user's code, of whatever size and manners."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np
import pytest
from genserver.protocol.codec import decode_header, encode
from genserver.protocol.errors import ElementMismatch
from genserver.protocol.fields import MAX_HEADER, cut_text
from genserver.protocol.link import Numbered
from genserver.protocol.messages import Fail
from genserver.protocol.normalize import Normalizer, infer_spec
from genserver.protocol.spec import parse_spec
from genserver.server.failures import kind_of, refusal_text, text_of, user_traceback

BRAIN = "\U0001f9e0"


def raised(error: BaseException) -> BaseException:
    """The exception with a traceback."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001  # any exception is raised here
        return caught


def endless(depth: int) -> int:
    return endless(depth + 1) + 1


def noted() -> Exception:
    error = ValueError("x")
    for _ in range(5000):
        error.add_note(BRAIN * 200)
    return error


@pytest.mark.parametrize(
    "error",
    [
        ValueError(BRAIN * 100_000),
        ValueError("\n".join([BRAIN] * 100_000)),
        ValueError("\udcff" * 100_000),
        type("E" * 3000, (Exception,), {})("x"),
        type("Ü" * 400, (Exception,), {})(BRAIN * 5000),
        ExceptionGroup(BRAIN * 9000, [ValueError(BRAIN * 9000)] * 50),
        noted(),
        UnicodeDecodeError("utf-8", b"\xff" * 100_000, 0, 1, BRAIN * 9000),
    ],
    ids=lambda error: type(error).__name__[:20],
)
def test_a_failure_always_fits_its_message(error: BaseException) -> None:
    """Limits are in bytes: whatever is raised, FAIL is below 64 KiB and the trainer can read it."""
    error = raised(error)
    fail = Fail(1, 0, kind_of(error), text_of(error), user_traceback(error))
    (header,) = encode(Numbered(0, fail))
    assert len(header) < MAX_HEADER // 2
    read: Any = decode_header(bytes(header))[1]
    assert read.kind == fail.kind
    assert fail.kind
    assert len(read.traceback) == len(fail.traceback)


def test_a_recursion_without_end_is_readable() -> None:
    """Its thousand frames are told once, with the user's first one."""
    try:
        endless(0)
    except RecursionError as error:
        told = user_traceback(error)
    assert "in test_a_recursion_without_end_is_readable" in told
    assert "[Previous line repeated" in told
    assert told.endswith("RecursionError: maximum recursion depth exceeded\n")


@pytest.mark.parametrize(
    ("text", "nbytes", "cut"),
    [("abc", 2, "ab"), ("abc", 9, "abc"), ("aü", 2, "a"), (BRAIN, 3, ""), ("\udcff", 9, "?")],
)
def test_texts_are_cut_between_characters(text: str, nbytes: int, cut: str) -> None:
    """Never above the bytes, never within a character."""
    assert cut_text(text, nbytes) == cut


@pytest.mark.parametrize(("columns", "whole"), [(1, True), (300, True), (1000, False)])
def test_a_spec_to_paste_is_never_cut(columns: int, whole: bool) -> None:
    """A long one comes whole while it fits; one that does not is left out, the reason stays."""
    names = [f"feature_{column:04d}" for column in range(columns)]
    normalizer = Normalizer(infer_spec({name: np.zeros(2) for name in names}))
    with pytest.raises(ElementMismatch) as caught:
        normalizer.leaves({name: np.zeros(3) for name in names})
    text = refusal_text(caught.value)
    assert text.startswith("element['feature_0000']: the spec says float64[2], this element has ")
    assert len(text.encode()) <= 16_000
    hint = text.partition("--spec ")[2]
    assert bool(hint) is whole
    if whole:
        assert str(parse_spec(*shlex.split(hint))) == caught.value.relaxed
