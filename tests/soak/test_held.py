"""Shared memory that is held for long: by shuffle buffers, by users, by trainers that sleep."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import pytest
from genserver.client import Client
from genserver.protocol.worker_end import LEASE

from ..support.processes import program
from ..support.servers import Serve, processes_of

pytestmark = [pytest.mark.soak, pytest.mark.linux]
MIB = 2**20

HOLDER = """
import hashlib, sys
from genserver.client import Client
with Client(sys.argv[1], transport="memory") as client:
    elements = iter(client)
    kept = [next(elements) for _ in range(8)]
    print(*[hashlib.sha256(element).hexdigest() for element in kept], flush=True)
    sys.stdin.readline()
    for element in kept:
        assert not element.flags.owndata
    print(*[hashlib.sha256(element).hexdigest() for element in kept], flush=True)
    number = int(kept[-1][0])
    for _ in range(200):
        number += 1
        assert (next(elements) == number).all()
    print("continued", flush=True)
"""


def test_a_trainer_stopped_for_twice_the_lease_finds_its_tensors_unchanged(serve: Serve) -> None:
    """Stopped with 8 arrays in hand while a second trainer streams, it has the same bytes
    afterwards, and goes on where it was."""
    server = serve("endless", workers=1)
    with program(HOLDER, server.endpoint, seconds=4 * LEASE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        before = holder.stdout.readline()
        assert len(before.split()) == 8
        os.kill(holder.pid, signal.SIGSTOP)
        until = time.monotonic() + 2 * LEASE
        with Client(server.endpoint, transport="memory") as second:
            for number, element in enumerate(second):
                assert (element == number).all()
                if time.monotonic() > until:
                    break
        os.kill(holder.pid, signal.SIGCONT)
        holder.stdin.write("\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == before
        assert holder.stdout.readline() == "continued\n"


SHUFFLER = """
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
from pathlib import Path
import numpy as np
from genserver.client import from_server

def pss():
    text = Path("/proc/self/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))

dataset = from_server(sys.argv[1])
element = 256 * 1024
before = pss()
seen, most = set(), 0
for count, row in enumerate(dataset.shuffle(10_000, seed=1).take(15_000)):
    value = np.asarray(row)
    assert (value == value[0]).all(), count
    assert value[0] not in seen
    seen.add(value[0])
    if count % 1000 == 0:
        most = max(most, pss() - before)
print("most", most * 1024 / (10_000 * element))
"""


def test_a_shuffle_buffer_of_10000_elements(serve: Serve) -> None:
    """Every element comes once and unchanged, the trainer needs little more than the buffer, and
    the workers' memory stays within the budget."""
    server = serve("endless", workers=2, arguments={"kib": 256})
    done = subprocess.run(
        [sys.executable, "-c", SHUFFLER, server.endpoint],
        capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.stdout.startswith("most"), done.stderr
    assert float(done.stdout.split()[1]) < 1.5


def test_a_user_who_keeps_every_element(serve: Serve) -> None:
    """4 GB kept in a list are what they were when they came, with a budget of 256 MiB."""
    server = serve("endless", workers=2)
    with Client(server.endpoint, memory_budget=256 * MIB) as client:
        kept = list(islice(client, 4000))
    for element in kept:
        assert (element == element[0]).all()
    assert len({element[0] for element in kept}) == len(kept)
    for worker in processes_of(server.pid):
        text = Path(f"/proc/{worker}/status").read_text()
        (peak,) = [line for line in text.splitlines() if line.startswith("VmHWM")]
        assert int(peak.split()[1]) < 700 * 1024


def test_a_long_stream(serve: Serve) -> None:
    """20,000 elements of 1 MB over shared memory are, byte for byte, those that were made."""
    server = serve("endless", workers=1)
    with Client(server.endpoint, transport="memory") as client:
        for number, element in enumerate(islice(client, 20_000)):
            assert element.min() == element.max() == number
