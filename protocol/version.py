"""The protocol's version and the features that two ends agree on. Pure."""

from __future__ import annotations

from collections.abc import Collection

__all__ = [
    "MAGIC", "MAJOR", "MEMORY", "MINOR", "TELEMETRY", "agree", "compatible", "refusal_of",
]  # fmt: skip

#: First words of every HELLO, so that a stranger's bytes are told from an old genserver's.
MAGIC = "genserver"
#: Ends of different majors refuse each other. 1 is frozen: its frames are in test_golden.py.
MAJOR = 1
#: Minors only add optional header keys and features.
MINOR = 0
#: Optional abilities, which both ends must name before either uses them: elements in shared memory,
#: and counters in BEAT.
MEMORY, TELEMETRY = "memory", "telemetry"


def compatible(major: int) -> bool:
    """Whether an end that speaks ``major`` can be talked to."""
    return major == MAJOR


def refusal_of(major: int) -> str:
    """What an end that speaks ``major`` is told."""
    older = "the server" if major > MAJOR else "the trainer"
    return f"this server speaks protocol {MAJOR}, the trainer {major}; upgrade {older}"


def agree(theirs: Collection[str], ours: Collection[str]) -> frozenset[str]:
    """The features that both ends have."""
    return frozenset(ours) & frozenset(theirs)
