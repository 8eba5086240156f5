"""Memory that two processes share.

A segment is one sealed memfd: it has no name, so nothing can be left behind, and its size can never
change, so that nobody who mapped it is killed by a bus error. The worker maps it for writing, then
seals it against every further writer; the trainer maps it read-only. Linux only, so it is imported
where `platform.has_memory` said yes.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os

from ..errors import RemoteProtocolError

__all__ = ["Mapping", "Segment"]

# From the kernel's headers; Python 3.11 names only some of them.
_F_ADD_SEALS, _F_GET_SEALS = 1033, 1034
_SEAL_SEAL, _SEAL_SHRINK, _SEAL_GROW, _SEAL_FUTURE_WRITE = 0x1, 0x2, 0x4, 0x10
_SEALS = _SEAL_SEAL | _SEAL_SHRINK | _SEAL_GROW | _SEAL_FUTURE_WRITE

_MAP_FAILED = ctypes.c_void_p(-1).value
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
]  # fmt: skip
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class _Memory:
    """A mapping of a whole file; unmapped with the last reference."""

    def __init__(self, fd: int, size: int, protection: int) -> None:
        # Python's own mmap objects keep a descriptor open each, and a trainer may have 1,024.
        address = _libc.mmap(None, size, protection, mmap.MAP_SHARED | mmap.MAP_POPULATE, fd, 0)
        self.address = 0 if address is None or address == _MAP_FAILED else address
        if not self.address:
            raise OSError(ctypes.get_errno(), "mmap failed")
        self.size = size

    def __del__(self) -> None:
        if self.address:
            _libc.munmap(self.address, self.size)


class Segment:
    """The worker's side of one segment; everything goes with the last reference."""

    def __init__(self, size: int) -> None:
        """``size`` is in bytes, whole pages. Raises `OSError` when there is no memory for it."""
        self.size = size
        self.fd = os.memfd_create("genserver", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            # Pages that are missing later would end the process; here they are an error.
            os.posix_fallocate(self.fd, 0, size)
            self._memory = _Memory(self.fd, size, mmap.PROT_READ | mmap.PROT_WRITE)
            fcntl.fcntl(self.fd, _F_ADD_SEALS, _SEALS)
        except OSError:
            self.close_file()
            raise

    @property
    def address(self) -> int:
        return self._memory.address

    def close_file(self) -> None:
        """The descriptor was passed on, or will never be; the memory stays."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close_file()


class Mapping:
    """The trainer's side of one segment, read-only; unmapped with the last reference."""

    def __init__(self, fd: int, size: int) -> None:
        """Takes the descriptor over. `RemoteProtocolError` for anything but a sealed segment."""
        try:
            if os.fstat(fd).st_size != size or fcntl.fcntl(fd, _F_GET_SEALS) & _SEALS != _SEALS:
                raise RemoteProtocolError("shared memory that is not sealed, or of another size")
            self._memory = _Memory(fd, size, mmap.PROT_READ)
        except OSError as error:
            raise RemoteProtocolError(f"shared memory that cannot be mapped: {error}") from None
        finally:
            os.close(fd)
        self.size = size

    @property
    def address(self) -> int:
        return self._memory.address
