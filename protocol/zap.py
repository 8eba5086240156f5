"""Who is let in: ZeroMQ's authentication protocol (RFC 27) for CURVE, and nothing else. Pure.

pyzmq has an authenticator that answers the same questions, on a thread or an asyncio loop of its
own, which lets everybody in until it is told otherwise. Here there is one answer, which is no.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["DOMAIN", "Knock", "answer", "read_knock"]

#: Of all our sockets; libzmq asks nobody where it is empty.
DOMAIN = b"genserver"
VERSION = b"1.0"
#: Frames of a request before the credentials.
HEAD = 6
#: Bytes of a public key.
RAW_KEY = 32
ADMITTED, REFUSED = (b"200", b"OK"), (b"400", b"not a trainer of this server")


@dataclass(frozen=True, slots=True)
class Knock:
    """Somebody who wants to be let in."""

    request: bytes
    address: str
    #: The public key that he has proved to be his, 32 bytes; empty where there is none.
    key: bytes


def read_knock(frames: Sequence[bytes]) -> Knock | None:
    """What libzmq asks; None for what cannot be answered at all."""
    if len(frames) < HEAD or frames[0] != VERSION:
        return None
    _, request, domain, address, _, mechanism = frames[:HEAD]
    credentials = frames[HEAD:]
    proved = mechanism == b"CURVE" and domain == DOMAIN and len(credentials) == 1
    key = credentials[0] if proved and len(credentials[0]) == RAW_KEY else b""
    return Knock(request, address.decode("ascii", "replace"), key)


def answer(knock: Knock, admits: Callable[[bytes], bool]) -> tuple[list[bytes], bool]:
    """The reply, and whether he is let in."""
    admitted = bool(knock.key) and admits(knock.key)
    code, text = ADMITTED if admitted else REFUSED
    user = knock.key.hex().encode() if admitted else b""
    return [VERSION, knock.request, code, text, user, b""], admitted
