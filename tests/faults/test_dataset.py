"""A TensorFlow dataset over links and workers that fail: judged as everything here."""

from __future__ import annotations

import os
import signal
import threading
from itertools import islice

import pytest
from genserver.client import from_server

from ..support.checker import Checker
from ..support.hashed import share
from ..support.processes import processes_of
from ..support.servers import Serve
from .conftest import Serving

pytestmark = pytest.mark.linux

WORKERS, N = 3, 2000
ARGUMENTS = {"n": N, "pause": 0.0005}


def new_checker(**options: bool) -> Checker:
    return Checker([share(worker, WORKERS, N) for worker in range(WORKERS)], **options)


@pytest.mark.parametrize("deterministic", [False, True], ids=["mixed", "in turn"])
def test_a_dataset_survives_a_partition(through_proxy: Serving, deterministic: bool) -> None:
    """Prefetched or not, mixed or in turn: each element once."""
    endpoint, proxy = through_proxy("hashed:seeking", workers=WORKERS, arguments=ARGUMENTS)
    checker = new_checker(in_turn=deterministic)
    dataset = from_server(endpoint, transport="tcp", deterministic=deterministic)
    healing = threading.Timer(1.0, proxy.heal)
    elements = dataset.as_numpy_iterator()
    for element in islice(elements, 100):
        checker.take(element)
    proxy.hold()
    healing.start()
    for element in elements:
        checker.take(element)
    healing.join()
    checker.check()


def test_a_dataset_waits_for_a_stopped_worker(serve: Serve) -> None:
    """Through shared memory, in the default order."""
    server = serve("hashed:seeking", workers=WORKERS, arguments=ARGUMENTS)
    checker = new_checker()
    elements = from_server(server.endpoint).as_numpy_iterator()
    for element in islice(elements, 100):
        checker.take(element)
    worker = processes_of(server.pid)[0]
    os.kill(worker, signal.SIGSTOP)
    going_on = threading.Timer(1.0, os.kill, (worker, signal.SIGCONT))
    going_on.start()
    for element in elements:
        checker.take(element)
    going_on.join()
    checker.check()
