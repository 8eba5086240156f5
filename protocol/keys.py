"""The keys of the two ends as values: CURVE key pairs, in the 40 characters of Z85. Pure.

transport/key_files.py finds, reads and writes them; transport/sockets.py makes them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "DEFAULT_NAME", "FOLDER", "KEY_LENGTH", "NONE", "OWN_SECRET", "PUBLISHED", "SERVERS_KEY",
    "TRAINERS_KEYS", "VARIABLES", "ServerKeys", "TrainerKeys", "is_key", "key_problem",
]  # fmt: skip

#: As keys: none, whatever the environment says.
NONE = "none"
#: What a trainer's folder is called unless told otherwise.
DEFAULT_NAME = "trainer"
#: Characters of a key, public or secret.
KEY_LENGTH = 40
#: Base 85 as ZeroMQ writes it (RFC 32): five characters for four bytes.
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
DIGITS = {character: value for value, character in enumerate(ALPHABET)}
GROUP, GROUP_END = 5, 2**32
#: The environment's words: a folder, or the keys themselves, each also as a file with _FILE.
FOLDER, OWN_SECRET, SERVERS_KEY, TRAINERS_KEYS = (
    "GENSERVER_KEYS", "GENSERVER_SECRET_KEY", "GENSERVER_SERVER_KEY", "GENSERVER_TRAINER_KEYS",
)  # fmt: skip
_NAMES = (OWN_SECRET, SERVERS_KEY, TRAINERS_KEYS)
#: All of them.
VARIABLES = (FOLDER, *_NAMES, *(f"{name}_FILE" for name in _NAMES))
#: Keys that stand in libzmq's manual, and from there in programs: everybody knows their secrets.
PUBLISHED = frozenset(
    {
        "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
        "JTKVSB%%)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6",
        "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID",
        "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs",
    }
)


@dataclass(frozen=True, slots=True)
class TrainerKeys:
    """What a trainer proves itself with, and the public key that he expects of the server."""

    public: str
    secret: str = field(repr=False)
    server: str


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """A server's key pair, and whom it lets in: the trainers' public keys.

    Those in ``folder`` are read again when somebody connects and one came or went, so that a file
    that is taken away there closes the door; ``trainers`` are the ones that stay. Whoever has
    the server's own secret may connect as well, as ``genserver probe`` beside it does.
    """

    public: str
    secret: str = field(repr=False)
    folder: str = ""
    trainers: tuple[str, ...] = ()

    def to_wire(self) -> dict[str, Any]:
        """For a worker, through the file that it inherits."""
        return {
            "public": self.public, "secret": self.secret, "folder": self.folder,
            "trainers": list(self.trainers),
        }  # fmt: skip

    @classmethod
    def from_wire(cls, wire: dict[str, Any]) -> ServerKeys:
        """In the worker."""
        return cls(wire["public"], wire["secret"], wire["folder"], tuple(wire["trainers"]))


def is_key(text: str) -> bool:
    """Whether it has the form of a key."""
    if len(text) != KEY_LENGTH or not set(text) <= DIGITS.keys():
        return False
    groups = (text[at : at + GROUP] for at in range(0, KEY_LENGTH, GROUP))
    return all(
        functools.reduce(lambda value, digit: value * len(ALPHABET) + DIGITS[digit], group, 0)
        < GROUP_END
        for group in groups
    )


def key_problem(text: str) -> str:
    """Why it can be no key of anybody's, or ""."""
    if not is_key(text):
        return f"it holds no key ({KEY_LENGTH} characters of Z85)"
    if text in PUBLISHED:
        return "that key stands in ZeroMQ's manual, and everybody has its secret"
    return ""
