"""The file of a picture: found to be writable beforehand, and replaced as a whole.

Owns no open file between its calls. What is at the path is the old picture or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

__all__ = ["SUFFIXES", "PictureFile"]

#: What can be drawn, by the end of its name.
SUFFIXES = {".png": "png", ".svg": "svg", ".pdf": "pdf", ".jpg": "jpg", ".jpeg": "jpg"}


class PictureFile:
    """One picture. One thread."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        #: "png", "svg", "pdf" or "jpg".
        self.kind = SUFFIXES[self._path.suffix.lower()]
        # Beside it, where replacing is one step; another process has another number.
        self._new = self._path.with_name(f".genserver-{os.getpid()}.{self.kind}")

    def check(self) -> None:
        """Raises the OSError that writing would raise."""
        if self._path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(self._path))
        self._new.touch()
        self._new.unlink()

    def write(self, data: bytes) -> None:
        """Put it in the place of what is there."""
        try:
            self._new.write_bytes(data)
            self._new.replace(self._path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._new.unlink()
