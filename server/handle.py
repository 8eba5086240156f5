"""`Server`: a server started from Python. Public.

Owns what runs it: a ``genserver serve`` process (protocol/child), or with ``workers=0`` a thread of
this process (in_process.py). Every server of this process ends with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

from genserver.protocol.child import WORKER_VARIABLE
from genserver.protocol.child.running import Running
from genserver.protocol.child.server_process import ChildServer
from genserver.protocol.errors import ServerFailed

from .config import ConfigError, check_target
from .guest import GuestServer

__all__ = ["Server", "ServerFailed"]

#: Servers of this process that run.
_running: Running[Server] = Running()


class Server:
    """A server as a context manager: ready inside the block, gone with all its workers after it.

    What the workers print comes out at ``sys.stdout`` and ``sys.stderr`` with their number, in a
    notebook in the cell that runs. The server ends with this process. May be used from any thread.

    Making one starts the server and waits until every worker is ready:

    * ``target``: "MODULE:GENERATOR"; the module is looked for in ``cwd``, then where this
      process looks.
    * ``bind``: the endpoint to listen at; default a free port of the loopback interface.
    * ``workers``: processes; default the usable cores less one where the generator takes a
      ``worker``, else 1. 0 runs the generator in this process, on a thread of its own, for
      `breakpoint`, coverage and profilers.
    * ``items``: what the generator is called with, one by one: what JSON can say; a list or tuple
      gives several arguments. A free worker takes the next one.
    * ``concurrency``: calls over ``items`` that a worker has under way at once, of an async
      function.
    * ``sharding``: "static", each worker makes its share; "dynamic", a free worker takes the next
      of the items, which is the default with them; or "off", each makes everything.
    * ``arguments``: keyword arguments of the generator: what JSON can say.
    * ``seed``: what a trainer that names none takes for all random states; default random.
    * ``spec``: the element spec, e.g. "(float32[None,64], int64[])"; default that of the first
      element.
    * ``length``: elements of one pass over all workers (of each with sharding off), or
      "infinite"; default unknown.
    * ``keys``: the folder of the server's keys (`genserver keygen`): it lets in the trainers that
      they name, and nobody else; default None takes those that the environment names, if any, and
      "none" takes none. For tcp.
    * ``insecure_network``: listen beyond this host although anyone who reaches the port can
      connect.
    * ``recovery``: what becomes of a stream whose worker died. "auto", the default: it goes on
      at the first element that did not arrive, which the generator seeks (`Worker.start`) or
      runs up to again. "seek": the same, and a generator that does not seek is refused.
      "stream": it goes on with other random elements, and what was lost is counted. "none":
      the trainer gets an error.
    * ``max_rerun``: seconds that running elements again may take, else the stream fails.
    * ``max_restarts``: of one worker within a minute, default 5; one death more ends the
      server.
    * ``item_timeout``: seconds after which a worker that makes one element is killed; default
      never.
    * ``max_items``: elements after which a worker is replaced, for generators that leak;
      default never.
    * ``http``: "HOST:PORT" at which the server tells how it fares: ``/metrics`` for Prometheus,
      ``/healthz``, ``/readyz``; with port 0 the server's own lines say the port. Needs
      ``genserver-data[http]``, and worker processes.
    * ``replay``: elements that are made once, kept, and handed out in a circle, to find out how
      fast a trainer is by itself; not for training. Default none.
    * ``quiet``: leaves out the server's own lines.
    * ``ready_timeout``: seconds until the server must be ready.
    * ``cwd``: the folder that the server is started in; default this process's.

    Raises `ServerFailed` with the server's sentence, `TypeError` for a target that is no text,
    and a `GenserverError` in a worker that imports this program. With ``workers=0`` there is no
    time limit, and ``cwd`` is not used: a debugger may be at work, in this process's folder.
    """

    def __init__(
        self,
        target: str,
        *,
        bind: str = "tcp://127.0.0.1:0",
        workers: int | None = None,
        sharding: str | None = None,
        arguments: Mapping[str, Any] | None = None,
        items: Sequence[Any] | None = None,
        concurrency: int = 1,
        seed: int | None = None,
        spec: str | None = None,
        length: int | str | None = None,
        keys: str | None = None,
        insecure_network: bool = False,
        recovery: str | None = None,
        max_rerun: float | None = None,
        max_restarts: int | None = None,
        item_timeout: float | None = None,
        max_items: int | None = None,
        http: str | None = None,
        replay: int | None = None,
        quiet: bool = False,
        ready_timeout: float = 300.0,
        cwd: str | None = None,
    ) -> None:
        """Start the server and wait until every worker is ready."""
        check_target(target)
        _refuse_in_worker(target)
        given = dict(arguments or {})
        options = {
            "bind": bind, "sharding": sharding, "seed": seed, "spec": spec,
            "length": None if length is None else str(length), "keys": keys,
            "insecure_network": insecure_network, "recovery": recovery, "max_rerun": max_rerun,
            "max_restarts": max_restarts, "item_timeout": item_timeout, "max_items": max_items,
            "concurrency": concurrency, "http": http, "replay": replay,
        }  # fmt: skip
        self._backend: ChildServer | GuestServer
        if workers == 0:
            self._backend = GuestServer(target, options, given, quiet=quiet, items=items)
        else:
            options |= {"workers": workers, "quiet": quiet}
            self._backend = ChildServer(
                target, options, given, seconds=ready_timeout, cwd=cwd, items=items
            )
        _running.add(self)

    @property
    def endpoint(self) -> str:
        """What to give to ``from_server``, e.g. ``tcp://127.0.0.1:41219``."""
        return self._backend.endpoint

    @property
    def pid(self) -> int:
        """The process id of the supervisor; this process's own with ``workers=0``."""
        return self._backend.pid

    def stop(self, *, drain: bool = False) -> int:
        """End the server and return its exit code.

        ``drain`` lets the workers finish the elements that they are making, up to 6 s; else they
        are left after 0.3 s.
        """
        _running.discard(self)
        return self._backend.stop(drain=drain)

    def __repr__(self) -> str:
        backend = getattr(self, "_backend", None)  # a debugger may show one that is being made
        if backend is None:
            return "<Server that has not started>"
        state = f"at {backend.endpoint}" if self in _running else "stopped"
        return f"<Server {backend.target} {state}>"

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def _refuse_in_worker(target: str) -> None:
    if WORKER_VARIABLE in os.environ:
        module = target.partition(":")[0]
        raise ConfigError(
            f"a worker that imports {module} would start servers without end: put "
            '`if __name__ == "__main__":` in front of what is not for workers, or the generator '
            "in a file of its own"
        )
