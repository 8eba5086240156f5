"""`telemetry_callback`: what is measured, in Keras' logs.

Keras shows what is in the logs of a batch in its progress bar, and TensorBoard writes those of an
epoch: the dict is the same for all callbacks of a list. Nothing here waits; Keras is imported when
the callback is made.
"""

from __future__ import annotations

import importlib
import time
from typing import Any, Protocol

from genserver.protocol.verdict import Bottleneck

from .measured import ServerTelemetry, bottleneck, telemetry
from .usage import clock
from .waiting import say

__all__ = ["Waited", "telemetry_callback"]

#: Seconds between two looks at what the steps waited, and at what the servers say.
TELL_EVERY, LOOK_EVERY = 0.25, 1.0
#: Workers whose rates are in the logs of an epoch.
MAX_WORKERS = 16
#: Logs are numbers.
_CODES = {
    Bottleneck.UNKNOWN: 0, Bottleneck.TRAINER: 1, Bottleneck.PRODUCER: 2, Bottleneck.WIRE: 3,
}  # fmt: skip


class Waited(Protocol):
    """What measures the waiting: a `Probe`."""

    @property
    def seconds(self) -> float:
        """In all so far."""


def telemetry_callback() -> Any:
    """A ``keras.callbacks.Callback`` that logs what is measured: is the model waiting for data?

    Give it to ``fit``, in front of ``TensorBoard``, for which and for the progress bar it adds:

    * ``data_wait``: the share of the epoch's time, from 0 to 1, in which a step waits for data.
    * ``elements_per_s``: elements a second that trainers get from the servers of this process.
    * ``verdict``: 0 for none yet, 1 trainer-bound, 2 producer-bound, 3 wire-bound.
    * ``worker_0_per_s`` and so on, at an epoch's end: elements a second that each of the first 16
      workers makes.

    The verdict's sentence is said at the end of an epoch if it is another one than before. The wait
    is measured at the end of the dataset, which ``fit`` gets with one more stage for it. That is
    not possible with several replicas, with ``device=``, and where ``x`` is no dataset; the verdict
    then names at most twice the workers that there are.
    """
    keras: Any = importlib.import_module("keras")
    meter = _Meter()

    class LogTelemetry(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
        def measure_with(self, probe: Waited) -> None:
            """Of this ``fit``."""
            meter.probe = probe

        def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002  # Keras' signature
            meter.begin()

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002  # as above
            meter.begin_epoch()

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            meter.begin_step()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            meter.end_step()
            if isinstance(logs, dict):
                logs.update(meter.figures)

        def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002  # as above
            meter.rest()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002  # as above
            meter.rest()
            if isinstance(logs, dict):
                logs.update(meter.of_epoch())
            meter.speak()

        def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002  # as above
            meter.rest()
            meter.probe = None

    return LogTelemetry()


class _Meter:
    """Told of the steps by the training loop's thread; tells the process's clock."""

    def __init__(self) -> None:
        self.probe: Waited | None = None
        #: What the logs of a batch get.
        self.figures: dict[str, float] = {}
        self._servers: tuple[ServerTelemetry, ...] = ()
        self._said = ""
        self._traced = False
        #: Since when nothing was told, and what the probe said then; None between steps.
        self._since: float | None = None
        self._base = 0.0
        self._ended = self._looked = 0.0
        self._waiting = self._using = 0.0

    def begin(self) -> None:
        """``fit`` begins: its first step is one of compiling."""
        self._traced = False
        self._since = None

    def begin_epoch(self) -> None:
        self.rest()
        self._waiting = self._using = 0.0

    def begin_step(self) -> None:
        if self._since is None and self._traced:
            self._open(time.monotonic())

    def end_step(self) -> None:
        self._ended = now = time.monotonic()
        if not self._traced:
            self._traced = True
            self._open(now)
        elif self._since is not None and now - self._since >= TELL_EVERY:
            self._tell()
            self._open(now)
        if now - self._looked >= LOOK_EVERY:
            self._look(now)

    def rest(self) -> None:
        """What comes now are no training steps."""
        if self._since is not None:
            self._tell()
            self._since = None

    def of_epoch(self) -> dict[str, float]:
        """What the logs of an epoch get."""
        self._look(time.monotonic())
        workers = [
            worker for server in self._servers if server.span is not None
            for worker in server.span.workers
        ]  # fmt: skip
        rates = {f"worker_{i}_per_s": one.elements for i, one in enumerate(workers[:MAX_WORKERS])}
        return {**self.figures, **rates}

    def speak(self) -> None:
        """The verdict's sentence, if it is news."""
        one = bottleneck(self._servers)
        if one is None or one.verdict.bottleneck is Bottleneck.UNKNOWN:
            return
        # The shares in the sentence are other ones each time.
        news = f"{one.endpoint} {one.verdict.bottleneck} {one.verdict.workers}"
        if news != self._said:
            self._said = news
            where = f"{one.endpoint}: " if len(self._servers) > 1 else ""
            say(f"{where}{one.verdict.sentence}")

    def _open(self, now: float) -> None:
        self._since = now
        self._base = self.probe.seconds if self.probe is not None else 0.0

    def _tell(self) -> None:
        if self.probe is None or self._since is None:
            return  # the lanes' own times count
        waiting = self.probe.seconds - self._base
        using = max(0.0, self._ended - self._since - waiting)
        self._waiting += waiting
        self._using += using
        clock.spent(waiting, using)

    def _look(self, now: float) -> None:
        self._looked = now
        self._servers = telemetry()
        spans = [server.span for server in self._servers if server.span is not None]
        one = bottleneck(self._servers)
        self.figures = {
            "data_wait": self._wait([span.wait for span in spans]),
            "elements_per_s": sum(span.elements for span in spans),
            "verdict": float(_CODES[one.verdict.bottleneck]) if one is not None else 0.0,
        }

    def _wait(self, shares: list[float]) -> float:
        """The epoch's share; that of all trainers of the server that is waited for most, where this
        one's cannot be measured."""
        spent = self._waiting + self._using
        return self._waiting / spent if spent else max(shares, default=0.0)
