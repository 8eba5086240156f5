"""What all tests share: how Hypothesis searches, and the fixtures that start servers."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from .support.servers import runtime_folder, serve, shared

__all__ = ["runtime_folder", "serve", "shared"]

# The machine's speed decides nothing: no deadline, and slow generation is no failure.
settings.register_profile(
    "genserver", deadline=None, derandomize=False, print_blob=True, max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile("genserver")
