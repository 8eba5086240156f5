"""A server whose strings a test pulls: its parts as processes of their own, on standard input.

`control PATH` is a supervisor that tells its trainers what it is told; `worker PATH` serves a
generator of generators.py until it is killed, or says goodbye at the end of its standard input.
Imports nothing of the tests.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import secrets
import sys
import threading

from genserver.protocol.endpoint import Endpoint
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.spec import parse_spec
from genserver.protocol.transport.control import ControlEnd
from genserver.protocol.transport.lender import memory_path
from genserver.protocol.transport.loop import Loop
from genserver.protocol.transport.platform import host_id
from genserver.protocol.transport.serving import make_data_end
from genserver.protocol.transport.sockets import Router
from genserver.server.progress_page import ProgressPage
from genserver.server.run import Rules
from genserver.server.runner import Runner
from genserver.server.source import load_source

SPEC = parse_spec("(int64[], int64[])")
TARGET = "generators:numbered"


def control(path: str) -> None:
    """Each line is a whole status: the recovery and the workers."""
    loop, router = Loop(), Router()
    router.bind(Endpoint("ipc", path=path))
    status = Status("starting", TARGET, "static", 5, -2, host_id(), None)
    end = ControlEnd(loop, router, secrets.randbits(64), lambda: status)

    def publish(recovery: str, workers: list[list[object]]) -> None:
        nonlocal status
        told = tuple(WorkerStatus(*worker) for worker in workers)  # type: ignore[arg-type]  # as written
        status = Status(
            "ready", TARGET, "static", 5, -2, host_id(), SPEC, told, recovery=recovery
        )  # fmt: skip
        end.publish()

    def read() -> None:
        for line in sys.stdin:
            loop.call(functools.partial(publish, *json.loads(line)))
        loop.call(lambda: end.leave("the test is over"))
        loop.stop()

    threading.Thread(target=read, daemon=True).start()
    loop.run()
    end.close()


def worker(path: str, *arguments: str) -> None:
    """Its generator's arguments are NAME=NUMBER."""
    for stale in (path, memory_path(path)):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(stale)  # the last life was killed
    loop, router = Loop(), Router()
    router.bind(Endpoint("ipc", path=path))
    data = make_data_end(loop, router, path)
    given = {name: int(value) for name, value in (a.split("=") for a in arguments)}
    runner = Runner(load_source(TARGET, given), data.exchange, Rules(), ProgressPage())
    runner.use_spec(SPEC)
    data.serve(SPEC)
    thread = threading.Thread(target=loop.run)
    thread.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()

    def read() -> None:
        sys.stdin.read()
        loop.call(lambda: data.leave("recycled", returns=True))
        data.exchange.stop()

    threading.Thread(target=read, daemon=True).start()
    runner.run()
    loop.stop()
    thread.join(10.0)
    data.close()


if __name__ == "__main__":
    {"control": control, "worker": worker}[sys.argv[1]](*sys.argv[2:])
