"""Arrays over memory that somebody wants back, and that tell when nobody uses them any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Bytes", "Lease", "address_of", "lease_of"]

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


class Lease:
    """The owner of an array's memory: when the last view of it is gone, ``ended`` is called.

    That happens on any thread, inside the garbage collector too, so ``ended`` may take no lock, log
    nothing and touch no socket. ``keep`` is kept alive as long.
    """

    __slots__ = ("__array_interface__", "__weakref__", "_ended", "keep")

    def __init__(
        self, address: int, nbytes: int, keep: object, ended: Callable[[], None], *, writable: bool
    ) -> None:
        self.__array_interface__ = {
            "data": (address, not writable), "shape": (nbytes,), "typestr": "|u1", "version": 3,
        }  # fmt: skip
        self.keep = keep
        self._ended = ended

    def array(self) -> Bytes:
        """The memory as flat bytes."""
        return np.asarray(self)

    def __del__(self) -> None:
        self._ended()


def lease_of(array: np.ndarray[Any, Any]) -> Lease | None:
    """The lease that an array is a view of, if it is one."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, Lease) else None


def address_of(array: np.ndarray[Any, Any]) -> int:
    """Where an array's memory begins."""
    address: int = array.__array_interface__["data"][0]
    return address
