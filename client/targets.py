"""What a user names as servers: endpoints, ranges of ports, and names behind which they come and
go. Pure: resolves no name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from genserver.protocol.endpoint import Endpoint, parse_endpoint
from genserver.protocol.errors import EndpointError

from .options import OptionError

__all__ = ["Target", "endpoints_of", "parse_targets"]

#: Servers that one range of ports may stand for: as many as one server may have workers.
MAX_RANGE = 512
#: A name whose addresses are looked up at the start of each pass.
DNS = "dns+"
#: FIRST-LAST or FIRST-LAST/STEP in the place of a port.
_RANGE = re.compile(r"(.*):(\d{1,5})-(\d{1,5})(?:/(\d{1,5}))?", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Target:
    """One entry of a user's list: its text, and the endpoints that it stands for.

    With ``moving``, their host is a name, and each address behind it has a server at these ports.
    """

    text: str
    endpoints: tuple[Endpoint, ...]
    moving: bool = False

    @property
    def host(self) -> Endpoint:
        """What to look up of a moving one."""
        return self.endpoints[0]

    def at(self, addresses: Iterable[str]) -> tuple[Endpoint, ...]:
        """The endpoints of a moving one, by address: of both families the older one, since a host
        that has both would be taken for two."""
        numbers = sorted(set(addresses), key=_by_number)
        older = [number for number in numbers if ":" not in number]
        return tuple(
            Endpoint("tcp", number, endpoint.port)
            for number in older or numbers
            for endpoint in self.endpoints
        )


def parse_targets(texts: str | Sequence[str]) -> tuple[Target, ...]:
    """Read what a user gave; `EndpointError` or `OptionError` says what is wrong with it."""
    given = [texts] if isinstance(texts, str) else list(texts)
    if not given:
        raise OptionError("give at least one endpoint")
    targets = tuple(map(_parse, given))
    seen: set[tuple[Endpoint, bool]] = set()
    for target in targets:
        for endpoint in target.endpoints:
            if (endpoint, target.moving) in seen:
                raise OptionError(f"an endpoint is given twice: {endpoint} in {given}")
            seen.add((endpoint, target.moving))
    return targets


def endpoints_of(targets: Iterable[Target], found: Iterable[Sequence[str]]) -> list[Endpoint]:
    """The servers behind all targets, each once and in their order; ``found`` are the addresses
    behind those that move, one after the other."""
    addresses = iter(found)
    there = [t.at(next(addresses)) if t.moving else t.endpoints for t in targets]
    return list(dict.fromkeys(endpoint for endpoints in there for endpoint in endpoints))


def _parse(text: str) -> Target:
    moving = text.startswith(DNS)
    named = text.removeprefix(DNS)
    if moving and not named.startswith("tcp://"):
        raise EndpointError(text, "servers behind a name read dns+tcp://NAME:PORT")
    ranged = _RANGE.fullmatch(named) if named.startswith("tcp://") else None
    if ranged is None:
        endpoints: tuple[Endpoint, ...] = (parse_endpoint(named),)
    else:
        numbers = _ports(text, *ranged.group(2, 3, 4))
        endpoints = tuple(parse_endpoint(f"{ranged[1]}:{number}") for number in numbers)
    return Target(text, endpoints, moving)


def _ports(text: str, first: str, last: str, step: str | None) -> range:
    ports = range(int(first), int(last) + 1, int(step or 1) or MAX_RANGE)
    if step is not None and not int(step):
        raise EndpointError(text, "the step between two ports is 1 or more")
    if not 1 <= len(ports) <= MAX_RANGE or not int(first):
        raise EndpointError(
            text, f"a range of ports reads FIRST-LAST or FIRST-LAST/STEP, {MAX_RANGE} at most"
        )
    return ports


def _by_number(address: str) -> tuple[int, tuple[int, ...], str]:
    """172.18.0.10 comes behind 172.18.0.9."""
    parts = address.split(".")
    numbers = tuple(map(int, parts)) if all(map(str.isdigit, parts)) else ()
    return len(numbers) == 0, numbers, address
