"""The keys of the two ends as files, and where they are looked for.

    DIR/server/secret.key           the server's secret          for its host alone, mode 0600
    DIR/server/public.key           and what belongs to it
    DIR/server/trainers/NAME.key    public keys of those who may connect
    DIR/NAME/secret.key             a trainer's secret           for his host alone, mode 0600
    DIR/NAME/server.key             the server's public key

Each end needs its own folder only; one that is given DIR takes its own. In containers environment
variables and the files of the engine's secrets do the same. A secret is in no argument, no log, no
`repr` and no error.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from ..errors import KeyFileError
from ..keys import (
    FOLDER,
    OWN_SECRET,
    SERVERS_KEY,
    TRAINERS_KEYS,
    ServerKeys,
    TrainerKeys,
    key_problem,
)
from .platform import owner_of_this_process
from .sockets import make_key_pair, public_key_of

__all__ = [
    "DEFAULT_NAME", "NONE", "find_server_keys", "find_trainer_keys", "make_keys",
    "trainers_in",
]  # fmt: skip

#: As keys: none, whatever the environment says.
NONE = "none"
#: What a trainer's folder is called unless told otherwise.
DEFAULT_NAME = "trainer"
SERVER, TRAINERS, SECRET, PUBLIC, SERVER_KEY = (
    "server", "trainers", "secret.key", "public.key", "server.key",
)  # fmt: skip
#: Where container engines put the secrets that a container was given, for it alone to see.
ENGINE_SECRETS = "/run/secrets/"
#: Longest key file, in bytes: a comment beside the key is allowed.
LONGEST_FILE = 4096
#: Trainers that a server knows at most.
MAX_TRAINERS = 1024


def find_server_keys(
    given: str | None, environment: Mapping[str, str] = os.environ
) -> ServerKeys | None:
    """Of a server: those in the folder ``given``, else in the environment; None without any.

    Raises `KeyFileError`.
    """
    folder = given or environment.get(FOLDER)
    if given == NONE or (folder == NONE and given is None):
        return None
    if folder:
        path = _own_folder(Path(folder), SERVER, TRAINERS)
        secret = _secret(path / SECRET)
        trainers = path / TRAINERS
        if not trainers_in(str(trainers.absolute())):
            raise KeyFileError(
                str(trainers), "it holds no trainer's key, so that nobody could connect: "
                "`genserver keygen` makes some",
            )  # fmt: skip
        return ServerKeys(public_key_of(secret), secret, folder=str(trainers.absolute()))
    secret = _variable(environment, OWN_SECRET, secret=True)
    if not secret:
        return None
    named = tuple(_variable(environment, TRAINERS_KEYS).split())
    for key in named:
        _check(key, TRAINERS_KEYS)
    if not named:
        raise KeyFileError(TRAINERS_KEYS, "it names no trainer's public key")
    return ServerKeys(public_key_of(_check(secret, OWN_SECRET)), secret, trainers=named)


def find_trainer_keys(
    given: str | None, environment: Mapping[str, str] = os.environ
) -> TrainerKeys | None:
    """Of a trainer, in the same way. The server's own folder will do, too: for a probe beside it.

    Raises `KeyFileError`.
    """
    folder = given or environment.get(FOLDER)
    if given == NONE or (folder == NONE and given is None):
        return None
    if folder:
        path = _trainers_folder(Path(folder))
        secret = _secret(path / SECRET)
        public = public_key_of(secret)
        server = public if (path / TRAINERS).is_dir() else _key_in(path / SERVER_KEY)
        return TrainerKeys(public, secret, server)
    secret = _variable(environment, OWN_SECRET, secret=True)
    if not secret:
        return None
    public = public_key_of(_check(secret, OWN_SECRET))
    server = _variable(environment, SERVERS_KEY)
    if not server and _variable(environment, TRAINERS_KEYS):
        server = public
    return TrainerKeys(public, secret, _check(server, SERVERS_KEY))


def trainers_in(folder: str) -> frozenset[str]:
    """The public keys in a server's folder of trainers; none of what cannot be read."""
    keys: set[str] = set()
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.path for e in entries if e.name.endswith(".key"))[:MAX_TRAINERS]
    except OSError:
        return frozenset()
    for name in names:
        try:
            keys.add(_key_in(Path(name)))
        except KeyFileError:
            continue  # half-written, or no key: it opens the door for nobody
    return frozenset(keys)


def make_keys(folder: str, name: str = DEFAULT_NAME) -> list[str]:
    """Make the keys of a trainer, and of the server if it has none yet; the files that were made.

    Raises `KeyFileError`; what was there is never changed.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == SERVER:
        raise KeyFileError(name, "a trainer's name has letters, digits, '.', '_' and '-'")
    server, trainer = Path(folder) / SERVER, Path(folder) / name
    if trainer.exists():
        raise KeyFileError(
            str(trainer), "it exists already; --name NAME makes keys for another trainer"
        )
    made: list[str] = []
    if (server / SECRET).exists():
        public = public_key_of(_secret(server / SECRET))
    else:
        _make_folder(server / TRAINERS)
        public, secret = make_key_pair()
        made += [_write(server / SECRET, secret), _write(server / PUBLIC, public)]
    _make_folder(trainer)
    own, secret = make_key_pair()
    made += [_write(trainer / SECRET, secret), _write(trainer / SERVER_KEY, public)]
    made.append(_write(server / TRAINERS / f"{name}.key", own))
    return made


def _own_folder(folder: Path, own: str, mark: str) -> Path:
    """The folder itself, or the one in it that is meant; ``mark`` is what such a one holds."""
    for path in (folder, folder / own):
        if (path / mark).exists():
            return path
    if (folder / SERVER_KEY).exists():
        raise KeyFileError(
            str(folder), "these are a trainer's keys; a server takes those in DIR/server"
        )
    raise KeyFileError(
        str(folder), "there are no keys of a server; `genserver keygen DIR` makes some"
    )


def _trainers_folder(folder: Path) -> Path:
    for path in (folder, folder / DEFAULT_NAME):
        if (path / SERVER_KEY).exists() or (path == folder and (path / TRAINERS).is_dir()):
            return path
    try:
        others = sorted(path.name for path in folder.iterdir() if (path / SERVER_KEY).exists())
    except OSError as error:
        raise KeyFileError(str(folder), os.strerror(error.errno or 0).lower()) from None
    if len(others) == 1:
        return folder / others[0]
    found = f"; it has {', '.join(others)}: name one of these folders" if others else ""
    hint = "" if others else "; `genserver keygen DIR` makes some"
    raise KeyFileError(str(folder), f"there are no keys of a trainer{found}{hint}")


def _variable(environment: Mapping[str, str], name: str, *, secret: bool = False) -> str:
    """A variable's text, or that of the file that it names."""
    if environment.get(name):
        return environment[name].strip()
    path = environment.get(f"{name}_FILE")
    return "" if not path else _read(Path(path), secret=secret)


def _check(text: str, source: str) -> str:
    problem = key_problem(text)
    if problem:
        raise KeyFileError(source, problem)
    return text


def _secret(path: Path) -> str:
    return _check(_read(path, secret=True), str(path))


def _key_in(path: Path) -> str:
    return _check(_read(path), str(path))


def _read(path: Path, *, secret: bool = False) -> str:
    """The text of a file without its comments; a secret is refused that others might know."""
    try:
        with open(path, "rb") as file:
            if secret:
                _check_private(path, os.fstat(file.fileno()))
            text = file.read(LONGEST_FILE).decode("ascii", "replace")
    except OSError as error:
        raise KeyFileError(str(path), os.strerror(error.errno or 0).lower()) from None
    return "\n".join(line for line in text.splitlines() if not line.startswith("# ")).strip()


def _check_private(path: Path, found: os.stat_result) -> None:
    us = owner_of_this_process()
    if us is None:
        return  # a system whose files have no such owners and modes
    engines = str(path.absolute()).startswith(ENGINE_SECRETS)
    if found.st_uid not in (us, 0):
        raise KeyFileError(str(path), "the secret belongs to another user")
    if stat.S_IMODE(found.st_mode) & (0o022 if engines else 0o077):
        raise KeyFileError(str(path), f"others may read the secret: chmod 600 {path}")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KeyFileError(str(path), os.strerror(error.errno or 0).lower()) from None


def _write(path: Path, key: str) -> str:
    """A new file, whole or not at all, which nobody else may read."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
        with open(descriptor, "w") as file:
            file.write(f"{key}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise KeyFileError(str(path), os.strerror(error.errno or 0).lower()) from None
    return str(path)
