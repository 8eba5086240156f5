"""What depends on the operating system, in one place. Every function has a portable answer.

Linux does everything. Elsewhere, and where the variable GENSERVER_PORTABLE is set (the tests run
the suite so), elements travel over tcp alone, and a worker learns of its supervisor's end from its
pipe. Modules that few of the functions need are imported where they are used: every process of
genserver comes by here on its way to its first element.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Collection

__all__ = [
    "RUNTIME_DIR",
    "after_fork_in_child", "can_serve", "die_with_parent", "has_ipc", "has_memory", "host_id",
    "keep_freed_memory", "memory_file", "memory_size", "private_folder_parent",
    "process_usage", "raise_descriptor_limit", "reap_strangers", "try_lock", "usable_cores",
    "waited_for_core",
]  # fmt: skip

#: The variable that names where servers put their sockets: a volume that containers share.
RUNTIME_DIR = "GENSERVER_RUNTIME_DIR"
_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_LINUX = sys.platform == "linux" and not os.environ.get("GENSERVER_PORTABLE")


def can_serve() -> bool:
    """Whether producers can run here: they need process groups and inherited pipes."""
    return os.name == "posix"


def has_ipc() -> bool:
    """Whether trainers and workers of one host may meet at a file instead of a port."""
    return _LINUX


def has_memory() -> bool:
    """Whether processes of one host may share memory without a name."""
    return _LINUX and hasattr(os, "memfd_create")


def memory_file(size: int) -> int:
    """The descriptor of a file of zeros without a name, in memory where that is possible."""
    if has_memory():
        descriptor = os.memfd_create("progress")
    else:
        import tempfile

        descriptor, path = tempfile.mkstemp(prefix="genserver-")
        os.unlink(path)
    os.ftruncate(descriptor, size)
    return descriptor


def host_id() -> str:
    """What two processes that may share a file endpoint have in common: this boot of the kernel.

    The host's name where the system does not say.
    """
    boot = _read("/proc/sys/kernel/random/boot_id").strip() if _LINUX else ""
    if boot:
        return boot
    import platform

    return platform.node()


def memory_size() -> int:
    """Bytes of memory that this process may use: the cgroup's limit or the machine's.

    4 GiB where the system does not say.
    """
    names = os.sysconf_names if hasattr(os, "sysconf") else {}
    machine = 4 * 2**30
    if "SC_PHYS_PAGES" in names and "SC_PAGE_SIZE" in names:
        machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _read(path).strip() if _LINUX else ""
        if text.isdigit():
            return min(machine, int(text))
    return machine


def process_usage(pid: int) -> tuple[int, int]:
    """Bytes of memory that a process has, and microseconds of a core that it has used; (0, 0) where
    the system does not say, or it is gone."""
    status = _read(f"/proc/{pid}/stat") if _LINUX else ""
    # Behind the name, which may hold anything: utime and stime are fields 14 and 15, rss is 24.
    fields = status.rpartition(")")[2].split()
    if len(fields) < 22:
        return 0, 0
    ticks = int(fields[11]) + int(fields[12])
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), ticks * 1_000_000 // _TICKS


def waited_for_core() -> float:
    """Seconds that this thread was ready to run while others had the cores; 0 where the system does
    not say."""
    fields = _read("/proc/thread-self/schedstat").split() if _LINUX else []
    return int(fields[1]) / 1e9 if len(fields) > 1 else 0.0


def try_lock(descriptor: int) -> bool:
    """Lock an open file for this process without waiting; False when another has it.

    Only files of ipc endpoints are locked, so nothing asks for it where there are none.
    """
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def raise_descriptor_limit() -> None:
    """As many descriptors as allowed: libzmq spins a core when it runs out (rule T9)."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def after_fork_in_child(function: Callable[[], None]) -> None:
    """Call ``function`` in every child that this process forks, where there are forks."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def usable_cores() -> int:
    """Cores that this process may use: affinity and the cgroup's quota count, not the machine."""
    cores = len(os.sched_getaffinity(0)) if _LINUX else os.cpu_count()
    quota = _cgroup_quota() if _LINUX else None
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


def keep_freed_memory() -> None:
    """Have glibc keep freed memory of up to 32 MiB a piece and 64 MiB in all, as it does by itself.

    It learns these sizes from what a program frees. TensorFlow's generator datasets switch that off
    and have everything above 128 KiB go back to the system at once ("Memory patch applied"); every
    batch and every message then costs a page fault for each 4 KiB, twice the time of filling them
    (figures in docs/architecture.md). A C library without these settings is left alone.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if _LINUX else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        mallopt(_M_TRIM_THRESHOLD, 64 * 2**20)


def die_with_parent(parent: int) -> bool:
    """Have the kernel kill this process when its parent ends; False if the parent is gone already.

    The parent may end between the fork and this call: hence the look at its pid afterwards. Other
    systems rely on the death pipe, which every worker watches as well.
    """
    if _LINUX:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    return os.getppid() == parent


def reap_strangers(known: Collection[int]) -> None:
    """As process 1 of a container: take leave of processes whose parent has ended.

    They become children of process 1, and stay as zombies until it asks for them. ``known`` are the
    process ids of its own children, whose ends somebody else asks for.
    """
    if os.getpid() != 1 or not hasattr(os, "waitid"):
        return
    try:
        # Looked at without being taken, so that the end of a known one is left where it is.
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid in known:
                return  # ended this moment; the strangers behind it come next time
            os.waitpid(ended.si_pid, os.WNOHANG)
    except ChildProcessError:
        return  # no child at all


def owner_of_this_process() -> int | None:
    """Its user id; None where the system has no such thing."""
    return os.geteuid() if hasattr(os, "geteuid") else None


def private_folder_parent() -> str:
    """Where a private folder for sockets belongs: as `RUNTIME_DIR` says, if it says something."""
    chosen = os.environ.get(RUNTIME_DIR, "")
    if chosen:
        return chosen
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    if folder and os.access(folder, os.W_OK | os.X_OK):
        return folder
    import tempfile

    return tempfile.gettempdir()
