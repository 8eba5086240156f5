"""What a server makes of its generator, once worker 0 has loaded it: how many workers, how they
divide the work, what is refused. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from genserver.protocol.messages import NO_MORE
from genserver.protocol.telemetry import ANY

from .config import ConfigError, ServeConfig
from .reports import Loaded

__all__ = ["Settled", "most_workers", "settle", "unseeking"]


@dataclass(frozen=True, slots=True)
class Settled:
    """The terms of one server, which do not change any more."""

    workers: int
    sharding: str
    #: Elements of one pass, -1 endless, -2 unknown.
    length: int
    #: How many items can be dealt, `NO_MORE` where only their end will tell.
    items: int = NO_MORE
    #: How many workers the stage before this one has, 0 where there is none.
    upstream: int = 0


def settle(config: ServeConfig, report: Loaded, cores: int) -> Settled:
    """`ConfigError` with the sentence for what cannot be served as asked."""
    dividing = report.divisible or config.sharding == "off"
    workers = config.workers if report.workers is None else report.workers
    if config.workers not in (None, workers):
        raise ConfigError(
            f"{config.target} is a pipeline whose last stage says workers={workers}: leave "
            "--workers out"
        )
    if workers is None:
        workers = max(1, cores - 1) if dividing else 1
    if config.sharding == "static" and not report.divisible:
        raise ConfigError(_indivisible(config, "--sharding static"))
    if workers > 1 and not dividing:
        raise ConfigError(_indivisible(config, f"{workers} workers"))
    if config.sharding == "dynamic" and report.items is None:
        raise ConfigError(
            f"{config.target} is not called for items, so there is nothing to deal with "
            "--sharding dynamic: say over which --items it is called"
        )
    own = "static" if report.divisible else "single"
    settled = Settled(
        workers=workers,
        sharding=config.sharding or ("dynamic" if report.items is not None else own),
        length=report.length if config.length is None else config.length,
        items=NO_MORE if report.items is None else report.items,
        upstream=0 if report.upstream is None else int(report.upstream["workers"]),
    )
    _check_recovery(config, report, settled.length)
    return settled


def most_workers(sharding: str, items: int) -> int:
    """Over how many workers that can be divided: 1, one for each item, or `ANY`."""
    if sharding == "single":
        return 1
    return items if sharding == "dynamic" and items > 0 else ANY


def _check_recovery(config: ServeConfig, report: Loaded, length: int) -> None:
    """Whether the generator can give what --recovery asks for, as far as is known."""
    if report.upstream is not None and config.recovery in ("seek", "stream"):
        raise ConfigError(
            f"{config.target} is a pipeline, whose volumes are made again where a worker dies: "
            f"--recovery {config.recovery} is for one stage"
        )
    if config.recovery == "seek" and not report.divisible:
        raise ConfigError(unseeking(config.target))
    if config.recovery == "stream" and length >= 0:
        raise ConfigError(
            f"{config.target} has {length} elements, and --recovery stream loses some with each "
            "worker that dies: it is for endless random generators, --length infinite"
        )


def unseeking(target: str) -> str:
    """Of a generator that --recovery seek is asked of in vain."""
    return (
        f"{target} does not read worker.start before its first yield, so it cannot "
        "--recovery seek: have it begin at element worker.start, or take --recovery auto, "
        "which runs it again"
    )


def _indivisible(config: ServeConfig, wanted: str) -> str:
    return (
        f"{config.target} cannot be divided, so {wanted} would serve every element more "
        "than once: give it a parameter named 'worker' and use worker.index and worker.count, "
        "or say --sharding off if whole copies are right (endless random elements), "
        "or --workers 1"
    )
