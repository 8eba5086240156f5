"""Running a generator again up to the element where a lost worker's stream goes on. Pure.

Says what to log and when it takes too long; the runner does the running.
"""

from __future__ import annotations

__all__ = ["LINE_EVERY", "Refusal", "Rerun"]

#: Seconds between two lines, and until the pace so far is trusted for an estimate.
LINE_EVERY = 5.0


class Refusal(Exception):
    """A stream cannot go on as asked; ``kind`` is what the trainer's error has as its kind."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Rerun:
    """One generator on its way to element ``target``.

    Time is what was spent within the generator, in seconds: other streams may have turns between.
    """

    def __init__(self, target: int, *, mean: float | None, limit: float | None) -> None:
        """``mean`` is what an element took before, in seconds, where that is known; ``limit`` what
        all may take. `Refusal` when that is too little by the estimate.
        """
        self._target = target
        self._limit = limit
        self._said = 0.0
        self._check(0.0 if mean is None else mean * target, "would take about")
        estimate = "" if mean is None else f", about {mean * target:.1f} s"
        #: What is done and why, to be logged before it begins.
        self.announcement = (
            f"runs {_elements(target)} again to go on at element {target}{estimate}; "
            "a generator that begins at worker.start saves that"
        )

    def passed(self, done: int, spent: float) -> str:
        """So many elements were run: a line to log, or ""; `Refusal` when it takes too long."""
        self._check(spent, f"had taken, with {done} of them done,")
        if spent - self._said < LINE_EVERY:
            return ""
        self._said = spent
        total = spent / done * self._target
        self._check(total, "would take about")
        left = f"about {total - spent:.0f} s left"
        return f"has run {done} of {_elements(self._target)} again, {left}"

    def finished(self, spent: float) -> str:
        """The last line."""
        return f"ran {_elements(self._target)} again in {spent:.1f} s"

    def ended(self, done: int) -> Refusal:
        """The generator had fewer elements than the trainer has had of it."""
        return Refusal(
            "NotRepeatable",
            f"the generator ended after {_elements(done)} when it was run again to go on at "
            f"element {self._target}: it does not make the same elements again. If they are "
            "random, serve it with --recovery stream",
        )

    def _check(self, seconds: float, how: str) -> None:
        if self._limit is not None and seconds > self._limit:
            raise Refusal(
                "RerunTooLong",
                f"running {_elements(self._target)} again {how} {seconds:.1f} s, and --max-rerun "
                f"is {self._limit:g}: have the generator begin at worker.start",
            )


def _elements(count: int) -> str:
    return f"{count} element{'' if count == 1 else 's'}"
