"""Work without any serving: what genserver is measured against. One process of it.

    python _bare.py spin LOOPS                          pure Python
    python _bare.py copy GENERATOR SLOTS INDEX COUNT    a workload's arrays into rotating slots
    python _bare.py tcp NBYTES                          recv_into from a sender over loopback

Says {"ready": true}, then reads [BEGIN, END], two instants of the system's monotonic clock, counts
what it makes between them (it works before, too, and counts nothing) and answers {"rate": ...};
ends with its standard input.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from subprocess import Popen
from typing import Any

from _spin import spin

#: Makes one element.
Step = Callable[[], Any]


def main() -> None:
    """Until standard input ends."""
    with JOBS[sys.argv[1]](*sys.argv[2:]) as step:
        print(json.dumps({"ready": True}), flush=True)
        for line in sys.stdin:
            print(json.dumps({"rate": count_rate(step, *json.loads(line))}), flush=True)


def count_rate(step: Step, begin: float, end: float) -> float:
    """Elements per second between two instants; 0 if there was no time for one."""
    while time.monotonic() < begin:
        step()
    began = now = time.monotonic()
    made = 0
    while now < end:
        step()
        made += 1
        now = time.monotonic()
    return made / (now - began) if made else 0.0


@contextmanager
def spinning(loops: str) -> Iterator[Step]:
    """Pure Python."""
    yield partial(spin, int(loops))


@contextmanager
def copying(generator: str, slots: str, index: str, count: str) -> Iterator[Step]:
    """Each of the generator's arrays into the next of the slots of a populated memfd mapping."""
    import _workloads
    import numpy as np
    from genserver.server import Worker

    elements = getattr(_workloads, generator)(Worker(int(index), int(count)))
    first = next(elements)
    with _mapping(first.nbytes * int(slots)) as memory:
        whole = np.frombuffer(memory, first.dtype).reshape(int(slots), *first.shape)
        rotation = cycle(list(whole))
        yield lambda: np.copyto(next(rotation), next(elements))


@contextmanager
def _mapping(size: int) -> Iterator[Any]:
    """Anonymous shared memory of ``size`` bytes, all of it there before the first write."""
    import mmap

    descriptor = os.memfd_create("bare")
    try:
        os.posix_fallocate(descriptor, 0, size)
        yield mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
    finally:
        os.close(descriptor)


@contextmanager
def receiving(nbytes: str) -> Iterator[Step]:
    """One buffer filled again and again from a process that only sends."""
    size = int(nbytes)
    buffer = memoryview(bytearray(size))
    with socket.create_server(("127.0.0.1", 0)) as server:
        command = [
            sys.executable,
            str(Path(__file__)),
            "send",
            str(server.getsockname()[1]),
            nbytes,
        ]
        with Popen(command) as sender:
            connection, _ = server.accept()
            with connection:
                yield partial(_fill, connection, buffer)
            sender.kill()


def _fill(connection: socket.socket, buffer: memoryview) -> None:
    got = 0
    while got < len(buffer):
        got += connection.recv_into(buffer[got:])


def send(port: str, nbytes: str) -> None:
    """The other end of `receiving`: the same bytes until nobody reads them."""
    data = bytes(int(nbytes))
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        try:
            while True:
                connection.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return


JOBS: dict[str, Callable[..., Any]] = {"spin": spinning, "copy": copying, "tcp": receiving}

if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(*sys.argv[2:])
    else:
        main()
