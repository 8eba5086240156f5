"""What all tests share: how Hypothesis searches."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# The machine's speed decides nothing: no deadline, and slow generation is no failure.
settings.register_profile(
    "genserver", deadline=None, derandomize=False, print_blob=True, max_examples=60,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
settings.load_profile("genserver")
