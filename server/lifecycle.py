"""A worker's life-cycle as a table. Pure.

A worker is an index with its endpoints; it keeps them over the processes that serve it one after
the other, its lives. Whether a process that ended is followed by another says lives.py.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["WORKER_STATES", "WorkerEvent", "WorkerState", "next_state"]


class WorkerState(Enum):
    """One worker."""

    STARTING = "starting"  # the process runs, the user's module is being imported
    LOADED = "loaded"  # the module is imported, the spec is not known to it
    READY = "ready"
    BACKOFF = "backoff"  # its process ended; the next one waits for its time
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


class WorkerEvent(Enum):
    """What happens to a worker."""

    LOADED = "its module is imported"
    SPEC = "it was told the spec"
    RETRY = "its process ended and is followed by another"
    SPAWN = "its next process is started"
    GIVE_UP = "it cannot serve any more"
    STOP = "the server stops"
    EXIT = "its last process ended"


_W, _E = WorkerState, WorkerEvent
WORKER_STATES: dict[WorkerState, dict[WorkerEvent, WorkerState]] = {
    _W.STARTING: {
        _E.LOADED: _W.LOADED,
        _E.RETRY: _W.BACKOFF,
        _E.GIVE_UP: _W.FAILED,
        _E.STOP: _W.STOPPING,
    },
    _W.LOADED: {
        _E.SPEC: _W.READY,
        _E.RETRY: _W.BACKOFF,
        _E.GIVE_UP: _W.FAILED,
        _E.STOP: _W.STOPPING,
    },
    _W.READY: {_E.RETRY: _W.BACKOFF, _E.GIVE_UP: _W.FAILED, _E.STOP: _W.STOPPING},
    _W.BACKOFF: {_E.SPAWN: _W.STARTING, _E.STOP: _W.STOPPED},
    _W.STOPPING: {
        _E.LOADED: _W.STOPPING,  # it had reported before it heard
        _E.STOP: _W.STOPPING,
        _E.EXIT: _W.STOPPED,
    },
    _W.STOPPED: {_E.STOP: _W.STOPPED},
    _W.FAILED: {
        _E.STOP: _W.FAILED,
        _E.EXIT: _W.FAILED,  # it said why it cannot serve, and then ended
    },
}


def next_state(state: WorkerState, event: WorkerEvent) -> WorkerState:
    """The table's next state; `ValueError` for a pair that is not in it."""
    try:
        return WORKER_STATES[state][event]
    except KeyError:
        raise ValueError(f"a worker that is {state.value}: {event.value}") from None
