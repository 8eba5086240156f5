"""Other hosts on this machine: network namespaces, and cables to them.

One at the end of a cable from here (`host`), or several at a switch (`network`), of which this
process may be another. Needs root, iproute2 and nftables; `why_not` says what is missing, and tests
skip with that sentence. Owns the namespaces and both ends of each cable (a veth pair), gone after
the block. What netem would do is not in every kernel: latency is the proxy's. Imports no pytest:
benchmarks use it, too.

All of them are one kernel, by whose boot a trainer knows its own host: tell it transport="tcp".
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from ipaddress import IPv4Network, ip_interface
from itertools import pairwise

from .processes import eventually

__all__ = ["Host", "IN", "OUT", "Network", "host", "network", "why_not"]

#: Directions, as the other host sees them.
IN, OUT = "input", "output"
_CLONE_NEWNET = 0x40000000
#: Where free networks are looked for, and how often.
_RANGE, _TRIES = IPv4Network("10.213.0.0/16"), 20
#: A cable's two ends, and a switch with its hosts.
_TWO, _MANY = 30, 28
_BRIDGE = "switch"
#: What a shaped cable lets through at once: so much of a second, and no less than a few packets.
_BURST_SECONDS, _BURST_BYTES = 0.002, 4096


@cache
def why_not() -> str:
    """Why there can be no other host here, or ""."""
    for program in ("ip", "nft", "tc"):
        if shutil.which(program) is None:
            return f"the program {program} is missing"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with network(1) as made:
            made.hosts[0].drop(IN)
            made.hosts[0].shape(100)
    except (subprocess.CalledProcessError, OSError) as error:
        said = getattr(error, "stderr", "") or str(error)
        return f"no network namespace: {said.strip()}"
    return ""


class Host:
    """What is at the other end of a cable."""

    def __init__(self, cable: str, address: str, *, switch: str = "", here: str = "") -> None:
        """``cable`` is the name of its other end, in the namespace ``switch`` or here, where that
        has the address ``here``. Both addresses are those of an interface: with a mask."""
        self.name = _new_name()
        #: Where it is reached.
        self.address = address.partition("/")[0]
        self._interface = address
        self._cable, self._switch, self._here = cable, switch, here

    def power_on(self) -> None:
        """With the address that it had, and nothing that runs or that it remembers."""
        _run("ip", "netns", "add", self.name)
        # The same each time: its neighbours remember it for longer than it is off.
        mac = "02:" + ":".join(f"{byte:02x}" for byte in (0, *ip_interface(self._interface).packed))
        far = ["eth0", "address", mac, "netns", self.name]
        _ip(
            f"link add {self._cable} type veth peer name {' '.join(far)}",
            *([f"addr add {self._here} dev {self._cable}"] if self._here else []),
            *([f"link set {self._cable} master {_BRIDGE}"] if self._switch else []),
            f"link set {self._cable} up",
            inside=self._switch,
        )
        _ip(
            "link set lo up", f"addr add {self._interface} dev eth0", "link set eth0 up",
            inside=self.name,
        )  # fmt: skip

    def power_off(self) -> None:
        """Everything in it is gone at once, and nobody is told: first the cable, then SIGKILL."""
        with suppress(subprocess.CalledProcessError):  # it is off, or was never wholly on
            _ip(f"link del {self._cable}", inside=self._switch)
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not eventually(lambda: not self._processes()):
            raise RuntimeError(f"processes of {self.name} outlive SIGKILL: {self._processes()}")
        self.forget()

    def forget(self) -> None:
        """Delete the namespace, and the cable with it."""
        if os.path.exists(self._path):
            _run("ip", "netns", "del", self.name)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread makes inside the block is that host's: sockets, processes, threads."""
        libc = ctypes.CDLL(None, use_errno=True)
        # This thread's own, not the process's, whose first thread may be elsewhere.
        with open("/proc/thread-self/ns/net") as here, open(self._path) as there:
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
        """The cable takes so many megabits a second, each way, until the host is off."""
        burst = max(_BURST_BYTES, int(mbit * 125_000 * _BURST_SECONDS))
        limit = f"root tbf rate {mbit}mbit burst {burst}b latency 50ms".split()
        _run("tc", "qdisc", "replace", "dev", self._cable, *limit, inside=self._switch)
        _run("tc", "qdisc", "replace", "dev", "eth0", *limit, inside=self.name)

    def _rule(self, rule: str, directions: tuple[str, ...]) -> None:
        lines = ["flush ruleset", "add table ip fault"]
        for hook in directions or (IN, OUT):
            kind = f"{{ type filter hook {hook} priority 0 ; }}"
            lines += [f"add chain ip fault {hook} {kind}", f"add rule ip fault {hook} {rule}"]
        _run("nft", "-f", "-", inside=self.name, text="\n".join(lines) + "\n")

    @property
    def _path(self) -> str:
        return f"/run/netns/{self.name}"

    def _processes(self) -> list[int]:
        """Those that run in it, without this one."""
        if not os.path.exists(self._path):
            return []
        found = map(int, _run("ip", "netns", "pids", self.name).split())
        return [pid for pid in found if pid != os.getpid()]


class Network:
    """Hosts at one switch."""

    def __init__(self, hosts: Sequence[Host], here: str) -> None:
        self.hosts = list(hosts)
        #: This process's address in it, or "".
        self.here = here


@contextmanager
def host() -> Iterator[Host]:
    """A new host at the other end of a new cable."""
    near, far = (f"{address}/{_TWO}" for address in _free_network(_TWO).hosts())
    made = Host(_new_cable(), far, here=near)
    try:
        made.power_on()
        yield made
    finally:
        made.forget()


@contextmanager
def network(count: int, *, here: bool = False) -> Iterator[Network]:
    """So many new hosts, 13 at most, which reach each other; and this one, if it is to be ``here``.

    What runs in them when the block ends is killed.
    """
    addresses = [f"{address}/{_MANY}" for address in _free_network(_MANY).hosts()]
    switch = _new_name()
    with ExitStack() as stack:
        _run("ip", "netns", "add", switch)
        stack.callback(_run, "ip", "netns", "del", switch)
        _ip(f"link add {_BRIDGE} type bridge", f"link set {_BRIDGE} up", inside=switch)
        if here:
            cable = _new_cable()
            _ip(
                f"link add {cable} type veth peer name here netns {switch}",
                f"addr add {addresses[0]} dev {cable}", f"link set {cable} up",
            )  # fmt: skip
            stack.callback(_ip, f"link del {cable}")
            _ip(f"link set here master {_BRIDGE}", "link set here up", inside=switch)
        hosts = []
        for number in range(count):
            made = Host(f"host{number}", addresses[number + 1], switch=switch)
            stack.callback(made.power_off)
            made.power_on()
            hosts.append(made)
        yield Network(hosts, addresses[0].partition("/")[0] if here else "")


def _free_network(prefix: int) -> IPv4Network:
    """A network of this size that shares no address with any that this host is in."""
    words = _run("ip", "-4", "-o", "addr").split()
    taken = [ip_interface(text).network for word, text in pairwise(words) if word == "inet"]
    for _ in range(_TRIES):
        offset = secrets.randbelow(2 ** (prefix - _RANGE.prefixlen)) << (32 - prefix)
        found = IPv4Network((int(_RANGE.network_address) + offset, prefix))
        if not any(found.overlaps(other) for other in taken):
            return found
    raise OSError(f"no free network in {_RANGE}")


def _new_name() -> str:
    return f"gs-{secrets.token_hex(4)}"


def _new_cable() -> str:
    """As long as an interface's name may be."""
    return f"gs{secrets.token_hex(4)}"


def _set_namespace(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*commands: str, inside: str = "") -> None:
    """Several commands of `ip` by one process."""
    within = ["-n", inside] if inside else []
    _run("ip", *within, "-batch", "-", text="\n".join(commands) + "\n")


def _run(*command: str, inside: str = "", text: str = "") -> str:
    """What a program printed; `CalledProcessError` with its words when it failed."""
    prefix = ["ip", "netns", "exec", inside] if inside else []
    return subprocess.run(
        [*prefix, *command], check=True, capture_output=True, text=True, input=text, timeout=20
    ).stdout
