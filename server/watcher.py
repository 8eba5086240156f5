"""Watches folders for other code, with the library watchfiles, which only `--reload` needs.

Owns a thread, and through the library another one and what the kernel or a poll tells it. Both end
with `stop`. What it hears goes to its callbacks, on its thread; it decides nothing.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Sequence

from .config import ConfigError
from .watched import counts

__all__ = ["Watcher", "check_installed"]

#: Milliseconds: a change is told when so long nothing else changed, ...
QUIET_MS = 100
#: ... or after so long, when something always does.
LONGEST_MS = 1_600
#: How long one wait of the library takes at most; the end of the first says that it watches.
TURN_MS = 200
#: Seconds that the end of the thread may take.
STOP_SECONDS = 2.0


def check_installed() -> None:
    """`ConfigError` where the library is missing."""
    if importlib.util.find_spec("watchfiles") is None:
        raise ConfigError(
            "--reload needs the package watchfiles: pip install 'genserver-data[reload]'"
        )


class Watcher:
    """One thread that watches. `stop` belongs to whoever made it."""

    def __init__(
        self, folders: Sequence[str], *, begun: Callable[[], None],
        changed: Callable[[set[str]], None], failed: Callable[[str], None],
    ) -> None:  # fmt: skip
        """``begun`` is called once it watches: no later change is missed. ``changed`` is told the
        files, and ``failed`` why it watches no more. On the thread of its own."""
        self._folders = folders
        self._begun, self._changed, self._failed = begun, changed, failed
        self._over = threading.Event()
        #: Whether the present watch has lasted a turn, and any ever has.
        self._lasts = self._told = False
        self._thread = threading.Thread(target=self._run, name="genserver-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it, and wait for that; nobody is called afterwards."""
        self._over.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._over.is_set():
            self._lasts, why = False, "it ended"
            try:
                self._watch()
            except (OSError, RuntimeError) as error:  # all that the library raises
                why = str(error)
            # Where files are polled, one that goes meanwhile ends the watch: watch again.
            if not (self._lasts or self._over.is_set()):
                where = " and ".join(self._folders)
                self._failed(
                    f"--reload cannot watch {where}: {why}; --reload-dir DIR watches less, and "
                    "WATCHFILES_FORCE_POLLING=true in the environment does without the kernel"
                )
                return

    def _watch(self) -> None:
        from watchfiles import Change, watch  # nobody else needs it

        def ours(_change: Change, path: str) -> bool:
            return counts(path, self._folders)

        for changes in watch(
            *self._folders, watch_filter=ours, debounce=LONGEST_MS, step=QUIET_MS,
            rust_timeout=TURN_MS, yield_on_timeout=True, stop_event=self._over,
            raise_interrupt=False,
        ):  # fmt: skip
            if self._over.is_set():
                return
            if not self._told:
                self._begun()
            self._lasts = self._told = True
            if changes:
                self._changed({path for _, path in changes})
