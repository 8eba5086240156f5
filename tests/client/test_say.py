"""What a dataset or client tells its user."""

from __future__ import annotations

import sys

import pytest
from genserver.client.source import say


def test_a_program_without_standard_error_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``2>&-`` there is no ``sys.stderr``, and training goes on."""
    monkeypatch.setattr("genserver.client.source.logger.hasHandlers", lambda: False)
    monkeypatch.setattr(sys, "stderr", None)
    say("anything")
