"""What all lanes of one pass share where the trainer deals the items. Pure.

`Items` are used by the I/O thread alone once streams are open.
"""

from __future__ import annotations

import secrets

from genserver.protocol.dealing import Deals, Items

from .passes import Finished
from .plan import Member, Plan
from .ranges import Ranges

__all__ = ["Handout", "space_of"]


class Handout:
    """The items of one pass: those of a list are dealt to the workers of all servers alike, those
    that a stage makes to the workers of its server."""

    def __init__(self, plan: Plan, finished: Finished = ()) -> None:
        """``finished`` are not dealt again."""
        assert plan.items is not None  # the caller looked
        self._plan = plan
        #: What all streams of the pass are known by, to the stages of the servers.
        self.group = secrets.randbits(63) + 1
        counts = plan.workers if any(plan.upstream) else (plan.count,)
        # Numberings of which nothing was finished may be missing.
        done = [Ranges(pairs) for pairs in finished] + [Ranges() for _ in counts[len(finished) :]]
        self._items = [
            Items(plan.items, count, stride=max(1, stride), done=known)
            for count, stride, known in zip(counts, plan.upstream, done, strict=False)
        ]

    def deals(self, member: Member) -> Deals:
        """For the stream of one worker."""
        if len(self._items) > 1 or any(self._plan.upstream):
            return Deals(self._items[member.server], member.worker)
        return Deals(self._items[0], member.index)

    def upstream(self, member: Member) -> tuple[int, int]:
        """Which of the first stage's workers, over all servers, are those of the worker's server:
        the first one's number, and how many there are in all."""
        before = self._plan.upstream[: member.server]
        return sum(before), sum(self._plan.upstream)


def space_of(plan: Plan, member: Member) -> int:
    """Which numbering of items a worker's are of."""
    return member.server if any(plan.upstream) else 0
