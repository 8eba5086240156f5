"""`from_server` in a TensorFlow trainer, against real servers."""

from __future__ import annotations

import copy
import gc
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from genserver.client import OptionError, from_server, reading
from genserver.client.options import PullOptions
from genserver.client.plan import make_plan
from genserver.protocol.messages import Status, WorkerStatus
from genserver.protocol.spec import parse_spec
from genserver.protocol.transport.inbox import Inbox

from ..support.servers import Serve, eventually

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
tf = pytest.importorskip("tensorflow")
tensorflow = pytest.importorskip("genserver.client.tensorflow")


def numbers(dataset: Any) -> list[int]:
    return [int(number) for number, *_ in dataset]


def test_spec_and_cardinality_come_from_the_server(serve: Serve) -> None:
    """Nothing is declared in the trainer; len() works when the server knows."""
    server = serve("texts", length=3)
    dataset = from_server(server.endpoint)
    assert dataset.element_spec["name"] == tf.TensorSpec((), tf.string)
    assert dataset.element_spec["tags"] == tf.TensorSpec((2,), tf.string)
    assert dataset.element_spec["weight"] == tf.TensorSpec((), tf.float32)
    assert len(dataset) == 3
    assert [e["name"].numpy().decode() for e in dataset] == [f"scan {n} ü" for n in range(3)]


def test_an_endless_server_says_so(serve: Serve) -> None:
    """--length infinite gives an infinite cardinality."""
    dataset = from_server(serve("endless", length="infinite", arguments={"kib": 1}).endpoint)
    assert int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY


def test_a_wrong_length_is_found_out(serve: Serve) -> None:
    """The dataset asserts the declared length."""
    dataset = from_server(serve("whole", length=9).endpoint)
    with pytest.raises(tf.errors.FailedPreconditionError, match="9 elements"):
        list(dataset)


def test_every_iterator_is_one_epoch(serve: Serve) -> None:
    """repeat() and for loops count epochs from 0; each has every element once."""
    server = serve("numbered", workers=3)
    dataset = from_server(server.endpoint)
    got = [(int(n), int(e)) for n, e in dataset.repeat(2)] + [(int(n), int(e)) for n, e in dataset]
    for epoch in range(3):
        assert sorted(n for n, e in got if e == epoch) == list(range(20))


@pytest.mark.parametrize("leave_after", [0, 1, 7, 19])
def test_an_iterator_left_early_is_never_seen_again(serve: Serve, leave_after: int) -> None:
    """take(k) and the next pass: all elements, one epoch."""
    server = serve("numbered", workers=3)
    dataset = from_server(server.endpoint)
    assert len(list(dataset.take(leave_after))) == leave_after
    got = [(int(n), int(e)) for n, e in dataset]
    assert sorted(n for n, _ in got) == list(range(20))
    assert len({e for _, e in got}) == 1


def test_deterministic_order_is_the_same_in_every_run(serve: Serve) -> None:
    """deterministic=True takes the workers in turn, with every lane setting it allows."""
    server = serve("numbered", workers=3)
    assert numbers(from_server(server.endpoint, deterministic=True)) == list(range(20))
    with pytest.raises(OptionError, match="in one lane"):
        from_server(server.endpoint, deterministic=True, cycle_length=2)


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_any_number_of_lanes_gives_every_element_once(serve: Serve, lanes: int) -> None:
    """cycle_length changes nothing but speed."""
    server = serve("numbered", workers=3, arguments={"n": 300})
    assert sorted(numbers(from_server(server.endpoint, cycle_length=lanes))) == list(range(300))


def test_large_elements_are_cut_right(serve: Serve) -> None:
    """1 MiB elements arrive whole and in order per worker, on the device that was asked for."""
    server = serve("endless", workers=2)
    dataset = from_server(server.endpoint, device="/CPU:0")
    seen: dict[int, int] = {0: 0, 1: 1}
    for element in dataset.take(40):
        assert element.device.endswith("CPU:0")
        values = set(element.numpy().tolist())
        assert len(values) == 1
        number = int(values.pop())
        assert number == seen[number % 2]
        seen[number % 2] += 2


@pytest.mark.parametrize("kib", [1, 256], ids=["small", "large"])
def test_batches_mix_the_workers(serve: Serve, kib: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """When every worker has elements waiting, each batch of 8 has some of 4 workers."""
    full: set[Inbox] = set()
    original = Inbox.take_all

    def all_or_nothing(inbox: Inbox) -> Any:
        """Nothing is there for the lane until all workers have used some of their credit."""
        if all(len(source.ready) >= 4 for source in inbox._sources):
            full.add(inbox)
        return original(inbox) if inbox in full else ([], [])

    monkeypatch.setattr(Inbox, "take_all", all_or_nothing)
    monkeypatch.setattr(Inbox, "take", lambda inbox, seconds, source=None: None)
    server = serve("marked", workers=4, arguments={"kib": kib})
    iterator = iter(from_server(server.endpoint).batch(8))
    for _ in range(2):
        workers, numbers = next(iterator)
        assert set(workers[:, 0].numpy().tolist()) == {0, 1, 2, 3}
        assert len({(int(w), int(n)) for w, n in zip(workers[:, 0], numbers, strict=True)}) == 8


@pytest.mark.parametrize("deterministic", [False, True])
def test_texts_and_changing_sizes_mix_and_keep_their_order(
    serve: Serve, deterministic: bool
) -> None:
    """What has no fixed size goes the same ways: each once, each worker's in order."""
    dataset = from_server(
        serve("named", workers=3, spec="{name: str[], row: int64[None]}").endpoint,
        deterministic=deterministic,
    )
    got = [(int(e["name"].numpy().split()[1]), e["row"].numpy().tolist()) for e in dataset]
    for worker in range(3):
        mine = [number for number, _ in got if number % 3 == worker]
        assert mine == list(range(worker, 1000, 3))
    assert all(row == [number] * (number // 100 % 3) for number, row in got)
    assert not deterministic or [number for number, _ in got] == list(range(1000))


def test_large_elements_of_several_workers_in_turn_keep_their_order(serve: Serve) -> None:
    """deterministic=True gives large ones worker by worker too."""
    dataset = from_server(
        serve("marked", workers=3, arguments={"kib": 128, "n": 10}).endpoint, deterministic=True
    )
    got = [(int(number), int(array[0])) for array, number in dataset]
    assert got == [(number, worker) for number in range(10) for worker in range(3)]


def test_mixed_large_elements_are_not_copied() -> None:
    """Elements that are cut from the parts of several workers lie in those parts."""
    arrays = [np.arange(64 * 1024, dtype=np.int64) + who for who in range(3)]
    parts = [_aligned(np.stack([array, array + 10])) for array in arrays]
    plan = make_plan(
        ["tcp://127.0.0.1:5555"],
        [Status("ready", "a:b", "off", 0, -2, "", parse_spec("int64[65536]"),
                tuple(WorkerStatus(i, "ready", 1, "", 1) for i in range(3)))],
        PullOptions(), memory=2**34,
    )  # fmt: skip
    signature = (tf.TensorSpec((None, 65536), tf.int64),) * 3
    runs = tf.data.Dataset.from_generator(lambda: iter([tuple(parts)]), output_signature=signature)
    elements = list(tensorflow._cut(runs, plan, 1))
    assert [int(element[0]) for element in elements] == [0, 1, 2, 10, 11, 12]
    for index, element in enumerate(elements):
        row = parts[index % 3][index // 3]
        assert element._numpy_internal().ctypes.data == row.ctypes.data


def _aligned(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A copy that starts on 64 bytes, as received arrays do."""
    raw = np.empty(array.nbytes + 64, np.uint8)
    shift = -raw.ctypes.data % 64
    copied = raw[shift : shift + array.nbytes].view(array.dtype).reshape(array.shape)
    copied[...] = array
    return copied


def test_batches_of_the_workers_are_the_elements(serve: Serve) -> None:
    """batch=8: each of a single worker, the last one smaller, every element once; the spec says
    so and the number of batches is unknown."""
    server = serve("numbered", workers=3, arguments={"n": 100}, length=100)
    dataset = from_server(server.endpoint, batch=8)
    assert dataset.element_spec[0] == tf.TensorSpec((None,), tf.int64)
    assert int(dataset.cardinality()) == tf.data.UNKNOWN_CARDINALITY
    got = [numbers.numpy().tolist() for numbers, _ in dataset]
    assert sorted(n for batch in got for n in batch) == list(range(100))
    assert sorted(map(len, got)) == [1, 1, 2, *[8] * 12]
    assert all(len({n % 3 for n in batch}) == 1 for batch in got)


def test_an_incomplete_last_batch_can_be_dropped(serve: Serve) -> None:
    """drop_remainder=True: the spec says the size, and one worker's count is known."""
    server = serve("whole", length=10)
    dataset = from_server(server.endpoint, batch=4, drop_remainder=True)
    assert dataset.element_spec == tf.TensorSpec((4,), tf.int64)
    assert len(dataset) == 2
    assert [batch.numpy().tolist() for batch in dataset] == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_deterministic_batches_come_in_turn(serve: Serve) -> None:
    """Batch by batch, worker by worker."""
    server = serve("numbered", workers=2, arguments={"n": 12})
    got = [n.numpy().tolist() for n, _ in from_server(server.endpoint, batch=4, deterministic=True)]
    assert got == [[0, 2, 4, 6], [1, 3, 5, 7], [8, 10], [9, 11]]


def test_a_failure_stays_a_failure(serve: Serve) -> None:
    """Every later next() raises the same error; none of them ends the data."""
    iterator = iter(from_server(serve("failing").endpoint))
    assert [int(next(iterator)) for _ in range(3)] == [0, 1, 2]
    for _ in range(3):
        with pytest.raises(tf.errors.UnknownError, match="upside down"):
            next(iterator)


def test_bench_says_what_tf_data_refuses_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Elements of several sizes cannot be a batch; neither traceback nor names of operations."""
    monkeypatch.setattr(reading, "die_with_parent", lambda _: True)  # the tests go on
    reader, writer = os.pipe()
    plan = {"warm_up": 0.0, "seconds": 0.0, "slices": 1}
    options = {"parent": 0, "report": writer, "plan": plan, "spec": "float32[None]", "batch": 2}
    elements = [np.zeros(size, np.float32) for size in (2, 3)]
    reading.plain(options, lambda _: lambda: iter(elements))
    with open(reader) as report:
        answer = json.load(report)
    assert answer["error"].startswith("tf.data: Cannot batch tensors with different shapes")
    assert answer["error"].endswith("element 1 had shape [3].")


def test_deleting_a_waiting_iterator_is_quick(serve: Serve) -> None:
    """An iterator over a generator that is stuck in an element is deleted in 200 ms or so."""
    server = serve("napping", arguments={"seconds": 3600.0}, spec="int64[]")
    iterator = iter(from_server(server.endpoint).prefetch(1))
    began = time.monotonic()
    del iterator
    gc.collect()
    assert time.monotonic() - began < 5.0  # a hang is what must not be; the bench has the figure


def test_a_deleted_iterator_frees_its_streams(serve: Serve, tmp_path: Path) -> None:
    """The generators' finally blocks run once the trainer dropped the iterator."""
    # Declared, or the generator that found the spec would wait for its first trainer.
    server = serve("tidy", workers=2, arguments={"folder": str(tmp_path)}, spec="int64[]")
    iterator = iter(from_server(server.endpoint))
    next(iterator)
    assert eventually(lambda: len(list(tmp_path.iterdir())) == 2)
    del iterator
    gc.collect()
    assert eventually(lambda: not list(tmp_path.iterdir()))


def test_zip_of_one_dataset_with_itself_gives_two_passes(serve: Serve) -> None:
    """Two streams of one dataset at once, each whole, with their own epochs."""
    dataset = from_server(serve("numbered", workers=2).endpoint)
    pairs = list(tf.data.Dataset.zip((dataset, dataset)))
    for which in (0, 1):
        assert sorted(int(pair[which][0]) for pair in pairs) == list(range(20))
    assert {int(a[1]) for a, _ in pairs} != {int(b[1]) for _, b in pairs}


def test_aligned_elements_are_not_copied(serve: Serve) -> None:
    """What the client hands to TensorFlow starts on 64 bytes, so that TensorFlow can alias it."""
    from genserver.client.lane import Lane
    from genserver.client.source import Source

    server = serve("endless", workers=1)
    source = Source(server.endpoint, PullOptions())
    lane = Lane(source, number=0, expect=source.plan().spec)
    runs = 0
    while runs < 5:
        run = lane.take(1.0)
        if run is not None:
            runs += 1
            ((column,),) = run.parts
            assert isinstance(column, np.ndarray)
            assert column.ctypes.data % 64 == 0
            assert not column.flags.writeable
    lane.close()


def test_tensorflows_own_error_keeps_its_fields() -> None:
    """UnknownError, whose constructor we replace, has its message, code, op and payloads."""
    error = tf.errors.UnknownError(None, None, "upside down")
    assert (error.message, error.error_code) == ("upside down", tf.errors.UNKNOWN)
    assert (error.op, error.node_def, error.experimental_payloads) == (None, None, {})
    assert str(error) == "upside down"
    again = copy.copy(error)
    assert again.message == "upside down"
