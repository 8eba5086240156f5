"""What `genserver serve` was asked for, checked. Pure, but for the seed that it draws."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genserver.protocol.endpoint import ANY_PATH, DEFAULT_ENDPOINT, Endpoint, parse_endpoint
from genserver.protocol.errors import EndpointError, GenserverError, KeyFileError, SpecError
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.keys import NONE, VARIABLES, ServerKeys

from .lives import DEFAULT_RESTARTS

if TYPE_CHECKING:
    from genserver.protocol.spec import ElementSpec

__all__ = [
    "ConfigError", "ServeConfig", "check_target", "digest_arguments", "make_config",
    "parse_arguments", "parse_items", "parse_length", "split_target",
]  # fmt: skip

SHARDINGS = ("off", "static", "dynamic")
#: What becomes of a stream whose worker died: it goes on at the first element that did not arrive,
#: by seeking or by running again; by seeking alone; with other elements; not at all.
RECOVERIES = ("auto", "seek", "stream", "none")
MAX_WORKERS = 512
#: Longest target, in bytes: the server's status carries it.
MAX_TARGET = 512


class ConfigError(GenserverError):
    """The server cannot start as asked; ``code`` is the exit code, the text one sentence."""

    def __init__(self, text: str, code: ExitCode = ExitCode.CONFIG) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """One server. ``workers`` and ``sharding`` are None where genserver is to choose.

    With 0 workers the generator runs in the server's own process (in_process.py).
    """

    target: str
    endpoint: Endpoint = field(default_factory=lambda: parse_endpoint(DEFAULT_ENDPOINT))
    workers: int | None = None
    sharding: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    #: What the generator is called with, one by one; None for once in a pass.
    items: list[Any] | None = None
    #: Calls over the items that a worker has under way at once, of an async function.
    concurrency: int = 1
    seed: int = 0
    spec: ElementSpec | None = None
    #: Elements of one pass, -1 endless, -2 unknown; None when the generator's attribute decides.
    length: int | None = None
    insecure_network: bool = False
    #: Of what listens at tcp; None lets in whoever can connect.
    keys: ServerKeys | None = None
    #: The descriptor of the function that `from_generator` sent; None where ``target`` is imported.
    function: int | None = None
    #: Which stage of a pipeline is served: the last, or 1 for the one before it.
    stage: int = 0
    recovery: str = "auto"
    #: Seconds that running elements again may take; None for as long as it takes.
    max_rerun: float | None = None
    #: Restarts of one worker within a minute; one death more ends the server.
    max_restarts: int = DEFAULT_RESTARTS
    #: Seconds in which an element must be made, or its worker is killed; None for any time.
    item_timeout: float | None = None
    #: Elements after which a worker is replaced; None for never.
    max_items: int | None = None
    #: Elements that are kept and handed out in a circle; None where the generator makes each.
    replay: int | None = None
    #: The folders in which changed code replaces all workers; None for no such thing.
    reload: tuple[str, ...] | None = None
    #: Where it tells its figures over HTTP; None for nowhere.
    http: Endpoint | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and not 0 <= self.workers <= MAX_WORKERS:
            raise ConfigError(
                f"--workers must be 1 to {MAX_WORKERS}, or 0 for none but this process",
                ExitCode.USAGE,
            )
        if self.sharding is not None and self.sharding not in SHARDINGS:
            raise ConfigError(f"--sharding must be one of {SHARDINGS}", ExitCode.USAGE)
        if self.concurrency < 1 or (self.concurrency > 1 and self.items is None):
            raise ConfigError("--concurrency is 1 or more, and for --items", ExitCode.USAGE)
        if not 0 <= self.seed < 2**64:
            raise ConfigError("--seed must be 0 to 2**64 - 1", ExitCode.USAGE)
        self._check_supervision()
        if not all(split_target(self.target)):
            raise ConfigError(
                f"{self.target!r} should read MODULE:GENERATOR or FILE.py:GENERATOR, for example "
                "scans:cubes",
                ExitCode.USAGE,
            )
        imported = self.workers != 0 and self.function is None
        if imported and split_target(self.target)[0] == "__main__":
            raise ConfigError(
                "workers cannot import __main__: name the file, such as train.py:"
                f"{split_target(self.target)[1]}",
                ExitCode.USAGE,
            )
        if self.workers == 0 and self.endpoint.path == ANY_PATH:
            raise ConfigError(f"--workers 0 has no folder for ipc://{ANY_PATH}", ExitCode.USAGE)
        if len(self.target.encode(errors="replace")) > MAX_TARGET:
            raise ConfigError(f"the target is longer than {MAX_TARGET} bytes", ExitCode.USAGE)

    def _check_supervision(self) -> None:
        wrong = {
            f"--recovery must be one of {RECOVERIES}": self.recovery not in RECOVERIES,
            "--max-restarts must be 0 or more": self.max_restarts < 0,
            "--max-items must be 1 or more": self.max_items is not None and self.max_items < 1,
            # Written so that "not a number" is refused as well.
            "--max-rerun must be 0 seconds or more": not (self.max_rerun or 0.0) >= 0.0,
            "--item-timeout must be more than 0 seconds": self.item_timeout is not None
            and not self.item_timeout > 0.0,
            "--item-timeout and --max-items end worker processes, and --workers 0 has none": (
                self.workers == 0 and (self.item_timeout, self.max_items) != (None, None)
            ),
            "--max-items replaces workers, and --recovery none makes that an error": (
                self.recovery == "none" and self.max_items is not None
            ),
            "--replay must be 1 or more": self.replay is not None and self.replay < 1,
            "--replay has each worker hand out what it keeps, so nothing is dealt: leave "
            "--sharding dynamic out": self.replay is not None and self.sharding == "dynamic",
            "--max-items replaces workers, and with --replay each would make its elements again": (
                self.replay is not None and self.max_items is not None
            ),
            "--reload replaces worker processes, and --workers 0 has none": (
                self.workers == 0 and self.reload is not None
            ),
            "--http tells how worker processes fare, and --workers 0 has none": (
                self.workers == 0 and self.http is not None
            ),
            "--reload replaces workers, and --recovery none makes that an error": (
                self.recovery == "none" and self.reload is not None
            ),
        }
        for text, applies in wrong.items():
            if applies:
                raise ConfigError(text, ExitCode.USAGE)

    def worker_endpoint(self, control: Endpoint, index: int) -> Endpoint | None:
        """Where worker ``index`` listens beside its file, by the port that the server has bound.

        The control port + 1 + index, so that a firewall rule can be written; where the control
        port was not chosen, neither is the worker's.
        """
        if control.scheme != "tcp":
            return None
        return control.with_port(control.port + 1 + index if self.endpoint.port else 0)


def make_config(
    target: str,
    *,
    bind: str,
    workers: int | None,
    arguments: dict[str, Any],
    items: list[Any] | None = None,
    concurrency: int = 1,
    sharding: str | None = None,
    seed: int | None = None,
    spec: str | None = None,
    length: str | None = None,
    insecure_network: bool = False,
    keys: str | None = None,
    function: int | None = None,
    stage: int = 0,
    recovery: str | None = None,
    max_rerun: float | None = None,
    max_restarts: int | None = None,
    item_timeout: float | None = None,
    max_items: int | None = None,
    replay: int | None = None,
    reload: tuple[str, ...] | None = None,
    http: str | None = None,
) -> ServeConfig:
    """From what a user wrote; `ConfigError` with `ExitCode.USAGE` for what cannot be read."""
    try:
        endpoint = parse_endpoint(bind)
        declared = None if spec is None else _declared(spec)
        found = _keys(endpoint, keys)
    except (EndpointError, SpecError) as error:
        raise ConfigError(str(error), ExitCode.USAGE) from None
    except KeyFileError as error:
        raise ConfigError(str(error)) from None
    return ServeConfig(
        target=target,
        endpoint=endpoint,
        workers=workers,
        sharding=sharding,
        arguments=arguments,
        items=items,
        concurrency=concurrency,
        seed=int.from_bytes(os.urandom(4), "big") if seed is None else seed,
        spec=declared,
        length=None if length is None else parse_length(length),
        insecure_network=insecure_network,
        keys=found,
        function=function,
        stage=stage,
        recovery="auto" if recovery is None else recovery,
        max_rerun=max_rerun,
        max_restarts=DEFAULT_RESTARTS if max_restarts is None else max_restarts,
        item_timeout=item_timeout,
        max_items=max_items,
        replay=replay,
        reload=reload,
        http=None if http is None else _http(http),
    )


def _http(text: str) -> Endpoint:
    try:
        return parse_endpoint(f"tcp://{text}")
    except EndpointError:
        raise ConfigError(
            f"--http {text!r} should read HOST:PORT, such as 127.0.0.1:9400 or [::1]:9400",
            ExitCode.USAGE,
        ) from None


def _keys(endpoint: Endpoint, given: str | None) -> ServerKeys | None:
    """Those of the command line, or of the environment. Most servers have none, and do without what
    reads them."""
    if endpoint.scheme == "ipc":
        if given not in (None, NONE):
            raise EndpointError(
                str(endpoint), "--keys are for tcp; a socket file lets in its owner alone"
            )
        return None
    if given is None and not any(name in os.environ for name in VARIABLES):
        return None
    from genserver.protocol.transport.key_files import find_server_keys

    return find_server_keys(given)


def _declared(text: str) -> ElementSpec:
    """Specs know numpy, which takes its time to import; most servers are told none."""
    from genserver.protocol.spec import parse_spec

    return parse_spec(text)


def check_target(target: object) -> None:
    """`TypeError` for a function where its name is wanted; says the name where it has one."""
    if isinstance(target, str):
        return
    module, name = (getattr(target, part, None) for part in ("__module__", "__qualname__"))
    named = isinstance(name, str) and "<" not in name  # as in <lambda> and <locals>
    hint = ""
    if named and module == "__main__":
        hint = f"; name the file of this one, such as 'train.py:{name}'"
    elif named and callable(target) and isinstance(module, str):
        hint = f"; this one is '{module}:{name}'"
    raise TypeError(
        "Server takes 'MODULE:GENERATOR' as text, such as 'scans:cubes', because workers import it"
        f"{hint}"
    )


def split_target(target: str) -> tuple[str, str]:
    """(module or file, generator); "" for what is missing. A file ends in ``.py``."""
    file, mark, name = target.rpartition(":")
    if mark and file.endswith(".py"):
        return file, name
    module, _, name = target.partition(":")
    return module, name


def parse_arguments(pairs: list[str]) -> dict[str, Any]:
    """``KEY=VALUE`` pairs; a value that is JSON is read as such, any other is text."""
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not key.isidentifier():
            raise ConfigError(f"--arg {pair!r} should read KEY=VALUE", ExitCode.USAGE)
        if key in arguments:
            raise ConfigError(f"--arg {key} is given twice", ExitCode.USAGE)
        arguments[key] = _value(value)
    return arguments


def parse_items(texts: list[str]) -> list[Any]:
    """Items as the command line has them: each is JSON or text, and ``@FILE`` stands for its
    lines."""
    items: list[Any] = []
    for text in texts:
        if not text.startswith("@"):
            items.append(_value(text))
            continue
        try:
            lines = Path(text[1:]).expanduser().read_text().splitlines()
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"--items {text}: {error}", ExitCode.USAGE) from None
        items += [_value(line) for line in lines if line.strip()]
    return items


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def digest_arguments(arguments: dict[str, Any], items: list[Any] | None = None) -> str:
    """Tells other arguments or items from these, not what they are; "" where they are no plain
    data, as those of a server within the trainer may be."""
    try:
        text = json.dumps(arguments if items is None else [arguments, items], sort_keys=True)
    except (TypeError, ValueError):
        return ""
    return f"{zlib.crc32(text.encode()):08x}"


def parse_length(text: str) -> int:
    """A count of elements, or "infinite" (-1)."""
    if text == "infinite":
        return -1
    if not text.isdigit():
        raise ConfigError(f"{text!r} is neither a count nor 'infinite'", ExitCode.USAGE)
    return int(text)
