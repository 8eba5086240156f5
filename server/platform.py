"""What depends on the operating system, in one place. Every function has a portable answer."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import tempfile

__all__ = ["die_with_parent", "private_folder_parent", "usable_cores"]

_PR_SET_PDEATHSIG = 1


def usable_cores() -> int:
    """Cores that this process may use: affinity and the cgroup's quota count, not the machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _cgroup_quota()
    return max(1, min(cores or 1, int(quota) if quota is not None and quota >= 1 else cores or 1))


def _cgroup_quota() -> float | None:
    """The cgroup's CPU limit in cores, or None: version 2's file, then version 1's pair."""
    text = _read("/sys/fs/cgroup/cpu.max").split()
    if len(text) == 2 and text[0] != "max":
        return int(text[0]) / int(text[1])
    quota = _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").strip()
    period = _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us").strip()
    if quota and period and int(quota) > 0:
        return int(quota) / int(period)
    return None


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def die_with_parent(parent: int) -> bool:
    """Have the kernel kill this process when its parent ends; False if the parent is gone already.

    The parent may end between the fork and this call: hence the look at its pid afterwards. Other
    systems rely on the death pipe, which every worker watches as well.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    return os.getppid() == parent


def private_folder_parent() -> str:
    """Where a private folder for sockets belongs."""
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    return folder if folder and os.access(folder, os.W_OK | os.X_OK) else tempfile.gettempdir()
