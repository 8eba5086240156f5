"""What a pass will look like: which workers with which global index, how much may wait. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genserver.protocol.errors import GenserverError
from genserver.protocol.messages import Status
from genserver.protocol.spec import ElementSpec
from genserver.protocol.stream import Window

from .options import PullOptions

__all__ = ["INFINITE", "Member", "Plan", "PlanError", "UNKNOWN", "make_plan"]

INFINITE = -1
UNKNOWN = -2

MIB = 2**20
GIB = 2**30
#: An element above this size (bytes) is made one at a time (design 5).
SOLITARY = 64 * MIB
#: What one stream may have waiting unless four elements are more: a few of the largest chunks, and
#: little enough that an epoch that is left early wasted little.
STREAM_BYTES = 128 * MIB
#: The same in elements, for tiny ones.
STREAM_ELEMENTS = 8192


class PlanError(GenserverError):
    """The servers cannot feed one dataset together, or one did not get ready in time.

    The text says which and why.
    """


@dataclass(frozen=True, slots=True)
class Member:
    """One worker of one server, and its global index."""

    server: int
    worker: int
    index: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All that a pass needs to know. ``cardinality`` is a count, `INFINITE` or `UNKNOWN`.

    With ``batch=`` the elements are batches.
    """

    spec: ElementSpec
    #: Bytes of an element, of a whole batch; None when a size is free.
    nbytes: int | None
    cardinality: int
    seed: int
    members: tuple[Member, ...]
    window: Window
    #: How the memory was divided, for the log.
    memory: str
    #: How the workers are reached, for the log.
    way: str = ""
    #: How many items a pass has, `NO_MORE` where their end will tell; None where none are dealt.
    items: int | None = None
    #: Whether another pass may have other servers.
    moving: bool = False
    #: How many workers each server has, and its stage before them.
    workers: tuple[int, ...] = ()
    upstream: tuple[int, ...] = ()
    #: Servers that hand out the same few elements again and again: where, and how many.
    replays: tuple[tuple[str, int], ...] = ()

    @property
    def count(self) -> int:
        """Workers over all servers."""
        return len(self.members)


def make_plan(
    endpoints: Sequence[str], statuses: Sequence[Status], options: PullOptions, *, memory: int,
    moving: bool = False,
) -> Plan:  # fmt: skip
    """Put the servers together; ``memory`` is the machine's or the cgroup's, in bytes. ``moving``:
    another pass may have others.

    `PlanError` when they serve different things, or would serve elements twice unasked.
    """
    first = statuses[0]
    for endpoint, status in zip(endpoints, statuses, strict=True):
        if status.spec != first.spec:
            raise PlanError(
                f"{endpoint} serves {status.spec}, {endpoints[0]} serves {first.spec}: one dataset "
                "needs one element spec"
            )
    _check_recovery(endpoints, statuses, options)
    members = _members(statuses)
    _check_division(endpoints, statuses, len(members))
    assert first.spec is not None  # the callers wait for it
    seed = first.seed if options.seed is None else options.seed
    size = options.batch or 0
    spec = first.spec.batched(size, drop_remainder=options.drop_remainder)
    nbytes = first.spec.nbytes and first.spec.nbytes * max(1, size)
    window, text = _window(nbytes or 0, len(members), options, memory)
    return Plan(
        spec, nbytes, _cardinality(statuses, options, moving=moving), seed, members, window, text,
        items=_items(endpoints, statuses, options),
        workers=tuple(len(status.workers) for status in statuses),
        upstream=tuple(status.upstream for status in statuses), moving=moving,
        replays=tuple((e, s.replay) for e, s in zip(endpoints, statuses, strict=True) if s.replay),
    )  # fmt: skip


def _items(
    endpoints: Sequence[str], statuses: Sequence[Status], options: PullOptions
) -> int | None:  # fmt: skip
    """How many items are dealt; None where each worker takes its share."""
    staged = [status.upstream > 0 for status in statuses]
    if any(staged) and not all(staged):
        raise PlanError("some of the servers have two stages and some have one")
    if options.deterministic or any(status.sharding != "dynamic" for status in statuses):
        if len(statuses) > 1 and any(staged):
            raise PlanError("the stages of several servers can only be used in the default order")
        return None
    for endpoint, status in zip(endpoints, statuses, strict=True):
        if status.items != statuses[0].items:
            raise PlanError(
                f"{endpoint} has {status.items} items, {endpoints[0]} has {statuses[0].items}: all "
                "servers of one dataset need the same items"
            )
    return statuses[0].items


def _members(statuses: Sequence[Status]) -> tuple[Member, ...]:
    members: list[Member] = []
    for server, status in enumerate(statuses):
        members += [Member(server, w.index, len(members) + w.index) for w in status.workers]
    return tuple(members)


def _check_recovery(
    endpoints: Sequence[str], statuses: Sequence[Status], options: PullOptions
) -> None:
    """A stream that goes on with other elements after a worker's death is not the same again."""
    for endpoint, status in zip(endpoints, statuses, strict=True):
        if options.deterministic and status.recovery == "stream":
            raise PlanError(
                f"deterministic=True promises the same elements in every run, and {endpoint} goes "
                "on with other ones after a worker's death (--recovery stream): leave one of the "
                "two out"
            )


def _check_division(endpoints: Sequence[str], statuses: Sequence[Status], count: int) -> None:
    for endpoint, status in zip(endpoints, statuses, strict=True):
        if status.sharding == "single" and count > 1:
            raise PlanError(
                f"{status.generator} at {endpoint} cannot be divided over {count} workers: give it "
                "a parameter named 'worker', or start its server with --sharding off if whole "
                "copies are right, or use that server alone"
            )
        if (status.sharding == "off") != (statuses[0].sharding == "off"):
            raise PlanError("some of the servers divide the work and some do not (--sharding)")


def _cardinality(statuses: Sequence[Status], options: PullOptions, *, moving: bool) -> int:
    """A length is one pass's: of all workers together, or of each where the work is not divided.

    Where servers come and go, only what hangs on no number of them holds for every pass.
    """
    lengths = [status.cardinality for status in statuses]
    if UNKNOWN in lengths:
        return UNKNOWN
    if INFINITE in lengths:
        return INFINITE
    counts = [len(status.workers) for status in statuses]
    if moving and (statuses[0].sharding == "off" or options.batch is not None):
        return UNKNOWN
    if statuses[0].sharding == "off":
        return sum(_batches(n, options) * c for n, c in zip(lengths, counts, strict=True))
    if len(set(lengths)) > 1:
        return UNKNOWN
    if options.batch is not None and sum(counts) > 1:
        return UNKNOWN  # who makes how many, and so how many last batches are smaller, is unknown
    return _batches(lengths[0], options)


def _batches(elements: int, options: PullOptions) -> int:
    """What one worker makes of so many elements."""
    size = options.batch or 1
    return elements // size if options.drop_remainder else -(-elements // size)


def _window(element: int, count: int, options: PullOptions, memory: int) -> tuple[Window, str]:
    """What each of ``count`` streams may have waiting; elements are of so many bytes."""
    budget, formula = options.memory_budget, "memory_budget"
    if budget is None:
        budget = min(max(GIB, count * 4 * element), memory // 4)
        what = "element" if options.batch is None else "batch"
        formula = f"max(1 GiB, workers x 4 x {what}), at most a quarter of the memory"
    share = budget // count
    # Half of the share at most: the rest is for what TensorFlow and the user hold on to.
    nbytes = 1 if element > SOLITARY else max(1, min(share // 2, max(STREAM_BYTES, 4 * element)))
    held = max(element, nbytes) * count
    text = f"up to {held / MIB:.0f} MiB wait here (budget {budget / MIB:.0f} MiB = {formula})"
    return Window(STREAM_ELEMENTS, nbytes, share), text
