"""What errors say."""

from __future__ import annotations

import pytest
from genserver.protocol.errors import GeneratorError, Unreachable


@pytest.mark.parametrize(
    ("kind", "traceback", "begin"),
    [
        ("ElementError", "", "an element of the generator cannot be sent: "),
        ("ElementMismatch", "", "an element of the generator cannot be sent: "),
        ("ElementError", "Traceback", "the generator raised ElementError: "),  # the user's own
        ("ValueError", "Traceback", "the generator raised ValueError: "),
    ],
)
def test_a_refused_element_was_not_raised(kind: str, traceback: str, begin: str) -> None:
    """The generator raised nothing where its element cannot travel."""
    error = GeneratorError(
        worker=1, epoch=2, element=3, kind=kind, text="t", traceback=traceback
    )  # fmt: skip
    assert str(error).partition("\n")[0] == f"{begin}t [worker 1, epoch 2, element 3]"


def test_where_nobody_listens_a_server_can_be_started() -> None:
    """No time where none was waited, and no advice to bind what another program has."""
    start = ". Start one with: genserver serve MODULE:GENERATOR --bind e"
    assert str(Unreachable("e", 0.0, "refused")) == f"no genserver answered at e: refused{start}"
    taken = Unreachable("e", 5.0, "it is a web server", taken=True)
    assert str(taken) == "no genserver answered at e within 5 s: it is a web server"
