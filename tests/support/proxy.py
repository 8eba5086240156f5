"""A small tcp proxy that spoils connections, with toxiproxy's vocabulary.

It stands at another loopback address than the server, at the same ports, because a status tells
the trainer ports alone. Owns a thread with an asyncio loop, the listening sockets and both ends of
every connection. Runs without root, which namespaces.py needs.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["DOWN", "UP", "Proxy", "Toxics"]

T = TypeVar("T")

#: Directions: from the trainer to the server, and back.
UP, DOWN = "up", "down"
#: What one read takes, in bytes, and reads that may wait to be written: with both, what the proxy
#: holds back of a connection.
READ, WAITING = 2**16, 64
#: Seconds that a call from another thread may take.
CALL_SECONDS = 10.0


@dataclass(slots=True)
class Toxics:
    """What happens to the bytes of one direction."""

    #: Seconds that each byte is late.
    latency: float = 0.0
    #: Bytes per second, None for no limit.
    bandwidth: int | None = None
    #: The most bytes of one write, None for no limit; between two of them the other ends may run.
    slice: int | None = None
    #: A connection is reset when so many more bytes have passed, None for never.
    reset_after: int | None = None


@dataclass(slots=True)
class _Direction:
    toxics: Toxics = field(default_factory=Toxics)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    #: Bytes that passed.
    passed: int = 0


class Proxy:
    """Use as a context manager. Its methods may be called from any thread, and act at once."""

    def __init__(self, ports: list[int], *, host: str = "127.0.0.2", to: str = "127.0.0.1") -> None:
        """Forwards each of ``ports`` of ``host`` to the same one of ``to``."""
        self.host = host
        self.ports = ports
        self._to = to
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._directions = {UP: _Direction(), DOWN: _Direction()}
        self._servers: list[asyncio.Server] = []
        self._pairs: dict[asyncio.Task[None], tuple[asyncio.StreamWriter, ...]] = {}
        #: Connections that were accepted.
        self.accepted = 0
        self._thread.start()
        try:
            self._await(self._start(ports))
        except BaseException:
            self.close()
            raise

    def endpoint(self, port: int) -> str:
        """Where a trainer reaches the server at ``port`` through this proxy."""
        return f"tcp://{self.host}:{port}"

    def cut(self, port: int | None = None) -> int:
        """Reset every connection, or those to one port; how many there were."""
        return self._call(lambda: self._cut(port))

    def hold(self, *directions: str) -> None:
        """From now on nothing passes in these directions, as in a network that is partitioned.

        By default in both. Connections stay, and new ones are accepted; nothing is lost yet.
        """
        self._call(lambda: [self._directions[d].open.clear() for d in directions or (UP, DOWN)])

    def heal(self) -> None:
        """Everything passes again, unspoilt; what was held back first."""
        self._call(self._heal)

    def spoil(self, direction: str, toxics: Toxics) -> None:
        """What happens to the bytes of a direction from now on."""
        self._call(lambda: setattr(self._directions[direction], "toxics", toxics))

    def passed(self, direction: str) -> int:
        """Bytes that passed so far."""
        return self._directions[direction].passed

    @property
    def connections(self) -> int:
        """Connections that are open now."""
        return len(self._pairs)

    def close(self) -> None:
        """Reset what is open and end the thread. Idempotent."""
        if self._thread.is_alive():
            self._await(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CALL_SECONDS)
            self._loop.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _await(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(CALL_SECONDS)

    def _call(self, function: Callable[[], T]) -> T:
        done: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(function()))
        return done.result(CALL_SECONDS)

    async def _start(self, ports: list[int]) -> None:
        self._heal()
        for port in ports:
            self._servers.append(
                await asyncio.start_server(self._accept_for(port), self.host, port, limit=READ)
            )

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        await _turns()  # what was accepted a moment ago begins, so that it can be ended
        tasks = list(self._pairs)
        self._cut(None)
        await asyncio.gather(*tasks, return_exceptions=True)
        await _turns()  # sockets are closed a turn after their connections

    def _heal(self) -> None:
        for direction in self._directions.values():
            direction.toxics = Toxics()
            direction.open.set()

    def _cut(self, port: int | None) -> int:
        chosen = [
            (task, writers)
            for task, writers in self._pairs.items()
            if port in (None, writers[0].get_extra_info("sockname")[1])
        ]
        for task, writers in chosen:
            for writer in writers:
                _reset(writer)
            task.cancel()
        return len(chosen)

    def _accept_for(self, port: int) -> Callable[..., Coroutine[Any, Any, None]]:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.accepted += 1
            task = asyncio.current_task()
            assert task is not None  # asyncio runs this as one
            self._pairs[task] = (writer,)
            try:
                await self._serve(task, port, reader, writer)
            except (OSError, asyncio.CancelledError):
                for end in self._pairs[task]:  # nobody listens there, or it was cut
                    _reset(end)
            finally:
                for end in self._pairs.pop(task):
                    end.close()

        return accept

    async def _serve(
        self,
        task: asyncio.Task[None],
        port: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        """Carry bytes both ways until one end closes: the protocols here never close halfway."""
        there, back = await asyncio.open_connection(self._to, port, limit=READ)
        self._pairs[task] = (writer, back)
        up, down = self._directions[UP], self._directions[DOWN]
        jobs = (
            self._read(reader, queue_up := _queue(), up), self._write(back, queue_up, up),
            self._read(there, queue_down := _queue(), down), self._write(writer, queue_down, down),
        )  # fmt: skip
        tasks = {asyncio.create_task(job) for job in jobs}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for each in done:
            each.result()

    async def _read(
        self,
        reader: asyncio.StreamReader,
        waiting: asyncio.Queue[tuple[float, bytes]],
        direction: _Direction,
    ) -> None:
        while True:
            data = await reader.read(READ)
            await waiting.put((self._loop.time() + direction.toxics.latency, data))
            if not data:
                await self._loop.create_future()  # the writer ends the pair, when it got so far

    async def _write(
        self,
        writer: asyncio.StreamWriter,
        waiting: asyncio.Queue[tuple[float, bytes]],
        direction: _Direction,
    ) -> None:
        while True:
            due, data = await waiting.get()
            if due > self._loop.time():
                await asyncio.sleep(due - self._loop.time())
            await direction.open.wait()
            if not data:
                return
            while data:
                toxics = direction.toxics
                piece = data[: toxics.slice or len(data)]
                if toxics.reset_after is not None:
                    piece = piece[: toxics.reset_after]
                    toxics.reset_after -= len(piece)
                data = data[len(piece) :]
                if toxics.bandwidth is not None:
                    await asyncio.sleep(len(piece) / toxics.bandwidth)
                direction.passed += len(piece)
                writer.write(piece)
                await writer.drain()
                if toxics.reset_after == 0:
                    toxics.reset_after = None
                    raise ConnectionResetError("as asked")


def _queue() -> asyncio.Queue[tuple[float, bytes]]:
    """What was read and not written yet: (when it may be, bytes), no bytes at the end."""
    return asyncio.Queue(WAITING)


async def _turns() -> None:
    """Let the loop do what is due."""
    for _ in range(5):
        await asyncio.sleep(0)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST, whatever has not been written yet."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        with suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
