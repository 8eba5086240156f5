"""How a trainer pulls: the options that `from_server` and `Client` share. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from genserver.protocol.errors import GenserverError
from genserver.protocol.fields import MAX_BATCH
from genserver.protocol.watch import GIVE_UP_AFTER

from .progress import Progress
from .state import State

__all__ = ["OptionError", "PullOptions"]

TRANSPORTS = ("auto", "memory", "ipc", "tcp")


class OptionError(GenserverError, ValueError):
    """An option has a value that it cannot have, or two do not go together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullOptions:
    """Checked at construction; `OptionError` names one. `ClientOptions` says what each is."""

    seed: int | None = None
    epoch: int | None = None
    deterministic: bool = False
    transport: str = "auto"
    memory_budget: int | None = None
    keys: str | None = None
    insecure_network: bool = False
    connect_timeout: float = 30.0
    first_element_timeout: float = 300.0
    give_up_after: float = GIVE_UP_AFTER
    wait: bool = False
    batch: int | None = None
    drop_remainder: bool = False
    resume: State | Progress | None = None

    def __post_init__(self) -> None:
        if self.seed is not None and not 0 <= self.seed < 2**64:
            raise OptionError(f"seed must be 0 to 2**64 - 1, not {self.seed}")
        if self.epoch is not None and not 0 <= self.epoch < 2**63:
            raise OptionError(f"epoch must be 0 or more, not {self.epoch}")
        if self.transport not in TRANSPORTS:
            raise OptionError(f"transport must be one of {TRANSPORTS}, not {self.transport!r}")
        if self.memory_budget is not None and self.memory_budget < 1:
            raise OptionError(f"memory_budget is in bytes, not {self.memory_budget}")
        for name in ("connect_timeout", "first_element_timeout", "give_up_after"):
            if getattr(self, name) <= 0:
                raise OptionError(f"{name} is in seconds and above 0, not {getattr(self, name)}")
        if self.batch is not None and not 1 <= self.batch <= MAX_BATCH:
            raise OptionError(f"batch must be 1 to {MAX_BATCH}, not {self.batch}")
        if self.drop_remainder and self.batch is None:
            raise OptionError("drop_remainder=True drops an incomplete last batch: give batch=")
        if not isinstance(self.resume, State | Progress | None):
            raise OptionError(f"resume is a State or a Progress, not {self.resume!r}")
