"""Several hosts: servers with keys on two of them and a trainer on a third, one of which is lost.

Network namespaces at a switch, real `genserver serve` and `genserver keygen`: needs root, see
support/namespaces.py. How fast it is measures benchmarks/hosts.py.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from genserver.client import Client
from genserver.protocol import trainer_end

from ..support.checker import Checker, consume, limited
from ..support.hashed import LARGE, TINY, share
from ..support.namespaces import Host, Network, network, why_not
from ..support.processes import PATIENCE, SUPPORT, program
from ..support.server_process import ServerProcess

pytestmark = [
    pytest.mark.linux,
    pytest.mark.skipif(why_not() != "", reason=why_not() or "there are namespaces"),
]

#: Servers, a worker each, and where each of them listens on its host.
SERVERS, PORT = 2, 5555
#: Seconds that a test's elements may take beyond its fault.
LIMIT = 60.0
#: Bytes that wait in a trainer which must not have everything before a fault begins.
FEW = 10_000


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of both servers and their trainer."""
    folder = tmp_path_factory.mktemp("keys") / "keys"
    command = [sys.executable, "-m", "genserver.server", "keygen", str(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    return folder


@contextmanager
def serving(
    hosts: Sequence[Host], keys: Path, *, n: int, nbytes: int = TINY, pause: float = 0.0
) -> Iterator[list[ServerProcess]]:
    """A server of one worker on each of the hosts, as their guide has it."""
    with ExitStack() as stack:
        servers = []
        for host in hosts:
            server = ServerProcess(
                "hashed:seeking", workers=1, bind=f"tcp://0.0.0.0:{PORT}",
                arguments={"n": n, "nbytes": nbytes, "pause": pause},
                options=("--keys", str(keys / "server")),
            )  # fmt: skip
            with host.entered():
                servers.append(stack.enter_context(server))
        yield servers


def endpoints(hosts: Sequence[Host]) -> list[str]:
    return [f"tcp://{host.address}:{PORT}" for host in hosts]


@pytest.fixture
def around(nothing_left: None) -> Iterator[Network]:
    """Two hosts, and this one, which is the trainer's."""
    with network(SERVERS, here=True) as made:
        yield made


@contextmanager
def passing(
    hosts: Sequence[Host], keys: Path, *, n: int, nbytes: int = TINY, limit: float = LIMIT,
    **options: Any,
) -> Iterator[tuple[Checker, Iterator[object]]]:  # fmt: skip
    """One pass of a trainer here; everything must have come when the block ends."""
    deterministic = bool(options.get("deterministic"))
    each = [share(worker, SERVERS, n) for worker in range(SERVERS)]
    checker = Checker(each, nbytes=nbytes, in_turn=deterministic)
    with (
        Client(
            endpoints(hosts),
            transport="tcp",
            keys=str(keys / "trainer"),
            memory_budget=FEW if nbytes == TINY else None,
            **options,
        ) as client,
        limited(client, limit),
    ):
        elements = iter(client)
        yield checker, elements
        end = consume(elements, checker)
    checker.check(end)
    assert end is None


@pytest.mark.parametrize(("seconds", "patience"), [(3.0, 1.5), (30.0, trainer_end.DEAD_AFTER)])
def test_a_host_that_is_cut_off_is_waited_for_while_the_other_goes_on(
    around: Network, keys: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, patience: float
) -> None:
    """For longer than a link's patience: nothing is lost or repeated, and who is there delivers."""
    monkeypatch.setattr(trainer_end, "DEAD_AFTER", patience)
    pause, cut_off = 0.01, around.hosts[1]
    n = SERVERS * int((seconds + 2) / pause)
    with (
        serving(around.hosts, keys, n=n, pause=pause),
        passing(around.hosts, keys, n=n, limit=seconds + LIMIT) as (checker, elements),
    ):
        assert consume(elements, checker, limit=50) is None
        cut_off.drop()
        before = [checker.got(worker) for worker in range(SERVERS)]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert consume(elements, checker, limit=checker.taken + 1) is None
        there, away = (checker.got(worker) - before[worker] for worker in range(SERVERS))
        assert away < there / 2  # the few that were on their way
        cut_off.heal()


def test_a_host_that_loses_its_power_and_comes_again(around: Network, keys: Path) -> None:
    """Killed without a word, away, and started again with its server: its elements go on in their
    turn, each once."""
    n, lost = 600, around.hosts[1]
    with serving(around.hosts, keys, n=n, pause=0.005) as servers:
        with passing(around.hosts, keys, n=n, deterministic=True) as (checker, elements):
            assert consume(elements, checker, limit=100) is None
            power_cut(lost, servers[1])
            assert consume(elements, checker) is None
        assert [len(checker.lives(worker)) for worker in range(SERVERS)] == [1, 2]


def power_cut(host: Host, server: ServerProcess) -> None:
    """Both are gone, and both come again."""
    host.power_off()
    server.kill()  # it is dead, and must be waited for
    host.power_on()
    with host.entered():
        server.start()


def test_two_hosts_on_thin_cables_deliver_everything(
    around: Network, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """10 MB at 100 Mbit/s each, encrypted: nobody is taken for dead."""
    lost: list[str] = []
    monkeypatch.setattr(trainer_end.TrainerEnd, "lose", lambda end, reason: lost.append(reason))
    n = 20
    with serving(around.hosts, keys, n=n, nbytes=LARGE):
        for host in around.hosts:
            host.shape(100)
        with passing(around.hosts, keys, n=n, nbytes=LARGE):
            pass
    assert lost == []


#: Trains a model on what its servers give, says how far it is, and judges what it was given.
TRAINER = f"""
import os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
sys.path.insert(0, {str(SUPPORT.parent.parent)!r})
import keras
import tensorflow as tf
from genserver.client import from_server
from tests.support.checker import Checker
from tests.support.hashed import TINY, share

keys, n, *servers = sys.argv[1:]
checker = Checker([share(worker, len(servers), int(n)) for worker in range(len(servers))])


class Model(keras.Sequential):
    def train_step(self, batch):
        for element in zip(*(part.numpy() for part in batch)):
            checker.take(element)
        print(checker.taken, flush=True)
        labels, data, _ = batch
        return super().train_step((tf.cast(data, "float32") / 255, labels[:, 2:3] % 2))


model = Model([keras.layers.Input([TINY]), keras.layers.Dense(4), keras.layers.Dense(1)])
model.compile("sgd", "mse", run_eagerly=True)
dataset = from_server(servers, transport="tcp", keys=keys, memory_budget={FEW})
model.fit(dataset.batch(8), verbose=0)
checker.check()
print("right", *(len(checker.lives(worker)) for worker in range(len(servers))), flush=True)
"""


def test_a_model_trains_across_hosts_of_which_one_goes_away_and_comes_again(
    nothing_left: None, keys: Path
) -> None:
    """Two servers and a trainer on three hosts: every element reaches a training step once."""
    n = 400
    with network(SERVERS + 1) as made:
        *hosts, trainer = made.hosts
        with (
            serving(hosts, keys, n=n, pause=0.01) as servers,
            trainer.entered(),
            program(TRAINER, keys / "trainer", n, *endpoints(hosts), seconds=LIMIT) as process,
        ):
            assert process.stdout is not None
            assert int(process.stdout.readline()) == 8
            power_cut(hosts[1], servers[1])
            said = process.stdout.read().split("\n")
    assert said[-2:] == ["right 1 2", ""]
