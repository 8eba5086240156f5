"""What a trainer learns of a handshake that fails, below the protocol's own HELLO. Pure.

libzmq tries again for ever, and says nothing on the socket itself; its monitor tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from .errors import KeyRejected, Rejected

__all__ = ["CLOSED_FOR", "Handshakes", "KeyTrouble", "Shake", "Trouble", "mismatch", "rejected"]

#: Seconds of connections that the other end closes, and nothing else, after which that is no
#: accident: a server whose key is another one does just that, and whatever is no genserver.
CLOSED_FOR = 2.0


class Shake(Enum):
    """How one handshake went."""

    SUCCEEDED = "succeeded"
    #: The server said no.
    REFUSED = "refused"
    #: One end has keys, and the other has none.
    MISMATCH = "mismatch"
    #: The other end closed the connection.
    CLOSED = "closed"
    #: Nobody listened, so that there was none.
    ABSENT = "absent"


class KeyTrouble(StrEnum):
    """Why the keys of the two ends do not go together."""

    UNKNOWN_KEY = "unknown_key"
    WRONG_SERVER_KEY = "wrong_server_key"
    KEYS_NEEDED = "keys_needed"
    KEYS_UNUSED = "keys_unused"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong, and whether it is sure: it may also be that something else listens there,
    whose noise is taken for an answer."""

    code: KeyTrouble
    text: str
    sure: bool = True


UNUSED = Trouble(
    KeyTrouble.KEYS_UNUSED,
    "it was started without keys: start it with --keys, or give keys='none'",
    sure=False,
)
NEEDED = Trouble(
    KeyTrouble.KEYS_NEEDED,
    "it lets nobody in without keys: give keys= (--keys, GENSERVER_KEYS), the folder that "
    "`genserver keygen` made for this trainer",
    sure=False,
)


def mismatch(mechanism: str, *, keys: bool) -> Trouble | None:
    """What is wrong where the server names this mechanism, and the trainer has keys or none."""
    if mechanism == "CURVE" and not keys:
        return NEEDED
    return UNUSED if mechanism == "NULL" and keys else None


def rejected(endpoint: str, code: str, text: str) -> Rejected:
    """The error for a server that refuses, by its code."""
    kind = KeyRejected if code in set(KeyTrouble) else Rejected
    return kind(endpoint, code, text)


class Handshakes:
    """Those of one endpoint, one after the other."""

    def __init__(self, public: str = "") -> None:
        """``public`` is the trainer's own key, "" if it has none."""
        self._public = public
        self._closed_since: float | None = None

    def saw(self, shake: Shake, now: float) -> Trouble | None:
        """What is to be thought of it, if anything."""
        if shake is not Shake.CLOSED:
            self._closed_since = None
        if shake is Shake.REFUSED:
            return Trouble(
                KeyTrouble.UNKNOWN_KEY,
                f"it does not know this trainer's public key, {self._public}: it belongs into the "
                "server's folder of trainers",
            )
        if shake is Shake.MISMATCH:
            return UNUSED if self._public else NEEDED
        if shake is Shake.CLOSED and self._public:
            self._closed_since = now if self._closed_since is None else self._closed_since
            if now - self._closed_since >= CLOSED_FOR:
                return Trouble(
                    KeyTrouble.WRONG_SERVER_KEY,
                    "it closes the connection while keys are exchanged: its key is not the one in "
                    "this trainer's server.key, or what listens there is no genserver",
                    sure=False,
                )
        return None
