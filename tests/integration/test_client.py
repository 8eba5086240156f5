"""The numpy client against real servers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from itertools import islice

import numpy as np
import pytest
from genserver.client import Client, Closed, GeneratorError, PlanError, Unreachable, WorkerDied
from genserver.client.options import PullOptions
from genserver.client.source import Reach, Source

from ..support.servers import Serve, eventually


def test_every_element_comes_once_per_epoch_in_order_per_worker(serve: Serve) -> None:
    """10,000 numbered elements over 3 workers, 5 epochs: each once, each worker's in order."""
    server = serve("numbered", workers=3, arguments={"n": 10_000})
    with Client(server.endpoint) as client:
        for epoch in range(5):
            got = [(int(number), int(e)) for number, e in client]
            assert {e for _, e in got} == {epoch}
            for worker in range(3):
                mine = [number for number, _ in got if number % 3 == worker]
                assert mine == list(range(worker, 10_000, 3))


def test_an_iterator_of_a_closed_client_raises(serve: Serve) -> None:
    """It neither waits for ever nor ends as if that were all."""
    client = Client(serve("endless", arguments={"kib": 1}).endpoint)
    iterator = iter(client)
    next(iterator)
    client.close()
    with pytest.raises(Closed, match="the client was closed"):
        list(iterator)


def test_arguments_may_be_larger_than_a_command_line(serve: Serve) -> None:
    """A list of 300 KB reaches every worker whole."""
    texts = [f"/data/scans/subject_{number:06}.nii.gz" for number in range(8_000)]
    server = serve("lengths", workers=2, arguments={"texts": texts})
    with Client(server.endpoint) as client:
        assert sum(map(int, client)) == sum(map(len, texts))


@pytest.mark.parametrize("transport", [pytest.param("ipc", marks=pytest.mark.linux), "tcp"])
@pytest.mark.parametrize("leave_after", [0, 1, 7, 9_999])
def test_a_pass_left_early_is_never_seen_again(
    serve: Serve, transport: str, leave_after: int
) -> None:
    """After leaving early the next epoch's elements come, and none of the old epoch."""
    server = serve("numbered", workers=3, arguments={"n": 10_000})
    with Client(server.endpoint, transport=transport) as client:
        left = iter(client)
        first = [next(left) for _ in range(leave_after)]
        assert {int(epoch) for _, epoch in first} <= {0}
        left.close()  # type: ignore[attr-defined]  # a generator's iterator has close()
        got = [(int(number), int(epoch)) for number, epoch in client]
        assert sorted(number for number, _ in got) == list(range(10_000))
        # A pass that was never advanced has taken no number.
        assert {epoch for _, epoch in got} == {1 if leave_after else 0}


def test_deterministic_order_takes_the_workers_in_turn(serve: Serve) -> None:
    """deterministic=True gives the elements worker by worker, in every run the same."""
    server = serve("numbered", workers=3, arguments={"n": 20})
    with Client(server.endpoint, deterministic=True) as client:
        assert [int(number) for number, _ in client] == list(range(20))


def test_large_elements_of_all_workers_come_mixed(serve: Serve) -> None:
    """Rows of several workers' chunks are taken in turn, each worker's in order."""
    server = serve("marked", workers=3, arguments={"kib": 64, "n": 50})
    with Client(server.endpoint) as client:
        got = [(int(array[0]), int(number)) for array, number in client]
    for worker in range(3):
        assert [number for who, number in got if who == worker] == list(range(50))


def test_batches_come_as_arrays_with_a_leading_dimension(serve: Serve) -> None:
    """batch=8 and the numpy client: whole batches of one worker, the last one smaller."""
    server = serve("numbered", workers=2, arguments={"n": 40})
    with Client(server.endpoint, batch=8) as client:
        assert str(client.spec) == "(int64[None], int64[None])"
        got = [numbers.tolist() for numbers, _ in client]
    assert sorted(map(len, got)) == [4, 4, 8, 8, 8, 8]
    assert sorted(n for batch in got for n in batch) == list(range(40))


def test_two_iterators_are_independent_streams(serve: Serve) -> None:
    """Two passes advanced in turn each see everything, with their own epoch."""
    server = serve("numbered", workers=2)
    with Client(server.endpoint) as client:
        pairs = list(zip(client, client, strict=True))
        for which in (0, 1):
            assert sorted(int(pair[which][0]) for pair in pairs) == list(range(20))
            assert {int(pair[which][1]) for pair in pairs} == {which}


def test_several_servers_number_their_workers_through(serve: Serve) -> None:
    """Two servers of 2 and 1 workers give global indices 0, 1, 2 of 3."""
    first, second = serve("places", workers=2), serve("places", workers=1)
    with Client([first.endpoint, second.endpoint]) as client:
        told = sorted((int(e["index"]), int(e["count"])) for e in client)
    assert told == [(0, 3), (1, 3), (2, 3)]


def test_workers_live_on_between_epochs(serve: Serve) -> None:
    """The same processes serve every epoch."""
    server = serve("places", workers=2)
    with Client(server.endpoint) as client:
        pids = [frozenset(int(e["pid"]) for e in client) for _ in range(3)]
    assert len(set(pids)) == 1
    assert len(pids[0]) == 2


def test_random_states_depend_on_seed_worker_and_epoch_alone(serve: Serve) -> None:
    """Global and own random numbers repeat with the seed and differ between epochs."""
    for target in ("randoms", "own_random"):
        server = serve(target, workers=1)

        def epochs(seed: int, endpoint: str = server.endpoint) -> list[list[list[float]]]:
            with Client(endpoint, seed=seed) as client:
                return [[e.tolist() for e in client] for _ in range(2)]

        first, again, other = epochs(1), epochs(1), epochs(2)
        assert first == again
        assert first[0] != first[1]
        assert first != other


def test_streams_of_one_worker_keep_their_random_states_apart(serve: Serve) -> None:
    """Two passes advanced in turn draw the same numbers as one after the other."""
    server = serve("randoms", workers=1)
    with Client(server.endpoint, seed=3, epoch=0) as client:
        alone = [e.tolist() for e in client]
        together = [(a.tolist(), b.tolist()) for a, b in zip(client, client, strict=True)]
    assert [a for a, _ in together] == alone
    assert [b for _, b in together] == alone


def test_a_generator_may_reuse_its_buffer(serve: Serve) -> None:
    """Elements are copied before the generator runs on."""
    server = serve("reusing")
    with Client(server.endpoint) as client:
        assert [set(e.tolist()) for e in client] == [{n} for n in range(5)]


def test_texts_and_numbers_arrive_as_they_were(serve: Serve) -> None:
    """str, bytes, arrays of str and Python's own numbers survive."""
    server = serve("texts")
    with Client(server.endpoint) as client:
        got = list(client)
    assert [e["name"] for e in got] == ["scan 0 ü", "scan 1 ü", "scan 2 ü"]
    assert [e["jpeg"] for e in got] == [bytes([n]) * 100_000 for n in range(3)]
    assert [e["tags"].tolist() for e in got] == [["a", ""], ["a", "bb"], ["a", "bbbb"]]
    assert [float(e["weight"]) for e in got] == [0.0, 0.5, 1.0]
    assert all(e["weight"].dtype == np.float32 and e["slices"].dtype == np.int64 for e in got)


def test_an_exception_reaches_the_trainer_with_its_traceback(serve: Serve) -> None:
    """What came before is delivered; then the error names worker, epoch and element."""
    server = serve("failing")
    with Client(server.endpoint) as client:
        got = []
        with pytest.raises(GeneratorError, match="upside down") as caught:
            got += [int(e) for e in client]
        assert caught.value.kind == "ValueError"
        assert (caught.value.worker, caught.value.epoch, caught.value.element) == (0, 0, 3)
        assert "in failing" in caught.value.traceback
        assert "runner.py" not in caught.value.traceback
        iterator = iter(client)
        assert [int(next(iterator)) for _ in range(3)] == [0, 1, 2]


def test_an_element_of_another_size_names_the_spec_that_fits(serve: Serve) -> None:
    """The error holds the relaxed spec to paste."""
    server = serve("changing")
    with (
        Client(server.endpoint) as client,
        pytest.raises(GeneratorError, match=r"float32\[2,None\]"),
    ):
        list(client)


def test_an_empty_worker_passes_the_search_for_the_spec_on(serve: Serve) -> None:
    """Worker 0 yields nothing; the spec comes from worker 1."""
    server = serve("nothing", workers=3)
    with Client(server.endpoint) as client:
        assert sorted(int(e) for e in client) == [1, 2]


def test_a_declared_spec_and_length_need_no_element(serve: Serve) -> None:
    """An empty generator can be served when its spec is said."""
    server = serve("none_at_all", spec="int64[]", length=0)
    with Client(server.endpoint) as client:
        assert list(client) == []
        assert client.cardinality == 0


def test_the_searched_element_is_not_made_twice(serve: Serve, tmp_path: object) -> None:
    """The generator that found the spec goes on for the first stream that asks for the same."""
    server = serve("tidy", workers=1, arguments={"folder": str(tmp_path)}, seed=5)
    import pathlib

    folder = pathlib.Path(str(tmp_path))
    before = {p.stat().st_ino for p in folder.iterdir()}
    with Client(server.endpoint) as client:
        iterator = iter(client)
        assert int(next(iterator)) == 0
        assert {p.stat().st_ino for p in folder.iterdir()} == before
        iterator.close()  # type: ignore[attr-defined]  # a generator's iterator has close()


def test_leaving_an_iterator_frees_its_stream_at_once(serve: Serve, tmp_path: object) -> None:
    """The generator's finally block runs as soon as the iterator is closed."""
    import pathlib

    folder = pathlib.Path(str(tmp_path))
    # Declared, or the generator that found the spec would wait for its first trainer.
    server = serve("tidy", workers=2, arguments={"folder": str(tmp_path)}, spec="int64[]")
    with Client(server.endpoint) as client:
        iterator = iter(client)
        next(iterator)
        assert eventually(lambda: len(list(folder.iterdir())) == 2)
        iterator.close()  # type: ignore[attr-defined]  # a generator's iterator has close()
        assert eventually(lambda: not list(folder.iterdir()))


def test_a_ninth_stream_on_one_worker_is_refused(serve: Serve) -> None:
    """Eight iterators live side by side; the ninth gets a sentence, the eight go on."""
    server = serve("endless", workers=1, arguments={"kib": 1})
    with Client(server.endpoint) as client:
        eight = [iter(client) for _ in range(8)]
        assert [int(next(iterator)[0]) for iterator in eight] == [0] * 8
        with pytest.raises(Exception, match="8 open streams"):
            next(iter(client))
        assert [int(next(iterator)[0]) for iterator in eight] == [1] * 8
        client.close()


def test_a_killed_worker_is_named_with_its_signal(serve: Serve) -> None:
    """SIGKILL of a worker is an error that names it and the likely cause, not an end."""
    server = serve("dying", workers=2, max_restarts=0)
    with Client(server.endpoint) as client, pytest.raises(WorkerDied, match="SIGKILL") as caught:
        for _ in client:
            pass
    assert caught.value.worker == 1
    assert server.stop() == 70


def test_what_cannot_be_divided_is_refused_over_several_servers(serve: Serve) -> None:
    """Two servers of one whole generator would serve everything twice."""
    endpoints = [serve("whole").endpoint, serve("whole").endpoint]
    with pytest.raises(PlanError, match="cannot be divided"):
        Client(endpoints)


def test_sharding_off_gives_every_worker_the_whole(serve: Serve) -> None:
    """With --sharding off two workers each serve all elements, and the length counts both."""
    server = serve("whole", workers=2, sharding="off", length=10)
    with Client(server.endpoint) as client:
        assert client.cardinality == 20
        assert sorted(int(e) for e in client) == sorted([*range(10), *range(10)])


def test_workers_run_one_thread_and_see_no_devices(serve: Serve) -> None:
    """BLAS and OpenMP threads are 1 and GPUs hidden, unless the user said otherwise."""
    server = serve("environment")
    with Client(server.endpoint) as client:
        assert [int(e) for e in client] == [2]


def test_the_module_is_imported_once_per_worker(
    serve: Serve, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three epochs import the user's module once in each of two workers."""
    monkeypatch.setenv("GENSERVER_TEST_IMPORTS", str(tmp_path))
    server = serve(
        "counting_imports", workers=2, sharding="off", arguments={"folder": str(tmp_path)},
        spec="int64[]",  # or the first element is made while the other worker still imports
    )  # fmt: skip
    with Client(server.endpoint) as client:
        assert {int(e) for _ in range(3) for e in client} == {2}


def test_a_trainer_that_does_not_read_stops_only_its_own_stream(serve: Serve) -> None:
    """One client takes a single element and pauses; another streams on."""
    server = serve("endless", workers=1, arguments={"kib": 256})
    with Client(server.endpoint) as idle, Client(server.endpoint) as busy:
        waiting = iter(idle)
        next(waiting)
        numbers = [int(e[0]) for e in islice(busy, 600)]
        assert numbers == list(range(600))
        assert int(next(waiting)[0]) == 1


def test_a_client_may_be_used_by_another_thread(serve: Serve) -> None:
    """An iterator made in one thread goes on in another."""
    server = serve("numbered", workers=2)
    got: list[int] = []
    with Client(server.endpoint) as client:
        iterator = iter(client)
        got.append(int(next(iterator)[0]))
        thread = threading.Thread(target=lambda: got.extend(int(n) for n, _ in iterator))
        thread.start()
        thread.join(20)
    assert sorted(got) == list(range(20))


@pytest.mark.parametrize("transport", [pytest.param("ipc", marks=pytest.mark.linux), "tcp"])
def test_links_that_are_cut_lose_and_repeat_nothing(serve: Serve, transport: str) -> None:
    """Every hundred elements the links are thrown away that gave any; the streams are resumed on
    new ones."""
    server = serve("endless", workers=2, arguments={"kib": 16})
    # So few wait that the next cut finds another link, however slow the I/O thread is.
    with Client(server.endpoint, transport=transport, memory_budget=2**20) as client:
        seen: dict[int, list[int]] = {0: [], 1: []}
        cut_at = {0: 0, 1: 0}
        links = set()
        for count, element in enumerate(islice(client, 30_000)):
            number = int(element[0])
            seen[number % 2].append(number)
            if count % 100 == 50:
                core = client._lanes[-1]._reach.connections[0]._core
                for index, worker in list(core._workers.items()):
                    # On a busy machine one may come back too late for the next cut, every time.
                    if len(seen[index]) == cut_at[index]:
                        continue
                    cut_at[index] = len(seen[index])
                    links.add(worker.link._dealer)
                    core.loop.call(lambda link=worker.link: link._dispatch(link.end.lose("cut")))
            # Whose link comes back first may give a thousand elements before the other does.
            if len(links) > 20 and min(map(len, seen.values())) > 100:
                break
        assert len(links) > 20
    for worker, numbers in seen.items():
        assert numbers == list(range(worker, worker + 2 * len(numbers), 2))
        assert len(numbers) > 100


def test_a_bug_in_the_io_thread_is_an_error_and_no_hang(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever happens on the I/O thread ends the wait of those who depend on it."""
    from genserver.protocol.errors import InternalError
    from genserver.protocol.transport.core import Core

    def broken(*_: object) -> None:
        raise ZeroDivisionError("made by this test")

    server = serve("napping", workers=1, arguments={"seconds": 0.1})
    with Client(server.endpoint) as client:
        monkeypatch.setattr(Core, "took", broken)
        with pytest.raises(InternalError, match="made by this test"):
            for _ in client:
                pass


def test_the_io_thread_ends_with_the_last_client(serve: Serve) -> None:
    """A few seconds after the last client nothing of genserver runs in the trainer."""
    server = serve("numbered", workers=2)
    with Client(server.endpoint) as client:
        list(client)
        assert any(t.name == "genserver-io" for t in threading.enumerate())
    began = time.monotonic()
    assert eventually(lambda: all(t.name != "genserver-io" for t in threading.enumerate()))
    assert time.monotonic() - began < 20


def test_a_workers_port_is_told_from_a_servers(serve: Serve) -> None:
    """Who gives a worker's endpoint hears so in seconds, from the client and from probe."""
    server = serve("whole", workers=1)
    source = Source(server.endpoint, PullOptions())
    reach = Reach(source)
    while reach.plan(1.0) is None:
        pass
    status = reach.connections[0].status
    reach.release()
    assert status is not None
    endpoint = f"tcp://127.0.0.1:{status.workers[0].port}"
    began = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        Client(endpoint)
    assert time.monotonic() - began < 15.0  # far below the connect timeout
    sentence = "within 2 s: a worker of a genserver listens there; give the server's own endpoint"
    assert sentence in str(caught.value)
    assert "Start one" not in str(caught.value)
    done = subprocess.run(
        [sys.executable, "-m", "genserver.server", "probe", endpoint],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, sentence in done.stderr) == (69, True)


@pytest.mark.parametrize("transport", [pytest.param("ipc", marks=pytest.mark.linux), "tcp"])
def test_very_large_elements_come_whole(serve: Serve, transport: str) -> None:
    """Elements that travel in several frames are what the generator made, one after another."""
    server = serve("endless", workers=1, arguments={"kib": 40 * 1024 + 4})
    with Client(server.endpoint, transport=transport) as client:
        for number, element in enumerate(islice(client, 4)):
            assert element.nbytes == (40 * 1024 + 4) * 1024
            assert (element == number).all()
