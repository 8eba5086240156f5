"""What all tests share: how Hypothesis searches, what Ctrl-C does, and the fixtures that start
servers.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

from .support.servers import runtime_folder, serve, shared
from .support.variants import spare

__all__ = ["pytest_collection_modifyitems", "runtime_folder", "serve", "shared"]

# The machine's speed decides nothing: no deadline, and slow generation is no failure.
settings.register_profile(
    "genserver", deadline=None, derandomize=False, print_blob=True, max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile("genserver")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Before those marked `soak` are left out."""
    spare(items)


# A shell that starts something in the background has it ignore Ctrl-C, and that is inherited: by
# the tests of Ctrl-C, and by every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# numpy's threads turn for a moment at the start of each of a thousand processes.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
