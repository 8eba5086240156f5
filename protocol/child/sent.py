"""What `from_generator` sends to the workers of its server: the agreement of both sides.

Only its type: the client packs such a dict, a worker makes it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

__all__ = ["Sent"]


class Sent(TypedDict):
    """A generator and how it is called; specs in wire form, None where they are to be found."""

    function: Any
    #: The class whose plain method ``function`` is, or None.
    owner: Any
    args: tuple[Any, ...]
    #: What ``function`` is called with, one by one; None for once in a pass.
    items: Iterable[Any] | None
    #: Calls over ``items`` under way at once.
    concurrency: int
    #: Whether rows of what it yields are the elements.
    unbatch: bool
    spec: list[Any] | None
    #: The dtypes alone, in the structure of an element.
    dtypes: list[Any] | None
