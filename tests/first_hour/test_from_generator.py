"""`from_generator` in the place of tf.data's: the same elements and errors, other processes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from genserver.client import CannotSend, OptionError, ServerFailed, from_generator
from genserver.protocol.errors import SpecError
from genserver.server import stage

from ..support.processes import alive, eventually, processes_of, program

tf = pytest.importorskip("tensorflow")

pytestmark = pytest.mark.usefixtures("runtime_folder")

SCALE = 3


def pairs() -> Iterator[Any]:
    for number in range(4):
        yield np.full((2, 3), number * SCALE), number


def texts(name: bytes, n: np.int32) -> Iterator[str]:
    for number in range(n):
        yield f"{type(name).__name__} {name.decode()} {type(n).__name__} {number}"


def nested() -> Iterator[Any]:
    yield {"a": [1, 2], "b": (0.5, "text")}
    yield {"a": [3, 4], "b": (1.5, "more")}


def floats() -> Iterator[Any]:
    yield 0.1
    yield np.float64(0.2)
    yield 3


def masks() -> Iterator[Any]:
    yield np.array([True, False])


FLOAT, INT, TEXT = tf.float32, tf.int32, tf.string
PLAIN = tf.data.Dataset.from_generator


@pytest.fixture(autouse=True)
def as_in_a_script() -> Iterator[None]:
    """What this module defines is sent, as if it was the user's program; workers do not import it,
    and TensorFlow with it."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def error_of(call: Callable[..., Any], given: dict[str, Any]) -> Exception:
    try:
        call(**given)
    except (TypeError, ValueError) as error:
        return error
    raise AssertionError("no error")


@pytest.mark.parametrize(
    ("generator", "given"),
    [
        (pairs, {"output_types": (FLOAT, FLOAT)}),
        (pairs, {"output_types": (tf.float64, INT), "output_shapes": ((2, None), ())}),
        (pairs, {"output_signature": (tf.TensorSpec((None, 3), tf.int64), tf.TensorSpec((), INT))}),
        (texts, {"output_types": TEXT, "args": ("Gen_0", 2)}),
        (nested, {"output_types": {"a": INT, "b": (FLOAT, TEXT)}}),
        (floats, {"output_types": FLOAT, "output_shapes": ()}),
        (masks, {"output_types": tf.uint8}),
        (lambda: iter([True, False]), {"output_types": tf.bool}),
        (lambda: iter([[True, False]]), {"output_types": FLOAT}),
        (lambda: range(3), {"output_types": tf.int64}),
        (lambda: [[1.0, 2.0], [3.0, 4.0]], {"output_types": FLOAT}),
        (lambda: iter(()), {"output_signature": tf.TensorSpec((), INT)}),
    ],
)
def test_the_elements_are_those_of_tf_data(
    generator: Callable[..., Any], given: dict[str, Any]
) -> None:
    """With the same arguments, pass after pass; a shape that tf.data does not know is found."""
    theirs = PLAIN(generator, **given)
    ours = from_generator(generator, **given)
    tf.nest.map_structure(check_spec, ours.element_spec, theirs.element_spec)
    for _ in range(2):
        expected, got = list(theirs), list(ours)
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            tf.nest.map_structure(check_tensor, one, other)


def check_spec(ours: Any, theirs: Any) -> None:
    assert ours.dtype == theirs.dtype
    assert theirs.shape.is_compatible_with(ours.shape)


def check_tensor(ours: Any, theirs: Any) -> None:
    assert ours.dtype == theirs.dtype
    assert np.array_equal(ours.numpy(), theirs.numpy())


def test_without_types_the_first_element_says_them() -> None:
    """As a server's spec is found."""
    spec = from_generator(nested).element_spec
    assert spec["a"] == tf.TensorSpec((2,), tf.int64)
    assert spec["b"] == (tf.TensorSpec((), FLOAT), tf.TensorSpec((), TEXT))


@pytest.mark.parametrize(
    "given",
    [
        {"generator": 3, "output_types": INT},
        {"generator": pairs, "output_shapes": ()},
        {"generator": pairs, "output_types": INT, "output_signature": tf.TensorSpec((), INT)},
        {"generator": pairs, "output_shapes": (), "output_signature": tf.TensorSpec((), INT)},
        {"generator": pairs, "output_signature": [tf.TensorSpec((), INT)]},
        {"generator": pairs, "output_types": (INT, INT), "output_shapes": (None,)},
        {"generator": texts, "output_types": TEXT, "args": (object(), 1)},
    ],
)
def test_a_mistake_is_answered_as_by_tf_data(given: dict[str, Any]) -> None:
    """The same class of error, in the same words, before anything is started."""
    before = processes_of(os.getpid())
    theirs, ours = (error_of(call, given) for call in (PLAIN, from_generator))
    assert (type(ours), str(ours)[:40]) == (type(theirs), str(theirs)[:40])
    assert set(processes_of(os.getpid())) <= set(before)


@pytest.mark.parametrize(
    ("signature", "advice"),
    [
        (tf.RaggedTensorSpec((2, None), INT), "pad to one shape"),
        (tf.SparseTensorSpec((2, 2), INT), r"tf\.sparse\.to_dense"),
        (tf.OptionalSpec(tf.TensorSpec((), INT)), "beside it a bool"),
        (tf.data.DatasetSpec(tf.TensorSpec((), INT)), "elements of the inner dataset"),
        (tf.TensorSpec(None, INT), "the rank must be known"),
    ],
)
def test_what_has_no_dense_form_is_refused_with_it(signature: Any, advice: str) -> None:
    """Ragged, sparse, optional, datasets and unknown rank: what to yield and declare instead."""
    with pytest.raises(SpecError, match=advice):
        from_generator(pairs, output_signature=signature)


def test_what_tf_data_would_cut_off_fails() -> None:
    """300.0 as uint8 is 44 there; here the element is named."""
    dataset = from_generator(lambda: iter([3.0, 300.0]), output_types=tf.uint8)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"300\.0 does not fit without loss"):
        list(dataset)


def raising(kind: type[Exception]) -> Iterator[int]:
    yield 1
    raise kind("the scan is upside down")


@pytest.mark.parametrize(
    "generator",
    [
        lambda: raising(ValueError), lambda: raising(KeyError), lambda: raising(MemoryError),
        lambda: raising(NotImplementedError), lambda: iter(["a text"]),
        lambda: iter([1, (2, 3)]), lambda: iter([1, [2, 3]]),
    ],
    ids=["value", "key", "memory", "unimplemented", "type", "structure", "shape"],
)  # fmt: skip
def test_a_failure_has_the_class_that_it_has_in_tf_data(generator: Callable[..., Any]) -> None:
    """Whatever catches it goes on to catch it; and the user's words are in it."""
    signature = tf.TensorSpec((), tf.int64)
    with pytest.raises(tf.errors.OpError) as theirs:
        list(PLAIN(generator, output_signature=signature))
    with pytest.raises(tf.errors.OpError) as ours:
        list(from_generator(generator, output_signature=signature))
    assert type(ours.value) is type(theirs.value)
    assert "upside down" in str(ours.value) or "the spec says" in str(ours.value)


# Kinds.


class Scans:
    """Counts its objects; each has its own number of passes."""

    counter = 0

    def __init__(self) -> None:
        self.number = Scans.counter
        Scans.counter += 1

    def read(self, name: bytes) -> Iterator[str]:
        for number in range(2):
            yield f"{name.decode()}_{self.number} yields {number}"


class Called:
    def __call__(self) -> Iterator[int]:
        yield 0


class Numbered:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> int:
        return number * number


async def ticking() -> AsyncIterator[int]:
    for number in range(3):
        await asyncio.sleep(0)
        yield number


async def doubled(number: int) -> int:
    await asyncio.sleep(0.001 * (number % 3))
    return 2 * number


def test_a_method_has_an_object_for_each_worker() -> None:
    """The tutorial's generators are Gen_0, Gen_1 and Gen_2, and not three times the first."""
    dataset = from_generator(
        Scans.read, TEXT, args=("Gen",), workers=3, sharding="off", deterministic=True
    )
    expected = [f"Gen_{worker} yields {number}" for number in range(2) for worker in range(3)]
    assert [text.numpy().decode() for text in dataset] == expected


@pytest.mark.parametrize(
    ("generator", "given", "expected"),
    [
        (Called(), {}, [0]),
        (ticking, {}, [0, 1, 2]),
        ([5, 6, 7, 8, 9], {"workers": 2}, [5, 6, 7, 8, 9]),
        (Numbered(), {"workers": 2}, [0, 1, 4]),
        (doubled, {"items": list(range(9)), "concurrency": 4, "workers": 2}, list(range(0, 18, 2))),
        (lambda a, b: a * b, {"items": [(1, 2), (3, 4)]}, [2, 12]),
        (lambda n: n, {"items": range(5), "batch": 5}, [[0, 1, 2, 3, 4]]),
        (lambda: iter([np.arange(2), np.arange(3)]), {"unbatch": True}, [0, 1, 0, 1, 2]),
    ],
    ids=["object", "async", "list", "numbered", "async items", "tuples", "batch", "unbatch"],
)
def test_every_kind_of_generator_gives_its_elements(
    generator: Any, given: dict[str, Any], expected: list[Any]
) -> None:
    """In order, in one line."""
    dataset = from_generator(generator, deterministic=True, **given)
    assert [element.numpy().tolist() for element in dataset] == expected


def test_a_known_length_is_the_datasets() -> None:
    """That of a list, and of items that make one element each."""
    assert int(from_generator([1, 2, 3], workers=2).cardinality()) == 3
    assert int(from_generator(lambda n: n, items=range(7)).cardinality()) == 7


@pytest.mark.parametrize(
    ("generator", "given", "expected"),
    [
        (list(range(20)), {}, list(range(20))),
        (lambda n: 3 * n, {"items": range(20)}, [3 * n for n in range(20)]),
        (doubled, {"items": range(20), "concurrency": 4}, list(range(0, 40, 2))),
        (lambda: iter([np.arange(7)] * 3), {"unbatch": True}, list(range(7)) * 3),
        ([[1, 2, 3, 4, 5]] * 4, {"unbatch": True}, [1, 2, 3, 4, 5] * 4),
        (
            lambda n: [n] * 5,
            {"items": range(4), "unbatch": True},
            [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5,
        ),
    ],
    ids=["list", "items", "async items", "batches", "list of batches", "batches of items"],
)
def test_another_worker_goes_on_where_the_last_one_was(
    generator: Any, given: dict[str, Any], expected: list[int]
) -> None:
    """Whatever the kind: here each worker process makes six elements, and the next the others."""
    dataset = from_generator(generator, max_items=6, **given)
    assert [int(element) for element in dataset] == expected


class Declared:
    output_signature = "int16[]"
    length = 3

    def __call__(self) -> Iterator[int]:
        yield from range(3)


def test_what_a_function_declares_holds_here_too() -> None:
    """Its spec and its length, as for `genserver serve`."""
    dataset = from_generator(Declared())
    assert dataset.element_spec == tf.TensorSpec((), tf.int16)
    assert int(dataset.cardinality()) == 3


# What cannot be.


def test_what_cannot_be_divided_is_said() -> None:
    """Three workers would serve everything three times."""
    with pytest.raises(ServerFailed, match="cannot be divided, so 3 workers would serve every"):
        from_generator(pairs, workers=3)


LOCK = threading.Lock()


def locked() -> Iterator[int]:
    with LOCK:
        yield 1


class Holder:
    def __init__(self) -> None:
        self.parts = {"lock": threading.Lock()}

    def read(self) -> Iterator[int]:
        yield len(self.parts)


def closing_over() -> Callable[[], Iterator[int]]:
    rows = (number for number in range(3))

    def read() -> Iterator[int]:
        yield from rows

    return read


@pytest.mark.parametrize(
    ("generator", "name"),
    [
        (closing_over(), r"rows \(a generator\)"),
        (Holder().read, r"read\.__self__\.parts\['lock'\] \(a lock\)"),
        (lambda: locked(), r"LOCK \(a lock\)"),
    ],
    ids=["closure", "attribute", "global"],
)
def test_what_cannot_be_sent_is_named(generator: Any, name: str) -> None:
    """A generator that runs, a lock: where it is, and what to do; nothing is started."""
    before = processes_of(os.getpid())
    with pytest.raises(CannotSend, match=name) as caught:
        from_generator(generator)
    assert "Make it inside the generator" in str(caught.value)
    assert set(processes_of(os.getpid())) <= set(before)


def test_inside_of_map_or_interleave_it_is_told_where_to_be() -> None:
    """tf.data calls such a function once, with no element."""
    names = tf.data.Dataset.from_tensor_slices(["a", "b"])
    with pytest.raises(Exception, match="call it outside, with workers="):
        names.interleave(lambda name: from_generator(texts, TEXT, args=(name, 2)))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"workers": 0}, "workers must be 1 or more"),
        ({"concurrency": 2}, "concurrency is the number of calls"),
        ({"generator": iter([1])}, "generator is a list_iterator that exists already"),
        ({"items": iter([1])}, "items is a list_iterator that exists already"),
        ({"generator": [1], "items": [1]}, "items are given to a function, not to a list"),
        ({"items": {1, 2}}, "items: a set has another order in each process"),
        ({"batch": 0}, "batch must be"),
    ],
)
def test_an_option_that_cannot_be_is_one_sentence(given: dict[str, Any], sentence: str) -> None:
    """Before anything is started."""
    before = processes_of(os.getpid())
    with pytest.raises(OptionError, match=sentence):
        from_generator(**{"generator": pairs, **given})
    assert set(processes_of(os.getpid())) <= set(before)


def test_an_option_that_does_not_exist_is_a_type_error() -> None:
    """As with any function."""
    with pytest.raises(TypeError, match="shuffle"):
        from_generator(pairs, shuffle=True)  # type: ignore[call-arg]  # that is the point


def test_a_worker_starts_no_servers() -> None:
    """They would start others in turn."""

    def recursive() -> Iterator[int]:
        yield from from_generator(lambda: [1])

    with pytest.raises(ServerFailed, match="called in a worker process"):
        from_generator(recursive)


# Its end.


def test_the_server_lives_as_long_as_somebody_reads(runtime_folder: Path) -> None:
    """A dataset made from it keeps it, and so does an iterator; with the last it is gone."""
    others = processes_of(os.getpid())
    dataset = from_generator(lambda: range(100)).map(lambda n: n + 1).batch(2)
    iterator = iter(dataset)
    next(iterator)
    del dataset
    gc.collect()
    (server,) = (pid for pid in processes_of(os.getpid()) if pid not in others)
    assert next(iterator).numpy().tolist() == [3, 4]
    del iterator
    assert eventually(lambda: gc.collect() >= 0 and not alive(server))
    assert eventually(lambda: list(runtime_folder.iterdir()) == [])


SCRIPT = """
import os, sys, threading
from genserver.client import from_generator
import helper
from helper import ONE

SCALE = 2
lock = threading.Lock()  # which is not used by the generator

def numbers():
    for number in range(3):
        yield number * SCALE + ONE

dataset = from_generator(numbers, workers=1)
print([int(n) for n in dataset], [int(n) for n in helper.dataset], flush=True)
sys.stdin.readline()
"""

HELPER = """
from genserver.client import from_generator

ONE = 1

def own():
    yield ONE

dataset = from_generator(own)  # while this module is being imported
"""


@pytest.mark.parametrize("end", [pytest.param("exit", marks=pytest.mark.soak), "kill"])
def test_a_script_needs_no_guard_and_leaves_nothing(
    end: str, tmp_path: Path, runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers never run the script again, nor a module that calls from_generator itself; whichever
    way the trainer ends, its servers do."""
    (tmp_path / "helper.py").write_text(HELPER)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with program(SCRIPT, seconds=90.0, errors=subprocess.PIPE) as trainer:
        assert trainer.stdin is not None
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == "[1, 3, 5] [1]\n"
        servers = processes_of(trainer.pid)
        workers = [worker for server in servers for worker in processes_of(server)]
        assert (len(servers), len(workers)) == (2, 2)
        if end == "kill":
            trainer.send_signal(signal.SIGKILL)
        else:
            trainer.stdin.write("\n")
            trainer.stdin.flush()
            assert trainer.wait(30) == 0
        assert eventually(lambda: not any(map(alive, [*servers, *workers])))
    assert eventually(lambda: list(runtime_folder.iterdir()) == [])


# Two stages.


def test_two_stages_of_closures_in_a_script() -> None:
    """Lambdas and what they close over; any structure goes from one to the other."""
    level = 7
    pipeline = stage(
        lambda number: {"scan": np.full((4, 4), number + level), "name": f"scan {number}"},
        items=range(5), workers=2,
    ).then(lambda volume: (volume["scan"][0, :2], volume["name"]))  # fmt: skip
    dataset = from_generator(pipeline)
    for _ in range(2):
        got = sorted((scan.numpy().tolist(), name.numpy()) for scan, name in dataset)
        assert got == [([n + level] * 2, b"scan %d" % n) for n in range(5)]


def test_what_two_stages_declare_is_of_the_second() -> None:
    """The types and shapes of the trainer's elements; the first stage's are found."""
    pipeline = stage(range(3)).then(lambda number: [number, number + 0.5])
    dataset = from_generator(pipeline, output_signature=tf.TensorSpec((2,), tf.float32))
    assert dataset.element_spec == tf.TensorSpec((2,), tf.float32)
    assert [pair.numpy().tolist() for pair in dataset] == [[n, n + 0.5] for n in range(3)]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"args": (1,)}, "a pipeline says itself what its stages are called with"),
        ({"items": [1]}, "a pipeline says itself"),
        ({"unbatch": True}, "a pipeline says itself"),
        ({"workers": 3}, "the pipeline's last stage says workers=1: leave workers out"),
    ],
)
def test_what_a_pipeline_does_not_take_is_said(given: dict[str, Any], match: str) -> None:
    """Before anything is started."""
    with pytest.raises(OptionError, match=match):
        from_generator(stage([1]).then(int), **given)
    with pytest.raises(OptionError, match="that is one stage alone"):
        from_generator(stage([1]))
    with pytest.raises(OptionError, match="a list_iterator that exists already"):
        from_generator(stage(iter([1])).then(int))


def test_both_stages_go_with_the_dataset() -> None:
    """No process is left."""
    before = set(processes_of(os.getpid()))
    dataset = from_generator(stage(range(3)).then(lambda number: number))
    assert sorted(int(n) for n in dataset) == [0, 1, 2]
    (server,) = set(processes_of(os.getpid())) - before
    inner = [pid for pid in processes_of(server) if processes_of(pid)]
    ours = [server, *processes_of(server), *processes_of(inner[0])]
    assert len(ours) == 4
    del dataset
    gc.collect()
    assert eventually(lambda: not any(map(alive, ours)))
