"""Whose connection is cut: the fence of a bound socket against peers that mean harm. Pure.

ZeroMQ hands on whole messages only, and bounds their frames' sizes, not their number: a message
that never ends would fill the memory unseen. So what the system received of each connection is held
against what was handed on of it. A connection that says no HELLO, or breaks the protocol again and
again, ends as well. Others are left in peace: everything is counted by connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = [
    "GREETING_SECONDS", "MAX_BREACHES", "MAX_CONNECTIONS", "MAX_PENDING", "MAX_PENDING_IN_ALL",
    "Admission", "Cut",
]  # fmt: skip

#: Connections of one socket at once. A trainer has one; some more are links that are being renewed.
MAX_CONNECTIONS = 512
#: Seconds from a connection to its HELLO: trainers send it at once.
GREETING_SECONDS = 10.0
#: Breaches of the protocol by one connection, at which it is cut (rule T10).
MAX_BREACHES = 3
#: Bytes of a connection, and of all together, that were received and belong to no whole message: a
#: trainer's messages are one header of 64 KiB at most. libzmq keeps 64 bytes for a frame of two.
MAX_PENDING, MAX_PENDING_IN_ALL = 2**17, 2**20
#: Bytes of whole messages that may wait on a connection, more than a trainer ever has under way:
#: sixteen of the largest headers. As frames of two bytes that is what the fence cannot tell from an
#: honest queue, and takes 0.3 s to drop.
MAX_QUEUE = 2**20
#: What a message costs on the wire beside its frames, in bytes, at most: framing and encryption.
#: Counted too high it hides little, because what is hidden is counted anew from zero.
ENVELOPE = 96
#: Dropped messages that are worth a line: a trainer whose link was lost, or whose server was
#: started again, sends one or two more before it knows.
WORTH_REPORTING = 10
#: Seconds between two counts of who was sent away, in the log.
REPORT_EVERY = 10.0


@dataclass(frozen=True, slots=True)
class Cut:
    """End this connection."""

    connection: int
    why: str


@dataclass(slots=True)
class _Line:
    since: float
    #: Whether its first message came before the news of it.
    early: bool = False
    greeted: bool = False
    breaches: int = 0
    #: What was handed on, and what the system had received when that was looked at last.
    handed_on: int = 0
    received: int = 0
    #: Received and not handed on; never below zero.
    pending: int = 0
    cut: bool = False


class Admission:
    """The connections of one bound socket, by their descriptors."""

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}
        #: Messages that were dropped unread, and connections that were cut.
        self.dropped = 0
        self.cut = 0
        self._reported = 0.0
        self._told = (0, 0)

    def accepted(self, connection: int, now: float) -> list[Cut]:
        """A new connection. Of too many the eldest that said no HELLO ends, else this one."""
        line = self._lines.get(connection)
        if line is not None and line.early:
            line.early = False
        else:
            self._lines[connection] = _Line(now)
        there = [other for other, line in self._lines.items() if not line.cut]
        if len(there) <= MAX_CONNECTIONS:
            return []
        silent = [other for other in there if not self._lines[other].greeted]
        worst = min(silent, key=lambda other: self._lines[other].since, default=connection)
        return self._end(worst, f"more than {MAX_CONNECTIONS} connections")

    def gone(self, connection: int) -> None:
        """It ended."""
        self._lines.pop(connection, None)

    def arrived(self, connection: int, nbytes: int, now: float) -> bool:
        """A message of so many bytes was handed on; whether it should be read at all."""
        if connection < 0:  # an end of genserver always says what it comes by
            self.dropped += 1
            return False
        line = self._lines.get(connection)
        if line is None:
            line = self._lines[connection] = _Line(now, early=True)
        line.handed_on += nbytes + ENVELOPE
        self.dropped += line.cut
        return not line.cut

    def greeted(self, connection: int) -> None:
        """It said HELLO as it should."""
        if connection in self._lines:
            self._lines[connection].greeted = True

    def breach(self, connection: int) -> list[Cut]:
        """It broke the protocol, and what it sent was dropped."""
        self.dropped += 1
        line = self._lines.get(connection)
        if line is None:
            return []
        line.breaches += 1
        if line.breaches < MAX_BREACHES or line.cut:
            return []
        return self._end(connection, f"{MAX_BREACHES} breaches of the protocol")

    @property
    def connections(self) -> Iterable[int]:
        """Those that are not cut."""
        return [connection for connection, line in self._lines.items() if not line.cut]

    @property
    def wary(self) -> bool:
        """Whether a connection should be looked at soon: it said no HELLO, or is in the middle of
        something."""
        lines = [line for line in self._lines.values() if not line.cut]
        return any(line.pending or not line.greeted for line in lines)

    def tick(self, now: float, received: Mapping[int, int], *, drained: bool) -> list[Cut]:
        """Let time pass, after all news of connections was heard. ``received`` are the bytes that
        the system received of connections since they began; ``drained`` says whether all whole
        messages among them were handed on."""
        limit = MAX_PENDING if drained else MAX_PENDING + MAX_QUEUE
        self._forget_the_late()
        cuts: list[Cut] = []
        for connection, line in self._lines.items():
            if line.cut:
                continue
            if connection in received:
                self._weigh(line, received[connection])
            if line.pending > limit:
                cuts += self._end(connection, f"{line.pending} bytes that are no whole message")
            elif not line.greeted and now - line.since >= GREETING_SECONDS:
                cuts += self._end(connection, f"no HELLO within {GREETING_SECONDS:.0f} s")
        return cuts + (self._relieve() if drained else [])

    def _forget_the_late(self) -> None:
        """Messages without news of their connection came after its end: the next one with that
        number is another's, and must not be cut for what this one said last."""
        for connection in [c for c, line in self._lines.items() if line.early]:
            self.gone(connection)

    def _relieve(self) -> list[Cut]:
        """Many small pieces are as much as a large one: those who hold most of it end."""
        holding = {c: line.pending for c, line in self._lines.items() if not line.cut}
        cuts: list[Cut] = []
        while sum(holding.values()) > MAX_PENDING_IN_ALL:
            worst = max(holding, key=lambda c: holding[c])
            pending = holding.pop(worst)
            cuts += self._end(worst, f"{pending} bytes of too many that are no whole messages")
        return cuts

    def report(self, now: float) -> str:
        """A line for the log about those who were sent away since the last one, or ""."""
        counts = self.dropped, self.cut
        dropped, cut = counts[0] - self._told[0], counts[1] - self._told[1]
        if (dropped < WORTH_REPORTING and not cut) or now - self._reported < REPORT_EVERY:
            return ""
        self._told, self._reported = counts, now
        return f"sent away: {dropped} messages were dropped, {cut} connections cut"

    @staticmethod
    def _weigh(line: _Line, received: int) -> None:
        news = received - line.received
        line.pending = max(0, line.pending + news - line.handed_on)
        line.received, line.handed_on = received, 0

    def _end(self, connection: int, why: str) -> list[Cut]:
        self._lines[connection].cut = True
        self.cut += 1
        return [Cut(connection, why)]
