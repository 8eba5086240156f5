"""Another host on this machine: a network namespace, and a cable to it.

Needs root, iproute2 and nftables; `why_not` says what is missing, and tests skip with that
sentence. Owns the namespace and both ends of the cable (a veth pair), gone after the block.
What netem would do is not in every kernel: latency is the proxy's.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

__all__ = ["Host", "IN", "OUT", "host", "why_not"]

#: Directions, as the other host sees them.
IN, OUT = "input", "output"
_CLONE_NEWNET = 0x40000000
#: Addresses to try for a free network of four: 10.213.x.y.
_TRIES = 20


@cache
def why_not() -> str:
    """Why there can be no other host here, or ""."""
    for program in ("ip", "nft", "tc"):
        if shutil.which(program) is None:
            return f"the program {program} is missing"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with host() as other:
            other.drop(IN)
    except (subprocess.CalledProcessError, OSError) as error:
        said = getattr(error, "stderr", "") or str(error)
        return f"no network namespace: {said.strip()}"
    return ""


class Host:
    """The other end of the cable."""

    def __init__(self, name: str, cable: str, address: str) -> None:
        self.name = name
        #: Where it is reached from here.
        self.address = address
        self._cable = cable

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets and processes that this thread makes inside the block are that host's."""
        libc = ctypes.CDLL(None, use_errno=True)
        # This thread's own, not the process's, whose first thread may be elsewhere.
        with open("/proc/thread-self/ns/net") as here, open(f"/run/netns/{self.name}") as there:
            _set_namespace(libc, there.fileno())
            try:
                yield
            finally:
                _set_namespace(libc, here.fileno())

    def drop(self, *directions: str) -> None:
        """Packets vanish, as behind a cable that was cut; by default both ways."""
        self._rule("drop", directions)

    def reset(self, *directions: str) -> None:
        """Packets are answered with RST, as by a firewall that forgot the connection."""
        self._rule("meta l4proto tcp reject with tcp reset", directions)

    def lose(self, percent: int, *directions: str) -> None:
        """So many of a hundred packets vanish, at random."""
        self._rule(f"numgen random mod 100 < {percent} drop", directions)

    def heal(self) -> None:
        """Every packet passes again."""
        _run("nft", "flush", "ruleset", inside=self.name)

    def shape(self, mbit: int) -> None:
        """The cable takes so many megabits a second, each way."""
        limit = f"root tbf rate {mbit}mbit burst 32kbit latency 50ms".split()
        _run("tc", "qdisc", "replace", "dev", self._cable, *limit)
        _run("tc", "qdisc", "replace", "dev", "eth0", *limit, inside=self.name)

    def _rule(self, rule: str, directions: tuple[str, ...]) -> None:
        lines = ["flush ruleset", "add table ip fault"]
        for hook in directions or (IN, OUT):
            kind = f"{{ type filter hook {hook} priority 0 ; }}"
            lines += [f"add chain ip fault {hook} {kind}", f"add rule ip fault {hook} {rule}"]
        _run("nft", "-f", "-", inside=self.name, text="\n".join(lines) + "\n")


@contextmanager
def host() -> Iterator[Host]:
    """A new host at the other end of a new cable."""
    name = f"gs-{secrets.token_hex(4)}"
    cable = f"gs{secrets.token_hex(4)}"
    _run("ip", "netns", "add", name)
    try:
        _run("ip", "link", "set", "lo", "up", inside=name)
        _run("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        there = _connected(cable)
        _run("ip", "link", "set", cable, "up")
        _run("ip", "addr", "add", f"{there}/30", "dev", "eth0", inside=name)
        _run("ip", "link", "set", "eth0", "up", inside=name)
        yield Host(name, cable, there)
    finally:
        # The namespace takes its end of the cable with it, and so the other one.
        _run("ip", "netns", "del", name)


def _connected(cable: str) -> str:
    """Give our end an address in a network that nobody has; the address for the other end."""
    taken = _run("ip", "-4", "-o", "addr")
    for _ in range(_TRIES):
        third, fourth = secrets.randbelow(256), secrets.randbelow(64) * 4
        here = f"10.213.{third}.{fourth + 1}"
        if f" {here}/" not in taken:
            _run("ip", "addr", "add", f"{here}/30", "dev", cable)
            return f"10.213.{third}.{fourth + 2}"
    raise OSError("no free network below 10.213.0.0")


def _set_namespace(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command: str, inside: str = "", text: str = "") -> str:
    """What a program printed; `CalledProcessError` with its words when it failed."""
    prefix = ["ip", "netns", "exec", inside] if inside else []
    return subprocess.run(
        [*prefix, *command], check=True, capture_output=True, text=True, input=text, timeout=20
    ).stdout
