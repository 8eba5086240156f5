"""The trainer process's one I/O thread: started when needed, ended when nothing needs it.

Owns the thread, its loop and the wake-up descriptor through which Python tells it of signals; the
loop's wake-up stays for the life of the process, because Python may still write to it. A fork
leaves the child without them: the child starts its own when it asks.
"""

from __future__ import annotations

import _thread
import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import CodeType

from .loop import Loop
from .platform import after_fork_in_child
from .sockets import close_context

__all__ = ["acquire_loop", "end_loop", "on_interrupt", "release_loop", "repeat_interrupts_in"]

logger = logging.getLogger("genserver")

#: Seconds that the interpreter waits at exit for the thread to end.
EXIT_SECONDS = 2.0

#: Functions that call C++ which may swallow a KeyboardInterrupt.
_swallowing: list[CodeType] = []


class _Process:
    """What one process has once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.loop = Loop()
        self.loop.on_signal = self._on_signal
        self.thread: threading.Thread | None = None
        self.exiting = False
        self.users_of_events: list[tuple[Callable[[], None], Callable[[Exception], None]]] = []
        self.hooked = False
        self.follows_ipython = False
        self.chained_fd = -1
        #: Whether the next SIGINT is our own.
        self.repeated = False

    def use(self) -> Loop:
        with self.lock:
            self.users += 1
            if self.thread is None:
                self.thread = threading.Thread(target=self._serve, name="genserver-io", daemon=True)
                self.thread.start()
            self.hook_signals()
        return self.loop

    def release(self) -> None:
        with self.lock:
            self.users -= 1
            self._unhook_signals()
            # Whose wake-up descriptor we took over still wants its numbers passed on.
            if self.users == 0 and self.chained_fd < 0:
                self.loop.stop()

    def exit(self) -> None:
        self.exiting = True
        self.loop.stop()
        thread = self.thread
        if thread is not None:
            thread.join(EXIT_SECONDS)

    def _serve(self) -> None:
        self.loop.forget_signals()
        while True:
            try:
                self.loop.run()
            except Exception as error:
                # A safety net that should never be needed: without it a bug would leave every
                # trainer waiting for a thread that is gone.
                logger.exception("the I/O thread failed")
                for _, crashed in list(self.users_of_events):
                    crashed(error)
                continue
            with self.lock:
                if self.users == 0 or self.exiting:
                    close_context()
                    self.thread = None
                    return

    def _on_signal(self, number: int) -> None:
        if self.chained_fd >= 0:
            with contextlib.suppress(OSError):
                os.write(self.chained_fd, bytes([number]))
        # A handler of the user's own, which may only take note, gets its turn with the next
        # element; only what would raise KeyboardInterrupt ends the wait.
        if number == signal.SIGINT and signal.getsignal(number) is signal.default_int_handler:
            self._repeat_interrupt()
            for interrupted, _ in list(self.users_of_events):
                interrupted()

    def _repeat_interrupt(self) -> None:
        """Have KeyboardInterrupt raised when the main thread comes out of what may have swallowed
        it; where that is still to come, this changes nothing."""
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        callers = (frame, frame and frame.f_back)  # what is swallowed was raised in a callee
        self.repeated = not self.repeated and any(f and f.f_code in _swallowing for f in callers)
        if self.repeated:
            _thread.interrupt_main()

    def hook_signals(self) -> None:
        """Learn of signals: Python's handlers do not run while TensorFlow waits inside next().

        Only the main thread may do this, and somebody may have done it before (asyncio in a
        notebook): then the numbers are passed on. Somebody may have taken it away, too; hence
        again at every chance.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        before = signal.set_wakeup_fd(self.loop.wake_fd, warn_on_full_buffer=False)
        if before != self.loop.wake_fd:
            self.chained_fd = before
        self.hooked = True
        self._follow_ipython()

    def _follow_ipython(self) -> None:
        """IPython's prompt takes the wake-up descriptor for itself: have it back for each cell."""
        shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
        if shell is not None and not self.follows_ipython:
            shell.events.register("pre_run_cell", _before_cell)
            self.follows_ipython = True

    def _unhook_signals(self) -> None:
        main = threading.current_thread() is threading.main_thread()
        if not (self.hooked and self.users == 0 and main):
            return
        current = signal.set_wakeup_fd(self.chained_fd)
        if current != self.loop.wake_fd:
            signal.set_wakeup_fd(current)  # another's by now
        self.hooked, self.chained_fd = False, -1


_process: _Process | None = None
_making = threading.Lock()


def _get() -> _Process:
    global _process
    with _making:
        if _process is None:
            _process = _Process()
        return _process


def acquire_loop() -> Loop:
    """The running loop; call `release_loop` once for each call. Any thread."""
    return _get().use()


def release_loop() -> None:
    """The caller no longer needs the loop; after the last one its thread ends. Any thread."""
    _get().release()


def on_interrupt(
    interrupted: Callable[[], None], crashed: Callable[[Exception], None]
) -> Callable[[], None]:
    """Call ``interrupted`` at Ctrl-C and ``crashed`` after a bug, on the loop's thread.

    Returns what takes that back.
    """
    users = _get().users_of_events
    pair = (interrupted, crashed)
    users.append(pair)

    def take_back() -> None:
        with contextlib.suppress(ValueError):
            users.remove(pair)

    return take_back


def repeat_interrupts_in(code: CodeType) -> None:
    """Ctrl-C that finds the main thread in this function, or in C++ that it called, may be lost in
    there: it is sent once more."""
    if code not in _swallowing:
        _swallowing.append(code)


def _before_cell(_info: object) -> None:
    _get().hook_signals()


def end_loop() -> None:
    """End the thread now, whoever uses it: the process ends. The main thread."""
    if _process is not None:
        _process.exit()


def _forget_process() -> None:
    global _process, _making
    _process = None
    _making = threading.Lock()


atexit.register(end_loop)
after_fork_in_child(_forget_process)
