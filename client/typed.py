"""The options of `from_server` and `Client` as keyword arguments, for type checkers. Pure."""

from __future__ import annotations

from typing import TypedDict

from .progress import Progress
from .state import State

__all__ = ["ClientOptions", "GeneratorOptions"]


class ClientOptions(TypedDict, total=False):
    """Keyword arguments of `from_server` and `Client`, checked at once: `OptionError` names one.

    * ``seed``: of all random states, with worker and epoch, 0 to 2**64 - 1; default None takes the
      server's.
    * ``epoch``: pins the epoch; default None counts the passes of one dataset or client from 0.
    * ``deterministic``: elements (or batches) come in turn, worker by worker, the same in every run
      with the same seed and number of workers; default False mixes whatever is ready.
    * ``transport``: default "auto" takes shared memory on one host, else a socket file, and tcp
      beyond; "memory", "ipc" or "tcp" insists on one of them.
    * ``memory_budget``: bytes that may wait in the trainer; default None is max(1 GiB, workers x 4
      x element), at most a quarter of the memory.
    * ``keys``: the folder with this trainer's keys (`genserver keygen`), for endpoints that are no
      files; default None takes those that the environment names, if any, and "none" takes none.
    * ``insecure_network``: connect beyond this host although there are no keys; default False.
    * ``connect_timeout``: seconds until a server must have answered; default 30.
    * ``first_element_timeout``: seconds until the first element must have come; default 300.
    * ``give_up_after``: seconds for which a server or a worker that was there may be silent or away
      before its streams fail; default 120. Until then they go on when it is back, also in another
      life of the server, if that serves the same.
    * ``wait``: wait beyond these limits until the servers are ready; default False.
    * ``batch``: the workers make whole batches of so many elements, 1 to 2**20, and those are what
      comes: with a leading dimension that is None in the spec, for a worker's last batch may be
      smaller. A batch is of one worker. Default None gives single elements.
    * ``drop_remainder``: each worker drops a last batch that is smaller, and the spec says the
      size; default False.
    * ``resume``: a `Progress` that is to count what training uses, or a `State` to go on at; then
      the length of a pass is unknown, because the first may be the rest of one. Default None.
    """

    seed: int | None
    epoch: int | None
    deterministic: bool
    transport: str
    memory_budget: int | None
    keys: str | None
    insecure_network: bool
    connect_timeout: float
    first_element_timeout: float
    give_up_after: float
    wait: bool
    batch: int | None
    drop_remainder: bool
    resume: State | Progress | None


class GeneratorOptions(ClientOptions, total=False):
    """Further keyword arguments of `from_generator`: those of `ClientOptions`, and for its server
    what `genserver.server.Server` says of them.

    * ``sharding``: "static", each worker makes its share; "dynamic", a free worker takes the next
      of the ``items``, which is the default with them; or "off", each makes everything.
    * ``length``, ``recovery``, ``max_rerun``, ``max_restarts``, ``item_timeout``, ``max_items``.
    * ``ready_timeout``: seconds until the server must be ready; default 300.
    """

    sharding: str | None
    length: int | str | None
    recovery: str | None
    max_rerun: float | None
    max_restarts: int | None
    item_timeout: float | None
    max_items: int | None
    ready_timeout: float
