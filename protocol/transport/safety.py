"""Whether an endpoint may be used as it is: beyond this host only with keys, and as the server has
them or not."""

from __future__ import annotations

import ipaddress

from ..endpoint import Endpoint
from ..errors import EndpointError, Rejected
from ..handshake import KeyTrouble, mismatch, rejected
from .sockets import addresses_of, mechanism_at

__all__ = ["beyond_this_host", "check_mechanism", "check_safe"]


def check_safe(endpoint: Endpoint, *, keys: bool, insecure_network: bool) -> None:
    """`EndpointError` for an endpoint beyond this host without ``keys`` (rule T1)."""
    if endpoint.scheme == "ipc" or keys or insecure_network or not beyond_this_host(endpoint):
        return
    raise EndpointError(
        str(endpoint),
        "beyond this host anyone could connect: make keys with `genserver keygen keys` and give "
        "--keys keys (keys= in Python), take tcp://127.0.0.1:PORT, or on a network that you trust "
        "--insecure-network (insecure_network=True)",
    )


def beyond_this_host(endpoint: Endpoint) -> bool:
    """Whether a tcp endpoint can be reached from another host; looks names up."""
    return not all(ipaddress.ip_address(a).is_loopback for a in addresses_of(endpoint))


def check_mechanism(endpoint: Endpoint, *, keys: bool, suspected: Rejected | None = None) -> None:
    """`KeyRejected` where only one of the two ends has keys, or where what was ``suspected`` is so.
    Connects, and waits 2 s at most."""
    if endpoint.scheme == "ipc":
        return
    trouble = mismatch(mechanism_at(endpoint), keys=keys)
    if trouble is not None:
        raise rejected(str(endpoint), trouble.code.value, trouble.text)
    if suspected is not None and suspected.code == KeyTrouble.WRONG_SERVER_KEY:
        raise suspected
