"""What genserver must reach, line by line, and what each line is measured against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from _case import PEERS, make_case
from _figures import ratios, spread
from _report import number
from _rounds import Contestant, Outcome, contestant, reference
from _workloads import WORKLOADS

#: Of the table of lines.
HEADINGS = ("line", "figure", "min - max", "wanted", "met", "note")
#: Slots of the bare loops that copy: as many of this size as a worker of genserver has.
SLOTS, SCAN_SLOTS = 8, 4

#: (loop iterations of a millisecond) -> a contestant.
Entry = Callable[[float], Contestant]


@dataclass(frozen=True, slots=True)
class Line:
    """One wanted figure: a rate over others' in the same round, or a time."""

    text: str
    wanted: float
    #: Contestants by name; without ``over`` the figure is microseconds per element.
    ours: str
    over: tuple[str, ...] = ()

    @property
    def at_most(self) -> bool:
        return not self.over


@dataclass(frozen=True, slots=True)
class Group:
    """Lines that are measured in the same rounds."""

    name: str
    entries: Sequence[Entry]
    lines: tuple[Line, ...]
    #: Of a slice.
    seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A line's figure: the median of the rounds; None where there is none, and why."""

    text: str
    wanted: str
    figure: float | None
    low: float | None
    high: float | None
    met: bool
    note: str = ""


def judge(line: Line, outcomes: dict[str, Outcome]) -> Verdict:
    """The figure over each of the others, and the least of those."""
    wanted = f"{'at most' if line.at_most else 'at least'} {line.wanted:g}"
    ours = outcomes[line.ours]
    if ours.reason:
        return Verdict(line.text, wanted, None, None, None, False, ours.reason)
    if line.at_most:
        return verdict(line.text, wanted, [1e6 / rate for rate in ours.rates], line.wanted)
    others = {name: outcomes[name] for name in line.over if not outcomes[name].reason}
    missing = [f"{name}: {outcomes[name].reason}" for name in line.over if name not in others]
    if not others:
        return Verdict(line.text, wanted, None, None, None, False, "; ".join(missing))
    against = {name: ratios(ours.rates, other.rates) for name, other in others.items()}
    least = min(against, key=lambda name: spread(against[name]).median)
    note = "; ".join([*([f"against {least}"] if len(line.over) > 1 else []), *missing])
    return verdict(line.text, wanted, against[least], line.wanted, at_most=False, note=note)


def verdict(
    text: str, wanted: str, values: Sequence[float], limit: float, *, at_most: bool = True,
    note: str = "",
) -> Verdict:  # fmt: skip
    """Of the figures of all rounds."""
    all_ = spread(values)
    met = all_.median <= limit if at_most else all_.median >= limit
    return Verdict(text, wanted, all_.median, all_.low, all_.high, met, note)


def cells(one: Verdict) -> tuple[str, ...]:
    """A line's row under `HEADINGS`."""
    if one.figure is None or one.low is None or one.high is None:
        return (one.text, "none", "", one.wanted, "no", one.note)
    span = f"{number(one.low)} - {number(one.high)}"
    return (one.text, number(one.figure), span, one.wanted, "yes" if one.met else "no", one.note)


def _way(name: str, workload: str, way: str, batching: str = "", batch: int | None = None) -> Entry:
    """A way under the name that the lines use."""

    def made(loops_per_ms: float) -> Contestant:
        case = make_case(
            workload, way, loops_per_ms, batching=batching, batch=batch, check=workload == "filled"
        )
        return replace(contestant(case), name=name)

    return made


def _peers(workload: str, batching: str = "", suffix: str = "") -> list[Entry]:
    """Every other loader of several processes, named after itself."""
    return [_way(peer + suffix, workload, peer, batching) for peer in PEERS]


def _copies(generator: str, slots: int, *, alone: bool = False) -> Entry:
    arguments = ("copy", generator, str(slots))
    return lambda _: reference("bare copies", *arguments, numbered=True, alone=alone)


def _loops(workload: str) -> Entry:
    def made(loops_per_ms: float) -> Contestant:
        return reference("bare", "spin", str(WORKLOADS[workload].arguments(loops_per_ms)["loops"]))

    return made


def _raw(loops_per_ms: float) -> Contestant:  # noqa: ARG001  # an Entry
    return reference("recv_into", "tcp", str(WORKLOADS["volume"].nbytes), processes=1)


_SMALL = (
    _way("batched", "small", "auto", "workers"), _way("single", "small", "auto", "trainer"),
    _way("plain", "small", "plain", "trainer"), _way("torch", "small", "torch", "workers"),
)  # fmt: skip
_IMAGE = (
    _way("single", "image", "auto"), _way("plain", "image", "plain"),
    _way("single8", "image8", "auto", "trainer"), _way("plain8", "image8", "plain", "trainer"),
    _way("batched8", "image8", "auto", "workers"),
    *_peers("image"), *_peers("image8", "workers", "8"),
)  # fmt: skip
_VOLUME = (
    _way("copied", "volume", "auto"), _way("in_place", "filled", "auto"),
    _copies("volumes", SLOTS), *_peers("volume"),
)  # fmt: skip
_SCAN = (_way("ours", "scan", "auto"), _copies("scans", SCAN_SLOTS, alone=True))
_TCP = (_way("client", "volume", "client-tcp"), _way("into_tf", "volume", "tcp"), _raw)
_PYTHON6 = (
    _way("single", "python6", "auto"), _way("batched", "python6", "auto", "workers", 8),
    _loops("python6"),
)  # fmt: skip
_PYTHON50 = (_way("single", "python50", "auto"), _loops("python50"))
_PEERS8 = tuple(f"{peer}8" for peer in PEERS)
GROUPS = (
    Group("small", _SMALL, (
        Line("(28,28), batch=256: us per element", 1.1, "batched"),
        Line("(28,28), batch=256: times plain .batch(256)", 110, "batched", ("plain",)),
        Line("(28,28), batch=256: times torch batched in workers", 9, "batched", ("torch",)),
        Line("(28,28), user's .batch(256): us per element", 2.2, "single"),
        Line("(28,28), user's .batch(256): times plain", 55, "single", ("plain",)),
    )),
    Group("image", _IMAGE, (
        Line("1 MB, single: times plain", 3, "single", ("plain",)),
        Line("1 MB, user's .batch(8): times plain .batch(8)", 1.8, "single8", ("plain8",)),
        Line("1 MB, batch=8: times plain, per element", 4, "batched8", ("plain",)),
        Line("1 MB, single: times the best other", 6, "single", PEERS),
        Line("1 MB, batch=8: times the best other", 6, "batched8", _PEERS8),
    )),
    Group("volume", _VOLUME, (
        Line("8 MB: of the producers' bare copies", 0.8, "copied", ("bare copies",)),
        Line("8 MB: times the best other", 4, "copied", PEERS),
        Line("8 MB written in place: times copied", 1.3, "in_place", ("copied",)),
    )),
    Group("scan", _SCAN, (
        Line("300 MB: of the producers' bare copies", 0.75, "ours", ("bare copies",)),
    ), seconds=4.0),
    Group("tcp", _TCP, (
        Line("tcp 8 MB, Client: of a raw recv_into loop", 0.85, "client", ("recv_into",)),
        Line("tcp 8 MB, into TensorFlow: of the same", 0.65, "into_tf", ("recv_into",)),
    )),
    Group("python6", _PYTHON6, (
        Line("6 ms of Python, one by one: of bare loops", 0.9, "single", ("bare",)),
        Line("6 ms of Python, batch=8: of bare loops", 0.96, "batched", ("bare",)),
    ), seconds=6.0),
    Group("python50", _PYTHON50, (
        Line("50 ms of Python: of bare loops", 0.97, "single", ("bare",)),
    ), seconds=10.0),
)  # fmt: skip
