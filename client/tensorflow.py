"""The one file that imports TensorFlow: a server's elements as a ``tf.data.Dataset``.

The dataset is an `interleave` over lanes, each a ``from_generator`` that pulls runs of elements;
they are cut into elements behind it, in C++. What TensorFlow keeps for ever (it never lets go of a
generator function) is a `Source`, which is plain data; streams belong to the lanes of an iterator
and go with it. A lane that has nothing returns a chunk of no elements after `POLL_SECONDS`, so that
TensorFlow can cancel it: deleting an iterator never waits longer.
"""

from __future__ import annotations

import functools
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from genserver.protocol.chunk import LARGE_ELEMENT, Column
from genserver.protocol.dtypes import TEXT, numpy_dtype
from genserver.protocol.errors import GenserverError
from genserver.protocol.normalize import TextArray
from genserver.protocol.signature import spec_from_signature
from genserver.protocol.spec import ArraySpec, ElementSpec
from genserver.protocol.transport.buffers import BufferPool
from genserver.protocol.transport.leases import Bytes
from genserver.protocol.transport.platform import keep_freed_memory, usable_cores
from tensorflow.python.data.util import nest
from tensorflow.python.eager import core as tf_core

from .farewell import Farewell
from .interrupts import let_interrupts_through
from .keras import look_first
from .lane import Lane
from .mixing import GROUP, RUN_BYTES, Part, Run, goes_with, merged
from .options import OptionError, PullOptions
from .passes import Pass
from .plan import INFINITE, SOLITARY, UNKNOWN, Plan
from .probe import probe_of
from .source import Source
from .typed import ClientOptions
from .waiting import say

__all__ = ["Dataset", "Declared", "declared", "make_dataset", "named", "tensor_values"]

#: For the type of `from_server`, which must not import TensorFlow.
Dataset: TypeAlias = "tf.data.Dataset[Any]"

#: (the whole spec, the dtypes alone) that a user declared; None for what is to be found.
Declared: TypeAlias = tuple[ElementSpec | None, ElementSpec | None]

#: What TensorFlow is to see in the place of an error.
Raised: TypeAlias = Callable[[GenserverError], GenserverError]

#: The longest that TensorFlow's thread waits inside a lane, in seconds: half of what deleting an
#: iterator may take (design 8).
POLL_SECONDS = 0.1
#: Elements that wait on the training device, or in front of the step.
PREFETCH = 2

#: The lane of nobody.
IDLE = -1

_farewell = Farewell()


def _is_endless(data: Any) -> bool:
    """Whether TensorFlow knows that a dataset, of a server or not, never ends."""
    dataset = isinstance(data, tf.data.Dataset)
    return dataset and int(data.cardinality()) == tf.data.INFINITE_CARDINALITY


let_interrupts_through(
    sys.modules.get("tensorflow.python.ops.gen_dataset_ops"),
    getattr(tf_core, "_NotOkStatusException", None), tf.errors.UnknownError, tf.errors.UNKNOWN,
)  # fmt: skip
if "keras" in sys.modules:  # TensorFlow imports the Keras that it uses
    look_first(sys.modules["keras"], _is_endless, functools.partial(probe_of, tf))


# Inside a user's map or interleave AutoGraph would translate this file, and warn that it cannot.
@tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]  # as all of TensorFlow
def make_dataset(
    endpoints: str | Sequence[str],
    *,
    device: str | None,
    prefetch: int | None,
    cycle_length: int | None,
    options: ClientOptions,
    title: str = "",
    raised: Raised | None = None,
) -> Dataset:
    """See `genserver.client.from_server`, which is this function typed without TensorFlow.

    ``title`` is what a user knows the servers by, if not their endpoints; ``raised`` makes of an
    error what TensorFlow is to see.
    """
    if tf.is_tensor(endpoints):
        raise OptionError(
            "an endpoint is text, not a tensor: tf.data calls a map's or interleave's function "
            "once, before there is any element, so make the datasets outside of it"
        )
    source = Source(endpoints, PullOptions(**options))
    if prefetch is not None and prefetch < 0:
        raise OptionError(f"prefetch must be 0 or more, not {prefetch}")
    plan = source.plan()
    lanes = _lane_count(plan, source, cycle_length)
    workers = f"{plan.count} worker{'s' * (plan.count > 1)}"
    say(
        f"{title or ', '.join(source.names)}: {workers} {plan.way}, seed {plan.seed}; {plan.memory}"
    )
    dataset = _cut(_pull(source, plan, lanes, raised), plan, lanes)
    # A pass that goes on is shorter than the others, and a length can be asserted of all only.
    if plan.cardinality != UNKNOWN and (source.progress is None or plan.cardinality == INFINITE):
        length = tf.data.INFINITE_CARDINALITY if plan.cardinality == INFINITE else plan.cardinality
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(length))
    return _prefetched(dataset.with_options(_tf_options(plan.spec)), plan, device, prefetch)


def _tf_options(spec: ElementSpec) -> tf.data.Options:
    """What the whole pipeline gets unless the user's own ``with_options`` says otherwise later."""
    options = tf.data.Options()
    # A server is not a file: there is nothing that MirroredStrategy could shard.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # Deleting an iterator waits for tf.data's autotuning thread, which misses its cancellation and
    # sleeps on: 1.1 s after 4 s of reading, whatever the dataset (TF 2.21). Without it, 1 ms;
    # map(num_parallel_calls=AUTOTUNE) still uses all cores.
    options.autotune.enabled = False
    if any(_is_float8(leaf) for _, leaf in spec.leaves()):
        # tf.data's graph optimizer cannot read float8 and fails the iterator (TF 2.21), also that
        # of a plain from_tensors.
        options.experimental_optimization.apply_default_optimizations = False
    return options


def _lane_count(plan: Plan, source: Source, cycle_length: int | None) -> int:
    """Each has the workers that its runs mix, and a waiting one holds one of tf.data's threads: so
    many that none has less than `GROUP` workers, and at most cores // 2 (design 3)."""
    if cycle_length is not None and not 1 <= cycle_length <= plan.count:
        raise OptionError(f"cycle_length must be 1 to {plan.count}, the number of workers")
    if source.options.deterministic:
        if cycle_length not in (None, 1):
            raise OptionError("deterministic=True takes the workers in turn, in one lane")
        return 1
    if source.progress is not None:
        return cycle_length or 1  # of several lanes nobody knows whose elements were used
    return cycle_length or max(1, min(plan.count // GROUP, usable_cores() // 2))


def _group(plan: Plan, lanes: int) -> int:
    """How many workers' large elements a run may have. Very large ones come one at a time."""
    if plan.nbytes is not None and plan.nbytes > SOLITARY:
        return 1
    return GROUP if plan.moving else min(GROUP, -(-plan.count // lanes))


def _is_small(plan: Plan) -> bool:
    """Whether the elements are so small that copying them costs less than anything else would."""
    # unbatch() crashes the process on arrays without elements and knows no float8 (TF 2.21).
    fit = all(leaf.nbytes != 0 and not _is_float8(leaf) for _, leaf in plan.spec.leaves())
    return plan.spec.nbytes is not None and plan.spec.nbytes < LARGE_ELEMENT and fit


def _pull(source: Source, plan: Plan, lanes: int, raised: Raised | None) -> Dataset:
    """Runs of every lane: of small elements one part, of others a tuple of `_group` parts."""
    spec, parts = plan.spec, 0 if _is_small(plan) else _group(plan, lanes)

    def passes() -> Iterator[tuple[int, int]]:
        number, begun = source.begin(lanes)
        yield from ((number, lane) for lane in range(lanes))
        # Where a pass goes on behind its last element, the next one follows: repeat() would take
        # no elements for the end of everything.
        while begun is not None and any(begun.taken) and not begun.handed:
            if begun.size is None:
                yield number, IDLE  # until something comes, or the end of all workers
            else:
                number, begun = source.begin(lanes)
                yield from ((number, lane) for lane in range(lanes))

    def pull(number: np.int64, lane: np.int64) -> _Runs | _Idle:
        begun = source.begun(int(number))
        if lane == IDLE:
            return _Idle(source, begun)
        keep_freed_memory()  # by now TensorFlow has had it given back
        opened = Lane(
            source, number=int(number), expect=spec, lane=int(lane), lanes=lanes,
            group=max(1, parts), begun=begun,
        )  # fmt: skip
        return _Runs(opened, spec, parts, raised)

    scalar = tf.TensorSpec((), tf.int64)
    signature = spec.map(lambda leaf: tf.TensorSpec((None, *leaf.shape), _tf_dtype(leaf)))
    if parts > 0:
        signature = (signature,) * parts

    def one_lane(*place: tf.Tensor) -> Dataset:
        return tf.data.Dataset.from_generator(pull, args=place, output_signature=signature)

    numbered: Dataset = tf.data.Dataset.from_generator(passes, output_signature=(scalar, scalar))
    return numbered.interleave(
        one_lane,
        cycle_length=lanes,
        num_parallel_calls=lanes,
        deterministic=source.options.deterministic,
    )


class _Idle:
    """A lane of nobody: waits for a moment until it is known whether a pass has elements."""

    def __init__(self, source: Source, begun: Pass | None) -> None:
        self._source = source
        self._begun = begun

    def __iter__(self) -> _Idle:
        return self

    def __next__(self) -> Any:
        try:
            if _farewell.enter():
                self._source.wait(self._begun, POLL_SECONDS)
            raise StopIteration
        finally:
            _farewell.leave()


class _Runs:
    """What ``from_generator`` iterates: a lane's runs as stacked arrays.

    An object and not a generator, because a generator that raised would end cleanly at the next
    call, and TensorFlow would take that for the end of the data.
    """

    def __init__(
        self, lane: Lane, spec: ElementSpec, parts: int, raised: Raised | None
    ) -> None:  # fmt: skip
        """``parts`` is the length of the tuples that it gives, or 0 for no tuple."""
        self._lane = lane
        self._raised = raised
        self._spec = spec
        self._none = spec.unflatten([_empty(leaf) for _, leaf in spec.leaves()])
        self._parts = parts
        self._buffers = BufferPool()
        #: What comes at the next calls, of one run.
        self._waiting: deque[tuple[Part, ...]] = deque()
        _farewell.add(self)

    def __iter__(self) -> _Runs:
        return self

    def __next__(self) -> Any:
        try:
            if not _farewell.enter():
                raise StopIteration
            return self._next()
        except GenserverError as error:
            # TensorFlow prints the frames each time; the user's own are in the error's text.
            seen = error if self._raised is None else self._raised(error)
            raise seen.with_traceback(None) from None
        finally:
            _farewell.leave()

    def _next(self) -> Any:
        if not self._waiting:
            run = self._lane.take(POLL_SECONDS)
            if run is not None:
                self._add(run)
            elif self._lane.ended:
                self._lane.close()
                raise StopIteration
        parts = self._waiting.popleft() if self._waiting else ()
        given = [self._spec.unflatten(list(map(_array, part))) for part in parts]
        if self._parts == 0:
            return given[0] if given else self._none
        return (*given, *[self._none] * (self._parts - len(given)))

    def _add(self, run: Run) -> None:
        if run.small:
            self._merge(run)
        elif run.n == len(run.parts):
            # For one element of each, cutting several parts at once costs more than the calls.
            self._waiting += [(part,) for part in run.parts]
        else:
            self._waiting.append(run.parts)

    def _merge(self, run: Run) -> None:
        """Hand on as much at once as has arrived: a call costs as much as some 500 elements."""
        runs, nbytes = [run], run.nbytes
        following = self._more(run, nbytes)
        while following is not None and goes_with(run, following):
            runs.append(following)
            nbytes += following.nbytes
            following = self._more(run, nbytes)
        self._waiting.append((merged(runs, self._allocate),))
        if following is not None:
            self._add(following)

    def _more(self, run: Run, nbytes: int) -> Run | None:
        """What else is there, if ``run`` mixes workers and has not become too large."""
        return self._lane.more() if len(run.parts) > 1 and nbytes < RUN_BYTES else None

    def _allocate(self, nbytes: int) -> Bytes:
        return self._buffers.take(nbytes, time.monotonic())

    def __del__(self) -> None:
        self._lane.close()


def _cut(runs: Dataset, plan: Plan, lanes: int) -> Dataset:
    """Runs into elements: small ones are copied (1.7 us each), large ones alias what arrived."""
    if _is_small(plan):
        return runs.unbatch()
    slices, parts = tf.data.Dataset.from_tensor_slices, _group(plan, lanes)
    if parts == 1:
        return runs.flat_map(slices)
    turns = tf.data.Dataset.range(parts).repeat()

    def cut(*given: Any) -> Dataset:
        """The first element of each part, the second of each, and so on. An interleave over single
        parts would cost less than the 1 ms that this does, and keep elements back while it waits
        for more parts."""
        alone = tf.equal(tf.shape(tf.nest.flatten(given[1])[0])[0], 0)
        cut_all = functools.partial(
            tf.data.Dataset.choose_from_datasets, choice_dataset=turns, stop_on_empty_dataset=False
        )
        elements: Dataset = tf.cond(
            alone, lambda: slices(given[0]), lambda: cut_all(list(map(slices, given)))
        )
        return elements

    return runs.flat_map(cut)


def _prefetched(dataset: Dataset, plan: Plan, device: str | None, prefetch: int | None) -> Dataset:
    nbytes, size = plan.nbytes, prefetch
    if size is None:
        size = 1 if nbytes is not None and nbytes > SOLITARY else PREFETCH
    if device is not None:
        return dataset.apply(tf.data.experimental.prefetch_to_device(device, max(1, size)))
    # Small elements wait as runs inside the interleave; a second queue would only cost a thread.
    small = nbytes is not None and nbytes < LARGE_ELEMENT
    return dataset if size == 0 or (prefetch is None and small) else dataset.prefetch(size)


def _tf_dtype(leaf: ArraySpec) -> tf.DType:
    return tf.string if leaf.dtype in TEXT else tf.as_dtype(numpy_dtype(leaf.dtype))


def _is_float8(leaf: ArraySpec) -> bool:
    return leaf.dtype.startswith("float8")


def _empty(leaf: ArraySpec) -> np.ndarray[Any, Any]:
    return np.empty((0, *(dim or 0 for dim in leaf.shape)), numpy_dtype(leaf.dtype))


def _array(column: Column) -> np.ndarray[Any, Any]:
    if not isinstance(column, TextArray):
        return column
    array = np.empty(len(column.items), object)
    array[:] = column.items
    return array.reshape(column.shape)


def declared(types: Any, shapes: Any, signature: Any) -> Declared:
    """What the arguments of ``from_generator`` say of the elements, with TensorFlow's own errors
    for what says nothing; `SpecError` for what cannot travel."""
    if types is None and shapes is None and signature is None:
        return None, None
    if types is None or signature is not None:
        tf.data.Dataset.from_generator(list, types, shapes, None, signature)  # it may raise
        return spec_from_signature(signature), None
    known = nest.map_structure(lambda _: (), types) if shapes is None else shapes
    known = nest.map_structure_up_to(types, tf.TensorShape, known)
    spec = spec_from_signature(nest.map_structure_up_to(types, tf.TensorSpec, known, types))
    return (None, spec) if shapes is None else (spec, None)


@tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]  # as all of TensorFlow
def tensor_values(args: Any) -> tuple[Any, ...]:
    """``args`` as a generator gets them from tf.data: numpy values, texts as bytes."""
    if tf.inside_function():
        raise OptionError(
            "from_generator starts worker processes, and tf.data calls a map's or interleave's "
            "function once, before there is any element: call it outside, with workers= for what "
            "the interleave ran side by side, and items= for its arguments"
        )
    return tuple(tf.convert_to_tensor(each).numpy() for each in args or ())


def named(dataset: Dataset, name: str | None) -> Dataset:
    """The dataset under a name of its own in TensorFlow's messages."""
    return dataset if name is None else dataset.with_options(tf.data.Options(), name=name)
