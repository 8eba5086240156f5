"""``genserver bench`` as a trainer: a process that reads as fast as it can, and says how fast.

`main` is told by the last argument, a JSON object: "into" ("numpy" or "tf"), "endpoint", "plan"
(the fields of `rates.Plan`), "batch", "parent", and "report", the descriptor that the answer is
written to as JSON. `plain` is the same for a generator in this process. Imports TensorFlow only to
measure it.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from genserver.protocol.child.rates import Flow, NothingCame, Plan, rates_of, tell
from genserver.protocol.dtypes import TEXT
from genserver.protocol.errors import GenserverError
from genserver.protocol.keys import NONE
from genserver.protocol.spec import ArraySpec, ElementSpec, parse_spec
from genserver.protocol.transport.platform import die_with_parent

from .client import Client

__all__ = ["main", "plain"]

PassesOf = Callable[[Mapping[str, Any]], Callable[[], Iterator[Any]]]


class _TfDataFailed(GenserverError):
    """What TensorFlow says, in a sentence."""


def main() -> None:
    """Read from a server, as the last argument says."""
    options = json.loads(sys.argv[-1])
    if die_with_parent(options["parent"]):
        _report(options, lambda: _served(options))


def plain(options: Mapping[str, Any], passes_of: PassesOf) -> None:
    """Read a generator through `tf.data.Dataset.from_generator`. ``passes_of`` the options is the
    function that begins a pass; the user's code is loaded here, in a process that has its end."""
    if die_with_parent(options["parent"]):
        _report(options, lambda: _plain(options, passes_of(options)))


def _served(options: Mapping[str, Any]) -> dict[str, Any]:
    if options["into"] == "tf":
        from . import from_server

        batch = options["batch"]
        with _tf_errors():
            dataset = from_server(options["endpoint"], keys=NONE)
            return _rates(options, _batched(dataset, batch), batch)
    with Client(options["endpoint"], keys=NONE) as client:
        return _rates(options, client, 1) | {"spec": str(client.spec)}


def _plain(options: Mapping[str, Any], begin: Callable[[], Iterator[Any]]) -> dict[str, Any]:
    spec, batch = parse_spec(options["spec"]), options["batch"]
    with _tf_errors():
        dataset = _tf().data.Dataset.from_generator(begin, output_signature=_signature(spec))
        # As `from_server` has it: the next element is made while this one is used.
        return _rates(options, _batched(dataset, batch).prefetch(2), batch)


@contextmanager
def _tf_errors() -> Iterator[None]:
    """Have what tf.data raises be one sentence."""
    try:
        yield
    except _tf().errors.OpError as error:
        raise _TfDataFailed(f"tf.data: {_sentence(str(error.message))}") from None


def _sentence(message: str) -> str:
    """Of TensorFlow's message: without the names of its operations and the traceback."""
    first = message.partition("\n")[0]
    return re.sub(r"^(\{\{.*?\}\} *)+|( *\[Op:\w+\].*)$", "", first)


def _tf() -> Any:
    from . import tensorflow  # the one file that imports it

    return vars(tensorflow)["tf"]


def _signature(spec: ElementSpec) -> Any:
    def of(leaf: ArraySpec) -> Any:
        return _tf().TensorSpec(leaf.shape, "string" if leaf.dtype in TEXT else leaf.dtype)

    return spec.map(of)


def _batched(dataset: Any, batch: int) -> Any:
    return dataset if batch == 1 else dataset.batch(batch, drop_remainder=True)


def _rates(options: Mapping[str, Any], source: Any, batch: int) -> dict[str, Any]:
    found = rates_of(Flow(lambda: iter(source)), Plan(**options["plan"]))
    return {"rates": [rate * batch for rate in found.rates], "passes": found.passes}


def _report(options: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
    """Write what comes of it, also if that is an error of the user's."""
    os.set_inheritable(options["report"], False)  # the user's programs have no use for it
    try:
        answer = measure()
    except NothingCame as end:
        answer = {"error": _nothing(end, options["batch"])}
    except GenserverError as error:
        answer = {"error": str(error)}
    tell(options["report"], answer)


def _nothing(end: NothingCame, batch: int) -> str:
    if batch > 1 and not end.before:
        return f"a pass has fewer than the {batch} elements of a --batch"
    return f"a pass gave nothing, after {end.before} elements in the one before"
