"""``genserver bench``: the user's generator alone, in a process of its own, without any serving.

As `tf.data.Dataset.from_generator` would run it: one iterator, one thread, the libraries' own
number of threads. Owns what a worker owns of the user's code. A child process of bench.py, which
gets its options as plain data and writes its answer as JSON to a descriptor.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from genserver.protocol.child import rates
from genserver.protocol.child.rates import Flow, NothingCame, Plan, percentiles, rates_of, tell
from genserver.protocol.errors import ElementError
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.normalize import Normalizer, infer_spec
from genserver.protocol.spec import parse_spec
from genserver.protocol.transport.platform import (
    die_with_parent,
    process_usage,
    waited_for_core,
)

from .config import ConfigError
from .failures import in_a_line, kind_of, refusal_text, text_of, user_traceback
from .source import Source, load_source
from .worker import Worker

__all__ = ["alone", "passes_of"]


def alone(text: str) -> None:
    """Measure; ``text`` is a JSON object: "target", "arguments", "items", "seed", "spec", "plan"
    (the fields of `rates.Plan`), "parent", and "report", the descriptor."""
    options = json.loads(text)
    if not die_with_parent(options["parent"]):
        return
    os.set_inheritable(options["report"], False)  # the user's programs have no use for it
    try:
        answer = _measured(options)
    except ConfigError as error:
        answer = {"error": str(error), "code": int(error.code)}
    tell(options["report"], answer)


def passes_of(options: Mapping[str, Any]) -> Callable[[], Iterator[Any]]:
    """What `from_generator` would be given: each call is a pass more."""
    return _passes(_source(options), options["seed"])


def _source(options: Mapping[str, Any]) -> Source:
    source = load_source(options["target"], options["arguments"], items=options["items"])
    if source.upstream is not None:
        raise ConfigError(
            f"{options['target']} is a pipeline, and bench measures one stage: name its function"
        )
    return source


def _passes(source: Source, seed: int) -> Callable[[], Iterator[Any]]:
    epochs = iter(range(2**31))

    def begin() -> Iterator[Any]:
        worker = Worker(epoch=next(epochs), seed=seed)
        worker.seed_globals()
        return source.make(worker)

    return begin


def _measured(options: Mapping[str, Any]) -> dict[str, Any]:
    source, target = _source(options), options["target"]
    flow, plan = Flow(_passes(source, options["seed"])), Plan(**options["plan"])
    try:
        spec, nbytes = _described(next(flow.elements), source, options["spec"])
        before, began, late = _cpu(), time.perf_counter(), waited_for_core()
        found = rates_of(flow, plan)
        # What other programs have of the cores is none of its waiting.
        late = waited_for_core() - late
        spent = time.perf_counter() - began
        share = (_cpu() - before) / max(1e-9, spent - late)
        half, most = percentiles(flow.elements, plan.seconds)
    except NothingCame as end:
        raise _failed(target, _nothing(end.before)) from None
    except ElementError as error:
        raise _failed(target, f"failed: {in_a_line(kind_of(error), refusal_text(error))}") from None
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001  # the user's code
        what = in_a_line(kind_of(error), text_of(error))
        raise _failed(target, f"failed: {what}\n{_traceback(error)}".rstrip()) from None
    return {
        "rates": found.rates, "passes": found.passes, "length": found.length, "spec": spec,
        "nbytes": nbytes, "p50": half, "p99": most, "cpu": share, "late": late / spent,
        "rss": process_usage(os.getpid())[0], "divisible": source.divisible,
    }  # fmt: skip


def _described(element: Any, source: Source, given: str | None) -> tuple[str, int]:
    """The spec of an element, and its bytes. `ElementError` if it cannot travel."""
    spec = infer_spec(element) if given is None else parse_spec(given)
    if given is None and source.spec is not None:
        spec = source.spec
    return str(spec), sum(leaf.nbytes for leaf in Normalizer(spec).leaves(element))


def _traceback(error: BaseException) -> str:
    """Without the frames of those who read."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename in (__file__, rates.__file__):
        trace = trace.tb_next
    return user_traceback(error.with_traceback(trace))


def _cpu() -> float:
    """Seconds of a core, of this process and of those that it has waited for."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def _nothing(before: int) -> str:
    if not before:
        return "gives no elements"
    return f"gave {before} elements in one pass and none in the next: it is used up"


def _failed(target: str, what: str) -> ConfigError:
    return ConfigError(f"{target} {what}", ExitCode.GENERATOR)
