"""The private folder of a server's sockets: mode 0700, locked while its server lives.

A server that was killed cannot remove its folder; the next one of the same user does, when it can
take the lock.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from genserver.protocol.endpoint import MAX_IPC_PATH
from genserver.protocol.transport.platform import RUNTIME_DIR, private_folder_parent, try_lock

from .config import ConfigError

__all__ = ["PrivateFolder"]

_PREFIX = "genserver-"
_LOCK = "lock"
#: What a folder's name and the longest file in it add to the path of its parent.
_LONGEST = len(f"/{_PREFIX}abcdefgh/511.sock.lock")


class PrivateFolder:
    """Made at construction; `remove` it after the last socket in it is closed."""

    def __init__(self) -> None:
        """Raises `ConfigError` where there can be none."""
        parent = private_folder_parent()
        if len(os.fsencode(parent)) + _LONGEST > MAX_IPC_PATH:
            raise ConfigError(
                f"the folder for sockets, {parent}, has a path that is too long for them: name "
                f"another with {RUNTIME_DIR}"
            )
        _remove_abandoned(Path(parent))
        try:
            self.path = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
        except OSError as error:
            raise ConfigError(
                f"the folder for sockets, {parent} ({RUNTIME_DIR}): {os.strerror(error.errno or 0)}"
            ) from None
        try:
            # Locked before it has the name by which other servers look for abandoned folders.
            path = os.path.join(self.path, _LOCK)
            self._lock = os.open(path + ".new", os.O_CREAT | os.O_RDWR, 0o600)
            try_lock(self._lock)
            os.rename(path + ".new", path)
        except BaseException:  # Ctrl-C as well: without its lock nobody would ever remove it
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    def remove(self) -> None:
        """Remove the folder with whatever is left in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def _remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(_PREFIX + "*"):
        try:
            if folder.is_symlink() or folder.lstat().st_uid != os.getuid():
                continue
            # A folder without a lock may be a moment old. Leave it.
            lock = os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        if try_lock(lock):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
