"""Every limit and check of the fuzzer can fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genserver.protocol.chunk import Chunk
from genserver.protocol.codec import ItemHeader, decode_item
from genserver.protocol.messages import Close, Item, Open
from genserver.protocol.normalize import TextArray
from genserver.protocol.spec import parse_spec

from . import limits, target
from .limits import Limits, Slow
from .target import check_item, check_message, packed_input

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def no_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook would stay in the suite's process for ever."""
    monkeypatch.setattr("tests.fuzz.limits.watched", nullcontext)


def test_an_input_above_a_second_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the processor's time of its thread: a busy machine is none."""
    times = iter((0.0, 1.5))
    monkeypatch.setattr(limits.time, "thread_time", lambda: next(times))
    with pytest.raises(Slow, match=r"1\.5 s"):
        Limits().judge(b"")


GROWN = """
from contextlib import nullcontext
from tests.fuzz import limits
limits.watched = nullcontext
judge = limits.Limits()
limits.run = lambda data: bytearray(b"x" * 70 * 2**20) and "grown"
judge.judge(b"")
"""


def test_a_process_that_grows_is_a_finding() -> None:
    """By more than 64 MiB since the first input; in a process whose peak is its own."""
    done = subprocess.run(
        [sys.executable, "-c", GROWN], cwd=ROOT, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert "Swollen: " in done.stderr
    assert "MiB more than at the beginning" in done.stderr


@pytest.mark.parametrize("error", [ValueError, MemoryError, KeyError, AssertionError])
def test_any_other_error_is_a_finding(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """Only the documented ones are what a peer may cause."""

    def broken(header: bytes) -> None:
        raise error

    monkeypatch.setattr(target, "decode_header", broken)
    with pytest.raises(error):
        Limits().judge(packed_input(3, 0, b"\x80"))


def test_a_message_outside_of_the_schema_is_a_finding() -> None:
    """One that its own frame does not give back."""
    check_message(1, Close(4))
    with pytest.raises(AssertionError):
        check_message(1, Close(True))
    with pytest.raises(AssertionError, match="upstream"):
        check_message(1, Open(1, 0, 1, 0, 5, upstream=(False, 2)))
    with pytest.raises(AssertionError):
        check_message(1, Close("4"))  # type: ignore[arg-type]  # what a decoder let through


Spoil = Callable[[np.ndarray[Any, Any]], Any]
SPOILT: dict[str, Spoil] = {
    "outside of the received memory": lambda column: _readonly(column.copy()),
    "before it": lambda column: _readonly(np.zeros(16, np.uint8)[:4].view("<i2").reshape(1, 2)),
    "writable": lambda column: np.array(column),
    "of objects": lambda column: column.astype(object),
    "of another dtype": lambda column: column.view("<u2"),
    "of another shape": lambda column: column.reshape(2, 1),
    "a part of it": lambda column: column[:, :1],
}


def _readonly(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_an_element_that_is_not_what_was_received_is_a_finding(spoil: Spoil) -> None:
    """Its memory, its values, its dtype and its shape are looked at."""
    spec, header = parse_spec("int16[None]"), ItemHeader(1, 0, 1, ((0, (1, 2)),))
    memory: list[Any] = [bytearray(b"\1\2\3\4")]
    item = decode_item(header, memory, spec)
    check_item(header, memory, item, spec)
    (column,) = item.chunk.columns
    assert isinstance(column, np.ndarray)
    with pytest.raises((AssertionError, ValueError)):
        check_item(header, memory, _with(item, spoil(column)), spec)


@pytest.mark.parametrize("items", [(b"ab",), (b"a", b"c"), (b"a", "b"), (b"ab", b"")])
def test_texts_that_are_not_what_was_received_are_a_finding(items: tuple[Any, ...]) -> None:
    """In number, kind and content."""
    spec, header = parse_spec("bytes[None]"), ItemHeader(1, 0, 1, ((2, (1, 2), (b"a", b"b")),))
    item = decode_item(header, [], spec)
    check_item(header, [], item, spec)
    with pytest.raises(AssertionError):
        check_item(header, [], _with(item, TextArray((1, 2), items)), spec)


def _with(item: Item, column: Any) -> Item:
    return replace(item, chunk=Chunk(1, 0, (column,)))
