"""The options of `PullOptions` as keyword arguments, for type checkers. Pure."""

from __future__ import annotations

from typing import TypedDict

__all__ = ["ClientOptions"]


class ClientOptions(TypedDict, total=False):
    """Meanings and defaults are those of `PullOptions`."""

    seed: int | None
    epoch: int | None
    deterministic: bool
    transport: str
    memory_budget: int | None
    insecure_network: bool
    connect_timeout: float
    first_element_timeout: float
    wait: bool
