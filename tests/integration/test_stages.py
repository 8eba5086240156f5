"""Two stages, with real processes: the second's workers take the elements of the first."""

from __future__ import annotations

import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genserver.client import Client, GeneratorError, Progress
from genserver.server import Server, ServerFailed, stage
from genserver.server import StageError as Wrong

from ..support.dealt import CUBES
from ..support.processes import alive, eventually, processes_of
from ..support.servers import Serve


def numbers(elements: Any) -> list[tuple[int, int]]:
    """(volume, k) of cubes, whose voxels must be the volume's."""
    got = []
    for corner, told in elements:
        assert (np.asarray(corner) == told[0]).all()
        got.append((int(told[0]), int(told[1])))
    return got


def cubes_of(volumes: int) -> list[tuple[int, int]]:
    return [(number, k) for number in range(volumes) for k in range(CUBES)]


def in_order(got: list[tuple[int, int]]) -> bool:
    """Whether each volume's cubes came in their order."""
    return all(
        [k for volume, k in got if volume == number] == list(range(CUBES)) for number, _ in got
    )


@pytest.fixture
def pairs(shared: Serve) -> Server:
    return shared("dealt:pairs")


def processes(server: Server) -> list[int]:
    """All of a server: those of the first stage's too."""
    found, new = [server.pid], [server.pid]
    while new:
        new = [child for pid in new for child in processes_of(pid) if child not in found]
        found += new
    return found


@pytest.mark.parametrize("name", ["pairs", "uneven"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_each_volume_is_cut_once_and_its_cubes_come_in_order(
    shared: Serve, name: str, deterministic: bool
) -> None:
    """Whatever the numbers of workers, in every pass; a volume is a dict with a text, read-only."""
    server = shared(f"dealt:{name}")
    with Client(server.endpoint, deterministic=deterministic) as client:
        for _ in range(3):
            got = numbers(client)
            assert sorted(got) == cubes_of(10)
            assert in_order(got)


def test_a_function_of_one_element_and_a_first_stage_over_items(serve: Serve) -> None:
    """An item is a volume; what is returned is the element."""
    server = serve("dealt:by_items")
    with Client(server.endpoint) as client:
        for _ in range(2):
            assert sorted(int(corner[0]) for corner in client) == list(range(7))


def test_loaders_that_each_make_everything_do_so_in_every_pass(shared: Serve) -> None:
    """With sharding "off" each volume comes from each of them."""
    server = shared("dealt:whole_copies")
    with Client(server.endpoint) as client:
        for _ in range(3):
            assert sorted(int(corner[0]) for corner in client) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_two_trainers_that_begin_together_share_no_generator(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has all volumes, and none is loaded more often than once for each."""
    notes = tmp_path / "notes"
    monkeypatch.setenv("GENSERVER_TEST_NOTES", str(notes))
    server = serve("dealt:noted")
    with Client(server.endpoint) as one, Client(server.endpoint) as other:
        passes = [iter(one), iter(other)]
        got: list[list[Any]] = [[], []]
        for _ in range(50):
            for kept, each in zip(got, passes, strict=True):
                kept.append(next(each))
    assert [sorted(numbers(kept)) for kept in got] == [cubes_of(10)] * 2
    loads = [line for line in notes.read_text().splitlines() if line.startswith("load")]
    assert len(loads) <= 20


def test_passes_that_are_left_early_and_passes_side_by_side(pairs: Server) -> None:
    """Each has all volumes; one that is left frees both stages."""
    with Client(pairs.endpoint) as client:
        for taken in (1, 3, 12, 30):
            assert len(list(islice(client, taken))) == taken
        both = [iter(client), iter(client)]
        started = [list(islice(each, 4)) for each in both]
        for first, each in zip(started, both, strict=True):
            assert sorted(numbers([*first, *each])) == cubes_of(10)


def test_an_endless_first_stage(serve: Serve) -> None:
    """No volume twice, none left out but those in work."""
    server = serve("dealt:for_ever")
    with Client(server.endpoint) as client:
        got = numbers(islice(client, 400))
    whole = {volume for volume, k in got if k == CUBES - 1}
    assert len(set(got)) == len(got)
    missing = set(range(max(whole) - 40)) - whole  # a worker's chunk may be in front by so much
    assert not missing


def test_batches_of_cubes(pairs: Server) -> None:
    """They are made in the second stage."""
    with Client(pairs.endpoint, batch=4) as client:
        got = [(int(t[0]), int(t[1])) for _, told in client for t in told]
    assert sorted(got) == cubes_of(10)


@pytest.mark.parametrize("stage_of", ["first", "second"])
def test_a_worker_that_dies_loses_and_repeats_nothing(serve: Serve, stage_of: str) -> None:
    """Of either stage, killed while its volumes are in work."""
    server = serve("dealt:slowly", max_restarts=20)
    killed: set[int] = set()
    with Client(server.endpoint) as client:
        got = []
        for number, (corner, told) in enumerate(client):
            got.append((corner, told))
            if number % 12 == 5:
                pid = int(told[2])
                if stage_of == "first":
                    pid = loaders(server, second={int(t[2]) for _, t in got})[0]
                if pid not in killed:
                    killed.add(pid)
                    os.kill(pid, signal.SIGKILL)
        assert sorted(numbers(got)) == cubes_of(10)
        assert in_order(numbers(got))
        assert len(killed) >= 3
        assert sorted(numbers(client)) == cubes_of(10)


def loaders(server: Server, second: set[int]) -> list[int]:
    """The first stage's workers: children of a child of ours."""
    upstream = [pid for pid in processes_of(server.pid) if processes_of(pid)]
    (inner,) = [pid for pid in upstream if pid not in second]
    return processes_of(inner)


def test_an_error_of_either_stage_is_the_trainers(serve: Serve) -> None:
    """With its own class and text, and where it was."""
    damaged = serve("dealt:damaged")
    with (
        Client(damaged.endpoint) as client,
        pytest.raises(GeneratorError, match=r"OSError: the archive is damaged \[first stage: wor"),
    ):
        list(client)
    picky = serve("dealt:picky")
    with Client(picky.endpoint) as client:
        for _ in range(2):
            with pytest.raises(GeneratorError, match="ValueError: no brain in it"):
                list(client)


def test_a_first_stage_that_cannot_begin_is_said_once(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    """The server does not start, with the generator's own error."""
    with pytest.raises(
        ServerFailed,
        match=r"first stage ended: dealt:first_cannot failed .*OSError: no archive at all",
    ):
        serve("dealt:hopeless")
    assert "no archive at all, worker 0" in capfd.readouterr().err


def test_all_workers_of_both_stages_have_something_when_the_server_is_ready(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has made its first element before any trainer comes, which none makes again."""
    notes = tmp_path / "notes"
    monkeypatch.setenv("GENSERVER_TEST_NOTES", str(notes))
    server = serve("dealt:noted")
    first = {f"worker {index} {what} scan {index}" for what in ("load", "cut") for index in (0, 1)}
    assert first <= set(notes.read_text().splitlines())
    with Client(server.endpoint) as client:
        assert sorted(numbers(client)) == cubes_of(10)
    made = notes.read_text().splitlines()
    assert sorted(line for line in made if "load" in line) == sorted(
        f"worker {number % 2} load scan {number}" for number in range(10)
    )
    # One that is slow to be connected may have its first volume cut by the other, who is done.
    assert len(set(made)) == len(made)


@pytest.fixture
def to_be_killed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server whose folder is left to the next one: its own, which goes with the test."""
    folder = tempfile.mkdtemp(prefix="gs")
    del serve  # which sets the path of the generators
    monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
    with Server("dealt:pairs") as server:
        yield server
    shutil.rmtree(folder)


def test_no_process_is_left_when_the_supervisor_is_killed(to_be_killed: Server) -> None:
    """Of either stage."""
    server = to_be_killed
    ours = processes(server)
    assert len(ours) == 6
    os.kill(server.pid, signal.SIGKILL)
    assert eventually(lambda: not any(map(alive, ours)))


def test_a_first_stage_that_is_gone_ends_the_server(
    to_be_killed: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its supervisor was killed: a sentence and an exit code, not silence."""
    server = to_be_killed
    (inner,) = [pid for pid in processes_of(server.pid) if processes_of(pid)]
    os.kill(inner, signal.SIGKILL)
    assert eventually(lambda: "the first stage ended: SIGKILL" in capfd.readouterr().err)
    assert server.stop() == 70


def test_another_run_goes_on_with_the_volumes_that_were_not_finished(pairs: Server) -> None:
    """Those that were begun come again, whole."""
    progress = Progress()
    with Client(pairs.endpoint, resume=progress, seed=4) as client:
        first = numbers(islice(client, 22))
        progress.advance(22)
    state = progress.state()
    with Client(pairs.endpoint, resume=state) as client:
        second = numbers(client)
    assert {*first, *second} == set(cubes_of(10))
    assert len(set(second)) == len(second)
    assert len(first) + len(second) == 50 + state.repeats


@pytest.mark.parametrize(
    ("name", "options", "match"),
    [
        ("alone", {}, r"one stage alone: say with .then\(function\) what follows"),
        ("pairs", {"workers": 3}, "last stage says workers=2: leave --workers out"),
        ("pairs", {"arguments": {"n": 3}}, "whose stages say what they are called with"),
        ("pairs", {"items": [1]}, "whose stages say what they are called with"),
        ("pairs", {"recovery": "stream"}, "--recovery stream is for one stage"),
        ("waiting", {}, "is an async function that makes one element, and a second stage works"),
    ],
)
def test_what_a_pipeline_does_not_take_is_said(
    serve: Serve, name: str, options: dict[str, Any], match: str
) -> None:
    """One sentence each."""
    with pytest.raises(ServerFailed, match=match):
        serve(f"dealt:{name}", **options)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: stage(print, workers=0), "1 worker or more, not 0"),
        (lambda: stage(5), "something with elements, not a int"),
        (lambda: stage(print, sharding="of"), "'static' or 'off', not 'of'"),
        (lambda: stage(print).then(Path.exists), "needs an object: give Path().exists"),
        (lambda: stage(Path.exists, items=[1]), "needs an object: give Path().exists"),
        (lambda: stage([1, 2], items=[3]), "items are given to a function, not to a list"),
        (lambda: stage(print).then("cubes"), "a function of an element, not a str"),
        (lambda: stage(print).then(print).then(print), "a pipeline has two stages"),
    ],
)
def test_what_is_no_pipeline_is_said_where_it_is_written(make: Any, match: str) -> None:
    """At once, not when it is served."""
    with pytest.raises(Wrong, match=re.escape(match)):
        make()
