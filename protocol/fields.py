"""The closed schema of message headers: for each kind its keys, and for each key its check.

A check returns the value that the message holds, or raises `RemoteProtocolError`. Types are exact
(a bool is not an int). Unknown keys of a header are ignored, so that minors can add some; inside
nested values nothing is. Pure; never touches payload bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from .errors import RemoteProtocolError
from .messages import Kind, WorkerStatus
from .spec import ElementSpec
from .telemetry import MAX_ERROR, MAX_TRAINERS, Snapshot, TrainerTotals, WorkerTotals

__all__ = [
    "FIELDS",
    "MAX_BATCH",
    "MAX_HEADER",
    "MAX_RELEASED",
    "MAX_WORKERS",
    "REQUIRED",
    "Field",
    "cut_text",
    "read",
    "write",
]

#: Longest header, in bytes, before anything is unpacked (rule D2).
MAX_HEADER = 64 * 1024
#: Longest text in a header; a traceback is cut to it by the sender.
MAX_TEXT = 16 * 1024
MAX_WORKERS = 512
#: Most slots that one RELEASE names.
MAX_RELEASED = 1024
#: Most elements of one batch.
MAX_BATCH = 2**20
U64 = 2**64 - 1
U63 = 2**63 - 1

Check = Callable[[object], Any]

#: The default of a key that every header of its kind has.
REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class Field:
    """A header key, the message's attribute, its check, what it is where it is left out, and how it
    is written. What is the default is never written: who does not know a key sees only its use."""

    key: str
    name: str
    check: Check
    default: Any = REQUIRED
    write: Callable[[Any], Any] = lambda value: value


def cut_text(text: str, nbytes: int) -> str:
    """``text`` as UTF-8 of at most ``nbytes`` bytes; what no UTF-8 can say becomes "?"."""
    return text.encode(errors="replace")[:nbytes].decode(errors="ignore")


def _wrong(what: str, value: object) -> RemoteProtocolError:
    return RemoteProtocolError(f"header: expected {what}, got {type(value).__name__}")


def _int(low: int, high: int) -> Check:
    def check(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _wrong(f"an int in [{low}, {high}]", value)
        return value

    return check


def _bool(value: object) -> bool:
    if type(value) is not bool:
        raise _wrong("a bool", value)
    return value


def _text(longest: int = MAX_TEXT) -> Check:
    def check(value: object) -> str:
        if type(value) is not str or len(value) > longest:
            raise _wrong(f"text of at most {longest} characters", value)
        return value

    return check


def _optional(inner: Check) -> Check:
    return lambda value: None if value is None else inner(value)


def _tuple_of(inner: Check, longest: int) -> Check:
    def check(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or len(value) > longest:
            raise _wrong(f"a list of at most {longest}", value)
        return tuple(inner(item) for item in value)

    return check


def _spec(value: object) -> ElementSpec | None:
    return None if value is None else ElementSpec.from_wire(value)


_u64, _u63 = _int(0, U64), _int(0, U63)

_WORKER_CHECKS: tuple[Check, ...] = (
    _int(0, MAX_WORKERS), _text(32), _int(0, 2**31), _text(256), _int(0, 65535), _text(),
    _u63, _u63,
)  # fmt: skip


def _worker(value: object) -> WorkerStatus:
    if not isinstance(value, list | tuple) or len(value) != len(_WORKER_CHECKS):
        raise _wrong("a worker's status", value)
    return WorkerStatus(*(c(v) for c, v in zip(_WORKER_CHECKS, value, strict=True)))


def _write_worker(w: WorkerStatus) -> list[Any]:
    return [w.index, w.state, w.pid, w.ipc, w.port, w.cause, w.life, w.lost]


def _pair(value: object) -> tuple[int, int]:
    pair = _tuple_of(_u63, 2)(value)
    if len(pair) != 2:
        raise _wrong("two numbers", value)
    return pair[0], pair[1]


def _record(made: type[Any], *checks: Check) -> Check:
    """A list with one value for each of a class's fields, in their order."""
    names = [field.name for field in fields(made)]

    def check(value: object) -> Any:
        if not isinstance(value, list | tuple) or len(value) != len(names):
            raise _wrong(f"{len(names)} values", value)
        return made(**{n: c(v) for n, c, v in zip(names, checks, value, strict=True)})

    return check


_time = _int(-1, U63)
_totals = _record(
    WorkerTotals, _int(0, MAX_WORKERS), _u63, _u63, _u63, _u63, _time, _time, _u63, _u63, _u63,
    _u63, _u63, _u63, _u63, _text(MAX_ERROR),
)  # fmt: skip
_trainer = _record(TrainerTotals, _u64, _u63, _u63, _u63, _u63, _bool)
_snapshot = _record(
    Snapshot,
    _u63,
    _u63,
    _u63,
    _u63,
    _tuple_of(_totals, MAX_WORKERS),
    _tuple_of(_trainer, MAX_TRAINERS),
)


def _write_totals(totals: WorkerTotals | TrainerTotals | None) -> list[Any]:
    assert totals is not None  # what is the default is not written
    # `astuple` would copy each of them, which takes five times as long.
    return [getattr(totals, field.name) for field in fields(totals)]


def _write_snapshot(s: Snapshot | None) -> list[Any]:
    assert s is not None  # what is the default is not written
    workers, trainers = map(_write_totals, s.workers), map(_write_totals, s.trainers)
    return [s.at, s.cores, s.memory, s.most, list(workers), list(trainers)]


_stream = Field("s", "stream", _u63)
_features = Field("f", "features", _tuple_of(_text(64), 64), default=(), write=list)
_major = Field("v", "major", _int(0, 2**16))
_minor = Field("w", "minor", _int(0, 2**16))

#: ITEM's payload description is checked by the codec, against the stream's spec.
FIELDS: dict[Kind, tuple[Field, ...]] = {
    Kind.HELLO: (
        Field("m", "magic", _text(16)), _major, _minor, _features,
        Field("t", "session", _u64), Field("e", "fence", _u63),
        Field("o", "streams", _tuple_of(_u63, 4096), write=list),
        Field("mb", "memory", _u63, default=0),
    ),
    Kind.WELCOME: (
        _major, _minor, _features, Field("i", "incarnation", _u64),
        Field("o", "streams", _optional(_tuple_of(_u63, 4096)), default=None, write=list),
    ),
    Kind.ERROR: (
        Field("c", "code", _text(64)), Field("x", "text", _text()),
        Field("s", "stream", _optional(_u63), default=None),
    ),
    Kind.STATUS: (
        Field("st", "state", _text(32)), Field("g", "generator", _text(512)),
        Field("sh", "sharding", _text(16)), Field("sd", "seed", _u64),
        Field("ca", "cardinality", _int(-2, U63)), Field("h", "host", _text(512)),
        Field("sp", "spec", _spec, write=lambda spec: None if spec is None else spec.to_wire()),
        Field("ws", "workers", _tuple_of(_worker, MAX_WORKERS),
              write=lambda workers: [_write_worker(w) for w in workers]),
        Field("x", "cause", _text(), default=""),
        Field("rc", "recovery", _text(16), default="auto"),
        Field("a", "arguments", _text(32), default=""),
        Field("it", "items", _int(-1, U63), default=-1),
        Field("up", "upstream", _int(0, MAX_WORKERS), default=0),
        Field("rp", "replay", _u63, default=0),
    ),
    Kind.OPEN: (
        _stream, Field("i", "index", _int(0, 2**31)), Field("n", "count", _int(1, 2**31)),
        Field("e", "epoch", _u63), Field("r", "seed", _u64), Field("b", "start", _u63),
        Field("z", "batch", _int(0, MAX_BATCH), default=0),
        Field("d", "drop_remainder", _bool, default=False),
        Field("w", "work", _optional(_u63), default=None),
        Field("g", "group", _u64, default=0),
        Field("up", "upstream", _pair, default=(0, 0), write=list),
        Field("sh", "shared", _bool, default=False),
    ),
    Kind.GRANT: (
        _stream, Field("n", "elements", _u63), Field("b", "nbytes", _u63), Field("a", "ack", _u63),
    ),
    Kind.ITEM: (_stream, Field("q", "first", _u63)),
    Kind.END: (_stream, Field("n", "count", _u63)),
    Kind.END_ACK: (_stream,),
    Kind.FAIL: (
        _stream, Field("q", "element", _u63), Field("c", "kind", _text(512)),
        Field("x", "text", _text()), Field("tb", "traceback", _text()),
    ),
    Kind.BEAT: (
        Field("t", "snapshot", _optional(_snapshot), default=None, write=_write_snapshot),
        Field("r", "reading", _optional(_trainer), default=None, write=_write_totals),
    ),
    Kind.CLOSE: (_stream,),
    Kind.GOAWAY: (
        Field("x", "reason", _text()), Field("b", "returns", _bool, default=False),
    ),
    Kind.RELEASE: (
        Field("p", "slots", _tuple_of(_pair, MAX_RELEASED),
              write=lambda pairs: [list(pair) for pair in pairs]),
    ),
    Kind.TAKE: (_stream, Field("n", "until", _u63)),
    Kind.WORK: (
        _stream, Field("o", "ordinal", _u63), Field("i", "item", _int(-1, U63)),
        Field("b", "skip", _u63, default=0),
    ),
    Kind.DONE: (
        _stream, Field("o", "ordinal", _u63), Field("n", "count", _u63),
        Field("t", "total", _int(-1, U63), default=-1),
    ),
}  # fmt: skip


def read(kind: Kind, header: dict[str, object]) -> dict[str, Any]:
    """The message's attributes from a header; `RemoteProtocolError` on any breach."""
    values: dict[str, Any] = {}
    for field in FIELDS[kind]:
        if field.key in header:
            values[field.name] = field.check(header[field.key])
        elif field.default is REQUIRED:
            raise RemoteProtocolError(f"header: {kind.name} lacks {field.key!r}")
        else:
            values[field.name] = field.default
    return values


def write(kind: Kind, message: object) -> dict[str, object]:
    """The header of a message."""
    values = [(field, getattr(message, field.name)) for field in FIELDS[kind]]
    return {field.key: field.write(value) for field, value in values if value != field.default}
