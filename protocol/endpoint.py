"""Endpoints as text: ``tcp://HOST:PORT`` and ``ipc://PATH``. Pure: resolves no name."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import EndpointError

__all__ = ["ANY_PATH", "DEFAULT_ENDPOINT", "MAX_IPC_PATH", "Endpoint", "parse_endpoint"]

DEFAULT_ENDPOINT = "tcp://127.0.0.1:5555"
#: As a path: a server listens at a file in its own private folder.
ANY_PATH = "*"
#: sun_path holds 108 bytes with its final zero.
MAX_IPC_PATH = 107
#: Milliseconds between two looks for a server that is not there, first and longest. On this host
#: a look costs a few system calls (0.2 % of a core at this rate), beyond it traffic.
HERE_RETRY_MS, FAR_RETRY_MS = (25, 25), (100, 2000)


#: The digits that int() and the resolver know, and no more than a port has.
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server listens. ``port`` is 0 for ipc, ``path`` "" for tcp."""

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.scheme == "ipc":
            return f"ipc://{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"tcp://{host}:{self.port}"

    @property
    def on_this_host(self) -> bool:
        """Whether the text itself says so: a name, which may be, is not looked up."""
        numbers = self.host.replace(".", "")
        loopback = self.host.startswith("127.") and numbers.isdigit()
        return self.scheme == "ipc" or self.host == "::1" or loopback

    @property
    def retry_ms(self) -> tuple[int, int]:
        """How often to look for a server that is not there: first and longest pause."""
        return HERE_RETRY_MS if self.on_this_host else FAR_RETRY_MS

    def with_port(self, port: int) -> Endpoint:
        """The same host at another port."""
        return Endpoint("tcp", self.host, port)


def parse_endpoint(text: str) -> Endpoint:
    """Read an endpoint; `EndpointError` says what is wrong with it. Port 0 means any free one."""
    scheme, mark, rest = text.partition("://")
    if not mark or scheme not in ("tcp", "ipc"):
        port = text.lstrip(":")
        example = f", for example tcp://127.0.0.1:{port}" if port.isdecimal() else ""
        raise EndpointError(text, f"an endpoint reads tcp://HOST:PORT or ipc://PATH{example}")
    if scheme == "ipc":
        return _parse_ipc(text, rest)
    host, mark, port = rest.rpartition(":")
    if not mark or not host or not _PORT.fullmatch(port) or int(port) > 65535:
        raise EndpointError(text, "a tcp endpoint reads tcp://HOST:PORT, with a port up to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise EndpointError(text, "an IPv6 address goes into brackets: tcp://[::1]:5555")
    if not host or "[" in host or "]" in host:
        raise EndpointError(text, "in brackets goes one IPv6 address: tcp://[::1]:5555")
    return Endpoint("tcp", host, int(port))


def _parse_ipc(text: str, path: str) -> Endpoint:
    if not path or path.startswith("@"):
        raise EndpointError(text, "an ipc endpoint names a file: ipc:///run/user/1000/scans.sock")
    try:
        size = len(path.encode())
    except UnicodeEncodeError:  # an argument of the command line that is no UTF-8
        raise EndpointError(text, "the path is no UTF-8") from None
    if size > MAX_IPC_PATH:
        raise EndpointError(text, f"the path is longer than {MAX_IPC_PATH} bytes")
    return Endpoint("ipc", path=path)
