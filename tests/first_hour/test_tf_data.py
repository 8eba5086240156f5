"""The first hour with tf.data: every operation that a user puts around a server's dataset.

The elements are (number, epoch), so each test says which passes an operation made of which parts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from genserver.client import OptionError, from_server

from ..support.servers import SUPPORT, Serve

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
tf = pytest.importorskip("tensorflow")

Pair = tuple[int, int]


def pairs(dataset: Any) -> list[Pair]:
    return [(int(number), int(epoch)) for number, epoch in dataset]


def a_pass(epoch: int, start: int = 0, stop: int = 20) -> list[Pair]:
    return [(number, epoch) for number in range(start, stop)]


def in_order(shared: Serve, **options: Any) -> Any:
    """Two workers' numbers from 0 to 19, in order."""
    server = shared("first_hour_keras:numbered", workers=2, **options)
    return from_server(server.endpoint, deterministic=True)


def by_chance(shared: Serve, **options: Any) -> Any:
    """Three workers' numbers from 0 to 19, in the order of arrival."""
    return from_server(shared("first_hour_keras:numbered", workers=3, **options).endpoint)


def run(program: str, *arguments: str) -> str:
    """What a fresh trainer prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", program, *arguments],
        capture_output=True, text=True, cwd=SUPPORT, timeout=120, check=False,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# Parts of passes.


def test_take_and_skip_cut_a_pass_in_two(shared: Serve) -> None:
    """Each is a pass of its own; together they have every element."""
    dataset = in_order(shared)
    assert pairs(dataset.take(5)) == a_pass(0, 0, 5)
    assert pairs(dataset.skip(5)) == a_pass(1, 5)
    assert pairs(dataset.skip(5).take(3)) == a_pass(2, 5, 8)
    assert pairs(dataset.take(0)) == []


def test_a_training_and_a_validation_part_never_overlap(shared: Serve) -> None:
    """take(k) and skip(k) in deterministic order, over many passes of both."""
    dataset = in_order(shared)
    validation, training = dataset.take(4), dataset.skip(4)
    for _ in range(2):
        assert {number for number, _ in pairs(validation)} == set(range(4))
        assert {number for number, _ in pairs(training)} == set(range(4, 20))


def test_repeat_is_one_pass_after_the_other(shared: Serve) -> None:
    """Counted or endless, an epoch is over before the next begins."""
    dataset = by_chance(shared)
    got = pairs(dataset.repeat(3))
    assert [epoch for _, epoch in got] == [0] * 20 + [1] * 20 + [2] * 20
    assert sorted(got) == sorted(a_pass(0) + a_pass(1) + a_pass(2))
    assert [epoch for _, epoch in pairs(dataset.repeat().take(30))] == [3] * 20 + [4] * 10


def test_shuffle_mixes_each_pass_anew(shared: Serve) -> None:
    """Every element of a pass once, in another order than it came, and another in the next."""
    shuffled = in_order(shared).shuffle(20, seed=1)
    first, second = pairs(shuffled), pairs(shuffled)
    assert sorted(first) == a_pass(0)
    assert sorted(second) == a_pass(1)
    numbers = [[number for number, _ in got] for got in (first, second)]
    assert list(range(20)) not in numbers
    assert numbers[0] != numbers[1]


def test_shuffle_before_repeat_keeps_passes_apart_and_after_it_mixes_them(shared: Serve) -> None:
    """TensorFlow's rule, which holds for a server too."""
    dataset = by_chance(shared)
    apart = [epoch for _, epoch in pairs(dataset.shuffle(20).repeat(2))]
    assert apart == [0] * 20 + [1] * 20
    mixed = pairs(dataset.repeat(2).shuffle(40, seed=3))
    assert sorted(mixed) == sorted(a_pass(2) + a_pass(3))
    assert [epoch for _, epoch in mixed] != [2] * 20 + [3] * 20


# Batches.


def test_batches_are_full_but_the_last(shared: Serve) -> None:
    """batch(8) of 20 is 8, 8, 4; drop_remainder drops the 4 and makes the shape static."""
    dataset = in_order(shared)
    assert [numbers.numpy().tolist() for numbers, _ in dataset.batch(8)] == [
        list(range(8)), list(range(8, 16)), list(range(16, 20)),
    ]  # fmt: skip
    dropped = dataset.batch(8, drop_remainder=True)
    assert dropped.element_spec[0].shape == (8,)
    assert [len(numbers) for numbers, _ in dropped] == [8, 8]


def test_padded_batch_pads_arrays_of_free_size(shared: Serve) -> None:
    """A spec with a free dimension, padded to the longest of each batch."""
    server = shared("first_hour_keras:growing", workers=2, spec="int64[None]")
    dataset = from_server(server.endpoint, deterministic=True)
    minus_one = tf.constant(-1, tf.int64)
    padded = [batch.numpy().tolist() for batch in dataset.padded_batch(2, padding_values=minus_one)]
    assert padded == [
        [[0, -1], [1, 1]],
        [[2, 2, 2, -1], [3, 3, 3, 3]],
        [[4, 4, 4, 4, 4, -1], [5, 5, 5, 5, 5, 5]],
    ]


def test_ragged_batch_keeps_arrays_of_free_size(shared: Serve) -> None:
    """The same without padding."""
    server = shared("first_hour_keras:growing", workers=2, spec="int64[None]")
    dataset = from_server(server.endpoint, deterministic=True)
    (batch,) = dataset.ragged_batch(6)
    assert batch.to_list() == [[number] * (number + 1) for number in range(6)]


# Every step that keeps the elements, through which all of them must come.

KEEPING: dict[str, Callable[[Any], Any]] = {
    "batch, unbatch": lambda d: d.batch(6).unbatch(),
    "batch, rebatch": lambda d: d.batch(6).rebatch(3).unbatch(),
    "window": lambda d: d.window(7).flat_map(lambda n, e: tf.data.Dataset.zip((n, e))),
    "prefetch": lambda d: d.prefetch(tf.data.AUTOTUNE),
    "parallel map": lambda d: d.map(lambda n, e: (n + 0, e), num_parallel_calls=tf.data.AUTOTUNE),
    "map in Python": lambda d: d.map(
        lambda n, e: tf.numpy_function(lambda *p: p, (n, e), (tf.int64, tf.int64))
    ),
    "enumerate": lambda d: d.enumerate().map(lambda i, element: element),
    "filter": lambda d: d.filter(lambda n, e: n >= 0),
    "scan": lambda d: d.scan(0, lambda state, element: (state + 1, element)),
    "take_while": lambda d: d.take_while(lambda n, e: n >= 0),
    "shards": lambda d: d.shard(2, 0).concatenate(d.shard(2, 1).map(lambda n, e: (n, e - 1))),
    "options": lambda d: d.with_options(tf.data.Options()),
}  # fmt: skip


@pytest.mark.parametrize("step", KEEPING.values(), ids=KEEPING)
def test_steps_that_keep_elements_keep_each_once(shared: Serve, step: Callable[[Any], Any]) -> None:
    """Whatever a pipeline does with a pass, every element of it comes out once."""
    assert sorted(pairs(step(in_order(shared)))) == a_pass(0)


# Several datasets.


def test_zip_of_a_dataset_with_itself_reads_two_passes_side_by_side(shared: Serve) -> None:
    """In deterministic order the same number twice, of two epochs."""
    dataset = in_order(shared)
    got = [(pairs([a])[0], pairs([b])[0]) for a, b in tf.data.Dataset.zip((dataset, dataset))]
    assert [a[0] for a, _ in got] == [b[0] for _, b in got] == list(range(20))
    assert {tuple(sorted((a[1], b[1]))) for a, b in got} == {(0, 1)}


def test_zip_ends_with_the_shorter_server_and_frees_the_longer(shared: Serve) -> None:
    """Two servers of 20 and 3 elements give 3 pairs, and the next pass is whole again."""
    longer = in_order(shared)
    shorter = in_order(shared, arguments={"n": 3})
    zipped = tf.data.Dataset.zip((longer, shorter))
    for epoch in range(2):
        assert [pairs(both) for both in zipped] == [[(n, epoch)] * 2 for n in range(3)]
    assert pairs(longer) == a_pass(2)


def test_sample_from_datasets_draws_all_of_both(shared: Serve) -> None:
    """Two servers mixed by chance; both are read to their ends."""
    one, other = in_order(shared), in_order(shared, arguments={"n": 5})
    mixed = tf.data.Dataset.sample_from_datasets([one, other], weights=[0.5, 0.5], seed=2)
    assert sorted(pairs(mixed)) == sorted(a_pass(0) + a_pass(0, 0, 5))


def test_choose_from_datasets_takes_turns(shared: Serve) -> None:
    """The same by the user's own choice."""
    one, other = in_order(shared), in_order(shared)
    choice = tf.data.Dataset.range(2).repeat(20)
    got = [
        number for number, _ in pairs(tf.data.Dataset.choose_from_datasets([one, other], choice))
    ]
    assert got == [number // 2 for number in range(40)]


def test_concatenate_is_one_after_the_other(shared: Serve) -> None:
    """A dataset and itself, then another server's: each whole, in that order."""
    dataset = in_order(shared)
    other = in_order(shared, arguments={"n": 4})
    whole = dataset.concatenate(dataset).concatenate(other)
    assert pairs(whole) == a_pass(0) + a_pass(1) + a_pass(0, 0, 4)


# Inside a user's own functions.


def test_a_users_interleave_over_one_dataset_reads_it_as_often(shared: Serve) -> None:
    """Three passes at once, each whole."""
    dataset = by_chance(shared)
    woven = tf.data.Dataset.range(3).interleave(lambda _: dataset, cycle_length=3)
    assert sorted(pairs(woven)) == sorted(a_pass(0) + a_pass(1) + a_pass(2))


def test_a_users_parallel_interleave_over_servers_reads_each(shared: Serve) -> None:
    """Servers chosen by number inside the function, with tf.data's own threads."""
    servers = [in_order(shared, arguments={"n": n}) for n in (3, 5)]

    def one(which: Any) -> Any:
        return tf.data.Dataset.choose_from_datasets(
            servers, tf.data.Dataset.from_tensors(which).repeat()
        )

    woven = tf.data.Dataset.range(2).interleave(one, num_parallel_calls=2, deterministic=False)
    assert sorted(number for number, _ in pairs(woven)) == sorted([*range(3), *range(5)])


def test_from_server_inside_a_users_interleave_is_quiet(
    shared: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """It is called once, read twice, and AutoGraph has nothing to complain about."""
    server = shared("first_hour_keras:numbered", workers=3)
    woven = tf.data.Dataset.range(2).interleave(lambda _: from_server(server.endpoint))
    assert sorted(pairs(woven)) == sorted(a_pass(0) + a_pass(1))
    assert "AutoGraph" not in caplog.text


def test_an_endpoint_that_is_a_tensor_is_refused_in_words(shared: Serve) -> None:
    """An interleave over endpoints has no text to connect to; AutoGraph wraps the OptionError."""
    server = shared("first_hour_keras:numbered")
    endpoints = tf.data.Dataset.from_tensor_slices([server.endpoint])
    with pytest.raises(Exception, match="an endpoint is text, not a tensor"):
        endpoints.interleave(lambda endpoint: from_server(endpoint))
    with pytest.raises(OptionError, match="an endpoint is text, not a tensor"):
        from_server(tf.constant(server.endpoint))


def test_elements_may_become_datasets(shared: Serve) -> None:
    """An interleave and a flat_map over elements."""
    dataset = in_order(shared)

    def twice(number: Any, epoch: Any) -> Any:
        return tf.data.Dataset.from_tensors((number, epoch)).repeat(2)

    expected = [pair for pair in a_pass(0) for _ in range(2)]
    assert pairs(dataset.flat_map(twice)) == expected
    assert sorted(pairs(dataset.interleave(twice, cycle_length=4))) == [
        (number, 1) for number, _ in expected
    ]


def test_a_pass_inside_a_map(shared: Serve) -> None:
    """reduce over a server for every element of another dataset."""
    dataset = by_chance(shared)

    def total(start: Any) -> Any:
        return dataset.reduce(start, lambda total, element: total + element[0])

    assert list(tf.data.Dataset.range(3).map(total).as_numpy_iterator()) == [190, 191, 192]


def test_a_loop_inside_a_tf_function(shared: Serve) -> None:
    """for in a tf.function is a pass, at every call."""
    dataset = by_chance(shared)

    @tf.function  # type: ignore[untyped-decorator]  # TensorFlow has no types
    def total() -> Any:
        numbers, epochs = tf.constant(0, tf.int64), tf.constant(0, tf.int64)
        for number, epoch in dataset:
            numbers, epochs = numbers + number, epochs + epoch
        return numbers, epochs

    assert [int(n) for n in total()] == [190, 0]
    assert [int(n) for n in total()] == [190, 20]


# Kept on the way.


@pytest.mark.parametrize("kind", ["memory", "file", "snapshot"])
def test_what_is_kept_needs_no_server_any_more(serve: Serve, tmp_path: Path, kind: str) -> None:
    """cache() in memory or a file, and snapshot(): one pass, read again when the server is gone."""
    server = serve("first_hour_keras:numbered", workers=3)
    dataset = from_server(server.endpoint)
    path = str(tmp_path / "kept")
    kept = {
        "memory": lambda: dataset.cache(), "file": lambda: dataset.cache(path),
        "snapshot": lambda: dataset.snapshot(path),
    }[kind]()  # fmt: skip
    first = pairs(kept)
    server.stop()
    assert sorted(first) == sorted(pairs(kept)) == a_pass(0)


def test_save_and_load(serve: Serve, tmp_path: Path) -> None:
    """A saved pass is an ordinary dataset of TensorFlow."""
    server = serve("first_hour_keras:numbered", workers=3)
    from_server(server.endpoint).save(str(tmp_path / "saved"))
    server.stop()
    assert sorted(pairs(tf.data.Dataset.load(str(tmp_path / "saved")))) == a_pass(0)


# Iterators.


def test_as_numpy_iterator_gives_numpy(shared: Serve) -> None:
    """Scalars and arrays of numpy, once each."""
    got = list(in_order(shared).as_numpy_iterator())
    assert [(int(number), int(epoch)) for number, epoch in got] == a_pass(0)
    assert {type(number).__module__ for number, _ in got} == {"numpy"}


def test_two_iterators_advanced_in_turn_are_two_passes(shared: Serve) -> None:
    """Neither takes from the other, whichever is ahead, and one may end before the other."""
    dataset = in_order(shared)
    ahead, behind = iter(dataset), iter(dataset)
    got: dict[str, list[Pair]] = {"ahead": pairs([next(ahead) for _ in range(3)]), "behind": []}
    for number in range(17):
        got["behind"] += pairs([next(behind)])
        got["ahead"] += pairs([next(ahead)])
        assert got["behind"] == a_pass(1)[: number + 1]
    assert got["ahead"] == a_pass(0)
    with pytest.raises(StopIteration):
        next(ahead)
    assert got["behind"] + pairs(behind) == a_pass(1)


def test_len_follows_the_steps(shared: Serve) -> None:
    """len() through batch, take, repeat and zip when the server knows its length."""
    dataset = in_order(shared, length=20)
    assert len(dataset) == 20
    assert len(dataset.batch(8)) == 3
    assert len(dataset.batch(8, drop_remainder=True)) == 2
    assert len(dataset.repeat(2).take(30)) == 30
    assert len(tf.data.Dataset.zip((dataset, dataset.skip(5)))) == 15


@pytest.mark.parametrize(("length", "words"), [(None, "unknown"), ("infinite", "infinite")])
def test_len_of_what_has_none(shared: Serve, length: str | None, words: str) -> None:
    """TensorFlow's own TypeError says which it is."""
    with pytest.raises(TypeError, match=f"is {words}"):
        len(in_order(shared, length=length))


# Other ways to run.

MIRRORED = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from genserver.client import from_server
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
dataset = from_server(sys.argv[1]).batch(4)
for epoch in range(2):
    numbers = []
    for batch, _ in strategy.experimental_distribute_dataset(dataset):
        parts = [part.numpy().tolist() for part in strategy.experimental_local_results(batch)]
        assert [len(part) for part in parts] == [2, 2], parts
        numbers += sum(parts, [])
    print(sorted(numbers))
with strategy.scope():
    model = tf.keras.Sequential([tf.keras.layers.Dense(1, kernel_initializer="zeros")])
    model.compile("sgd", "mse", jit_compile=False)
examples = dataset.map(lambda n, e: (tf.cast(n, tf.float32)[:, None], tf.ones((tf.size(n), 1))))
print(len(model.fit(examples, epochs=2, verbose=0, shuffle=False).epoch))
print(model.predict(examples, verbose=0).shape)
"""


@pytest.mark.soak
def test_two_replicas_share_a_pass(shared: Serve) -> None:
    """MirroredStrategy on two devices: half of each batch to either, all elements once."""
    server = shared("first_hour_keras:numbered", workers=2, length=20)
    numbers = str(list(range(20)))
    assert run(MIRRORED, server.endpoint).splitlines() == [numbers, numbers, "2", "(20, 1)"]


@pytest.mark.parametrize("make", ["make_one_shot_iterator", "make_initializable_iterator"])
def test_iterators_of_tensorflow_1_in_a_graph(shared: Serve, make: str) -> None:
    """A session reads a pass to its OutOfRangeError; initialised again, it reads the next."""
    server = shared("first_hour_keras:numbered", workers=2)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        dataset = from_server(server.endpoint, deterministic=True)
        iterator = getattr(tf.compat.v1.data, make)(dataset)
        following = iterator.get_next()
        once = make == "make_one_shot_iterator"
        for epoch in range(1 if once else 2):
            if not once:
                session.run(iterator.initializer)
            assert pairs(session.run(following) for _ in range(20)) == a_pass(epoch)
            with pytest.raises(tf.errors.OutOfRangeError):
                session.run(following)


VERSION_1 = """
import sys
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
from genserver.client import from_server
following = tf.data.make_one_shot_iterator(from_server(sys.argv[1]).batch(20)).get_next()
with tf.Session() as session:
    numbers, epochs = session.run(following)
print(sorted(numbers.tolist()), set(epochs.tolist()))
"""


@pytest.mark.soak
def test_a_program_of_tensorflow_1(shared: Serve) -> None:
    """With disable_v2_behavior(), as old trainers begin."""
    server = shared("first_hour_keras:numbered", workers=3, length=20)
    assert run(VERSION_1, server.endpoint).strip() == f"{list(range(20))} {{0}}"
