"""How a command asks a server, as a trainer would: its keys, the checks, the first answer.

Owns the connection as long as its block lasts. Raises what `probe` and `top` say when nobody
answers.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from genserver.protocol.endpoint import Endpoint, parse_endpoint
from genserver.protocol.errors import EndpointError, Unreachable
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.messages import Status
from genserver.protocol.transport.connection import Connection, connect
from genserver.protocol.transport.key_files import find_trainer_keys
from genserver.protocol.transport.safety import check_mechanism, check_safe
from genserver.protocol.transport.sockets import check_reachable

from .config import ConfigError

__all__ = ["asked"]

#: Seconds between two looks at what handshakes make of the other end.
TURN_SECONDS = 0.2


@contextlib.contextmanager
def asked(
    text: str, *, seconds: float, keys: str | None, insecure_network: bool
) -> Iterator[tuple[Endpoint, Connection, Status]]:
    """A connection to the server at ``text`` that has answered, and its answer.

    Raises `Unreachable`, `KeyRejected`, and `ConfigError` for what is no endpoint or no keys.
    """
    endpoint = _endpoint(text)
    found = find_trainer_keys(keys) if endpoint.scheme == "tcp" else None
    check_safe(endpoint, keys=found is not None, insecure_network=insecure_network)
    reason = check_reachable(endpoint)
    if reason:
        raise Unreachable(str(endpoint), 0.0, reason)
    check_mechanism(endpoint, keys=found is not None)
    connection = connect(endpoint, keys=found)
    try:
        status, deadline = None, time.monotonic() + seconds
        while status is None and (left := deadline - time.monotonic()) > 0:
            status = connection.wait(lambda _: True, min(TURN_SECONDS, left))
            trouble = connection.trouble
            if trouble is not None:
                check_mechanism(endpoint, keys=found is not None, suspected=trouble)
        if status is None:
            reason = "what listens there does not speak genserver"
            raise Unreachable(str(endpoint), seconds, reason, taken=True)
        yield endpoint, connection, status
    finally:
        connection.release()


def _endpoint(text: str) -> Endpoint:
    try:
        return parse_endpoint(text)
    except EndpointError as error:
        raise ConfigError(str(error), ExitCode.USAGE) from None
