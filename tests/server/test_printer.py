"""Lines of workers on the process's own descriptors."""

from __future__ import annotations

import os
import select

import pytest
from genserver.server.printer import Printer


def test_a_descriptor_that_does_not_block_gets_every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the pipe holds is written as it is read, not taken for a reader who left."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    monkeypatch.setattr("genserver.server.printer._STDOUT", writer)
    printer = Printer()
    for _ in range(3):
        printer.say("x" * 99_999)
    read = 0
    while read < 300_000:
        assert select.select([reader], [], [], 5.0)[0]
        piece = os.read(reader, 1 << 16)
        read += len(piece)
    printer.close(5.0)
    os.close(reader)
    os.close(writer)
