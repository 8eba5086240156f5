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
    DEFAULT_NAME,
    FOLDER,
    NONE,
    OWN_SECRET,
    SERVERS_KEY,
    TRAINERS_KEYS,
    ServerKeys,
    TrainerKeys,
    key_problem,
)
from .platform import owner_of_this_process
from .sockets import make_key_pair, public_key_of

__all__ = ["changed_at", "find_server_keys", "find_trainer_keys", "make_keys", "trainers_in"]

SERVER, TRAINERS, SECRET, PUBLIC, SERVER_KEY = (
    "server", "trainers", "secret.key", "public.key", "server.key",
)  # fmt: skip
#: Where container engines put the secrets that a container was given, for it alone to see.
ENGINE_SECRETS = "/run/secrets"
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
    folder = _folder(given, environment)
    if folder == NONE:
        return None
    if folder is not None:
        return _server_keys_in(Path(folder))
    secret = _variable(environment, OWN_SECRET, secret=True)
    if secret is None:
        _check_alone(environment, TRAINERS_KEYS)
        return None
    named = tuple((_variable(environment, TRAINERS_KEYS) or "").split())
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
    folder = _folder(given, environment)
    if folder == NONE:
        return None
    if folder is not None:
        return _trainer_keys_in(Path(folder))
    secret = _variable(environment, OWN_SECRET, secret=True)
    if secret is None:
        _check_alone(environment, SERVERS_KEY)
        return None
    public = public_key_of(_check(secret, OWN_SECRET))
    server = _variable(environment, SERVERS_KEY)
    if server is None and _variable(environment, TRAINERS_KEYS):
        server = public
    return TrainerKeys(public, secret, _check(server or "", SERVERS_KEY))


def _server_keys_in(folder: Path) -> ServerKeys:
    path = _servers_folder(folder)
    secret = _secret(path / SECRET)
    trainers = path / TRAINERS
    _check_unwritable(trainers, os.stat(trainers))
    if not trainers_in(str(trainers.absolute())):
        raise KeyFileError(
            str(trainers), "it holds no trainer's key, so that nobody could connect: "
            "`genserver keygen` makes some",
        )  # fmt: skip
    return ServerKeys(public_key_of(secret), secret, folder=str(trainers.absolute()))


def _trainer_keys_in(folder: Path) -> TrainerKeys:
    path = _trainers_folder(folder)
    secret = _secret(path / SECRET)
    public = public_key_of(secret)
    server = public if (path / TRAINERS).is_dir() else _key_in(path / SERVER_KEY)
    return TrainerKeys(public, secret, server)


def trainers_in(folder: str) -> frozenset[str]:
    """The public keys in a server's folder of trainers; none of what cannot be read, or may have
    been written by others."""
    keys: set[str] = set()
    try:
        _check_unwritable(Path(folder), os.stat(folder))
        with os.scandir(folder) as entries:
            names = sorted(e.path for e in entries if e.name.endswith(".key"))
    except (OSError, KeyFileError):
        return frozenset()
    for name in names[:MAX_TRAINERS]:
        try:
            _check_unwritable(Path(name), os.stat(name))
            keys.add(_key_in(Path(name)))
        except (OSError, KeyFileError):
            continue  # half-written, or no key: it opens the door for nobody
    return frozenset(keys)


def changed_at(folder: str) -> int:
    """When a file last came to a folder or went, in the file system's own time; 0 where nobody
    says."""
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


def make_keys(folder: str, name: str = DEFAULT_NAME) -> list[str]:
    """Make the keys of a trainer, and of the server if it has none yet; the files that were made.

    Raises `KeyFileError`; what was there is never changed.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == SERVER:
        raise KeyFileError(name, "a trainer's name has letters, digits, '.', '_' and '-'")
    server, trainer = Path(folder) / SERVER, Path(folder) / name
    registered = server / TRAINERS / f"{name}.key"
    for there in (trainer, registered):
        if there.exists():
            raise KeyFileError(
                str(there), "it exists already; --name NAME makes keys for another trainer"
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
    made.append(_write(registered, own))
    return made


def _servers_folder(folder: Path) -> Path:
    """The folder itself, or the one in it that is meant."""
    for path in (folder, folder / SERVER):
        if (path / TRAINERS).is_dir():
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


def _folder(given: str | None, environment: Mapping[str, str]) -> str | None:
    """What is given, or else the environment's. An empty one is a mistake, as of a variable of the
    shell that was never set, and must not mean that there are no keys."""
    folder = environment.get(FOLDER) if given is None else given
    if folder == "":
        raise KeyFileError(FOLDER if given is None else "keys", "it is empty: 'none' means none")
    return folder


def _variable(environment: Mapping[str, str], name: str, *, secret: bool = False) -> str | None:
    """A variable's text, or that of the file that it names; None where there is neither."""
    if name in environment:
        return environment[name].strip()
    path = environment.get(f"{name}_FILE")
    return None if path is None else _read(Path(path), secret=secret)


def _check_alone(environment: Mapping[str, str], name: str) -> None:
    """Somebody meant keys, and forgot his own."""
    if _variable(environment, name) is not None:
        raise KeyFileError(name, f"it is there without {OWN_SECRET}")


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
    engines = path.parent.resolve().is_relative_to(ENGINE_SECRETS)
    if found.st_uid not in (us, 0):
        raise KeyFileError(str(path), "the secret belongs to another user")
    if stat.S_IMODE(found.st_mode) & (0o022 if engines else 0o077):
        raise KeyFileError(str(path), f"others may read the secret: chmod 600 {path}")


def _check_unwritable(path: Path, found: os.stat_result) -> None:
    """Whoever may write there lets in whom he likes."""
    us = owner_of_this_process()
    if us is None:
        return
    if found.st_uid not in (us, 0) or stat.S_IMODE(found.st_mode) & 0o022:
        raise KeyFileError(str(path), f"others may write there: chmod go-w {path}")


def _make_folder(path: Path) -> None:
    """With those that it lies in; nobody else may look into any of them."""
    try:
        for folder in (*reversed(path.parents), path):
            if not folder.exists():
                folder.mkdir(mode=0o700)
    except OSError as error:
        raise KeyFileError(str(path), os.strerror(error.errno or 0).lower()) from None


def _write(path: Path, key: str) -> str:
    """A new file, whole or not at all, which nobody else may read."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as error:
        raise KeyFileError(str(path), os.strerror(error.errno or 0).lower()) from None
    try:
        with open(descriptor, "w") as file:
            file.write(f"{key}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink()
        raise KeyFileError(str(path), os.strerror(error.errno or 0).lower()) from None
    return str(path)
