"""What a hostile peer gets, by name: a typed error or a cut connection, and nothing of anybody's.

The peers are as good as such with a valid key: on loopback there are none, and libzmq's decoder and
ours are behind encryption the same.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgpack
import pytest
from genserver.client import Client, RemoteProtocolError
from genserver.protocol.admission import GREETING_SECONDS, MAX_PENDING
from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.messages import Close, Grant, Hello, Open
from genserver.protocol.spec import parse_spec
from genserver.protocol.transport.key_files import find_trainer_keys, make_keys
from genserver.server import Server

from ..support.hostile import DEALER, ByHand, a_hostile_server, frame
from ..support.processes import processes_of
from ..support.servers import Serve
from ..support.status import ports_of, status_of

MIB = 2**20
#: What a process's memory may grow by, at its highest.
GROWTH = 64 * MIB
#: Seconds until an answer must be there, or the connection cut.
SOON, CUT = 5.0, GREETING_SECONDS + 5.0


def header(kind: int, **keys: object) -> bytes:
    return bytes(msgpack.packb({"k": kind, "l": 0, **keys}))


def item(shape: object, nbytes: object = 8) -> bytes:
    """Of an ITEM with one array."""
    return header(7, s=1, q=0, n=1, a=[[nbytes, shape]])


def spec(dtype: object, shape: object = (4,)) -> bytes:
    """Of a STATUS whose elements are such arrays."""
    return header(
        4, st="", g="", sh="", sd=0, ca=0, h="", ws=[], sp=["array", dtype, shape]
    )  # fmt: skip


def whole(*frames: bytes) -> Callable[[ByHand], None]:
    """Say one message, behind the handshake."""

    def send(peer: ByHand) -> None:
        peer.shake()
        last = len(frames) - 1
        peer.send(b"".join(frame(f, more=at < last) for at, f in enumerate(frames)))

    return send


def saying(*messages: Any) -> Callable[[ByHand], None]:
    """Say these, behind the handshake."""

    def send(peer: ByHand) -> None:
        peer.shake()
        for number, message in enumerate(messages):
            peer.say(message, number)

    return send


def greeted(*messages: Any) -> Callable[[ByHand], None]:
    """Say HELLO, of a session of its own, and then these."""
    return lambda peer: saying(Hello(random.getrandbits(64), 1), *messages)(peer)


def raw(data: bytes, *, shake: bool = False) -> Callable[[ByHand], None]:
    """Write these bytes."""

    def send(peer: ByHand) -> None:
        if shake:
            peer.shake()
        peer.send(data)

    return send


def for_ever(piece: bytes) -> Callable[[ByHand], None]:
    """Write until the server hangs up, or 32 times what it may keep: a machine on which the server
    has to wait for its turn takes on no more than that."""

    def send(peer: ByHand) -> None:
        peer.shake()
        for _ in range(32 * MAX_PENDING // len(piece)):
            if not peer.send(piece):
                return

    return send


OPEN = Open(1, 0, 1, 0, 0, 0)
MANY_MAPS = b"\x81" * 2**20 + b"\x80" * 2**20
#: Sent to a server. By name: how, and what its sender is told: a part of the error, or "closed".
TO_SERVERS: dict[str, tuple[Callable[[ByHand], None], str]] = {
    "an object dtype": (whole(spec("object")), "object"),
    "a pickled dtype": (whole(spec("O")), "'O'"),
    "a structured dtype": (whole(spec([["a", "<i4"]])), "malformed array"),
    "a dtype of 20,000 fields": (whole(spec(",".join(["i4"] * 20_000))), "i4,"),
    "a shape of 2^40 elements": (whole(spec("float32", [2**40])), "dimension"),
    "a negative dimension": (whole(spec("float32", [-1])), "dimension"),
    "a product that overflows": (whole(item([2**31 - 1] * 3)), "payload"),
    "2 MB of empty maps": (whole(MANY_MAPS), "closed"),
    "60 KB of empty maps": (whole(b"\xdc\xea\x60" + b"\x80" * 60_000), "header"),
    "a truncated header": (whole(header(1)[:-1]), "header"),
    "a frame too many": (whole(header(11), b"payload"), "sends no payload"),
    "10,000 frames": (whole(header(11), *[b""] * 10_000), "sends no payload"),
    "a million frames": (whole(header(11), *[b""] * 1_000_000), "closed"),
    "a message that never ends": (for_ever(frame(b"", more=True) * 1000), "closed"),
    "long frames that never end": (for_ever(frame(b"x" * 60_000, more=True)), "closed"),
    "8 GiB announced": (
        raw(b"\x02" + struct.pack(">Q", 8 * 2**30) + bytes(100), shake=True),
        "closed",
    ),
    "2^63 bytes announced": (raw(b"\x02" + b"\xff" * 8 + bytes(100), shake=True), "closed"),
    "a credit of 2^63": (whole(header(8, s=1, n=2**63, b=1, a=0)), "an int in"),
    "a credit of 2^62 elements": (greeted(OPEN, Grant(1, 2**62, 1, 0)), "too many elements"),
    "a credit of 2^62 bytes": (greeted(OPEN, Grant(1, 1, 2**62, 0)), "too many bytes"),
    "an acknowledgement of the future": (greeted(OPEN, Grant(1, 2**62, 1, 2**62)), "acknowledges"),
    "a message before HELLO": (saying(Close(1)), "HELLO"),
    "HTTP": (raw(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), "closed"),
    "TLS": (raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(508)), "closed"),
    "random bytes": (raw(random.Random(5).randbytes(100_000)), "closed"),
    "silence": (raw(b""), "closed"),
    "silence behind the handshake": (raw(b"", shake=True), "closed"),
}
#: What a control socket does not have: streams.
STREAMS = ("a credit of 2^62 elements", "a credit of 2^62 bytes",
           "an acknowledgement of the future")  # fmt: skip


def peaks_of(server: Server) -> dict[int, int]:
    """The highest memory of each process so far, in bytes."""
    peaks = {}
    for pid in (server.pid, *processes_of(server.pid)):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith("VmHWM"))
        peaks[pid] = int(line.split()[1]) * 1024
    return peaks


@pytest.mark.linux
@pytest.mark.parametrize("name", TO_SERVERS)
def test_what_a_hostile_trainer_gets(shared: Serve, name: str) -> None:
    """At the control port and at a worker's; the processes are the same, and hardly larger."""
    server = shared("generators:numbered", workers=1)
    send, told = TO_SERVERS[name]
    before = peaks_of(server)
    control, *workers = ports_of(server.endpoint)
    for port in workers if name in STREAMS else (control, *workers):
        peer = ByHand(port)
        try:
            send(peer)
            heard = peer.hear(CUT if told == "closed" else SOON)
        finally:
            peer.close()
        assert told in heard, f"port {port}"
    with Client(server.endpoint, transport="tcp") as client:
        assert sorted(int(number) for number, _ in client) == list(range(20))
    after = peaks_of(server)
    assert after.keys() == before.keys()
    assert all(after[pid] - before[pid] < GROWTH for pid in after)


RIGHT = [0, [1, 4]]


def element(*arrays: object, n: int = 1, q: int = 0) -> Callable[[int], bytes]:
    """The header of an ITEM with these arrays, of a stream."""
    return lambda stream: header(7, s=stream, q=q, n=n, a=list(arrays))


#: Sent by a worker as an element of float32[4], for which it has credit. By name: the header, the
#: frames behind it, and what the trainer's error says.
TO_TRAINERS: dict[str, tuple[Callable[[int], bytes], list[bytes], str]] = {
    "a shape of 2^40 elements": (element([0, [1, 2**40]]), [bytes(16)], "shape"),
    "a negative dimension": (element([0, [1, -4]]), [bytes(16)], "shape"),
    "a product that overflows": (element([0, [2**31 - 1] * 3]), [bytes(16)], "do not fit"),
    "another shape than the spec's": (element([0, [1, 5]]), [bytes(16)], "shape"),
    "a dtype of its own": (element([*RIGHT, "object"]), [bytes(16)], "item"),
    "an array in memory that nobody lent": (element([1, [1, 4], [0, 0, 0, 16]]), [bytes(16)],
                                            "item"),
    "a truncated payload": (element(RIGHT), [bytes(15)], "another size"),
    "no payload": (element(RIGHT), [], "missing"),
    "a frame too many": (element(RIGHT), [bytes(16)] * 2, "not announced"),
    "100,000 frames too many": (element(RIGHT), [bytes(16), *[b""] * 100_000], "not announced"),
    "arrays that the spec has not": (element(RIGHT, RIGHT), [bytes(16)] * 2, "item"),
    "2^40 elements announced": (element([0, [2**40, 4]], n=2**40), [bytes(16)], "item"),
    "an element beyond the credit": (element([0, [2**14, 4]], n=2**14), [bytes(2**18)], "overran"),
    "element 5 before element 0": (element(RIGHT, q=5), [bytes(16)], "missing"),
    "60 KB of empty maps": (lambda _: b"\xdc\xea\x60" + b"\x80" * 60_000, [], "header"),
    "no header at all": (lambda _: b"", [], "header"),
}  # fmt: skip


@pytest.mark.parametrize("name", TO_TRAINERS)
def test_what_a_hostile_worker_gets(name: str) -> None:
    """The trainer's iterator raises `RemoteProtocolError` with worker and reason, after three
    links; a worker that is merely damaged by the way would have been right by then."""
    head, frames, says = TO_TRAINERS[name]
    with (
        a_hostile_server(parse_spec("float32[4]"), lambda s: [head(s), *frames]) as (
            endpoint,
            credits,
        ),
        Client(endpoint, transport="tcp") as client,
    ):
        with pytest.raises(RemoteProtocolError, match=f"worker 0 of {endpoint}: .*{says}"):
            list(client)
        assert credits[0] == 3


def test_a_stranger_at_a_server_with_keys_is_not_even_read(shared: Serve, tmp_path: Path) -> None:
    """Whatever he says behind a greeting without keys: the connection is closed."""
    make_keys(str(tmp_path))
    server = shared("generators:numbered", workers=1, keys=str(tmp_path))
    status = status_of(server.endpoint, keys=find_trainer_keys(str(tmp_path), {}))
    for port in (parse_endpoint(server.endpoint).port, status.workers[0].port):
        peer = ByHand(port)
        try:
            peer.send(DEALER + frame(header(13, s=1)))
            assert peer.hear(SOON) == "closed"
        finally:
            peer.close()


def test_every_row_is_in_the_document() -> None:
    """SECURITY.md names what is sent, and what it gets."""
    text = (Path(__file__).parent.parent.parent / "SECURITY.md").read_text()
    for name, row in (*TO_SERVERS.items(), *TO_TRAINERS.items()):
        assert f"| {name} | {row[-1]} |" in text.replace("`", "")


def test_the_table_can_fail() -> None:
    """An honest element is no harm: the trainer takes it."""

    values = struct.pack("<4f", 1, 2, 3, 4)
    with (
        a_hostile_server(parse_spec("float32[4]"), lambda s: [element(RIGHT)(s), values]) as (
            endpoint,
            _,
        ),
        Client(endpoint, transport="tcp") as client,
    ):
        assert next(iter(client)).tolist() == [1, 2, 3, 4]


def _endless(listening: socket.socket) -> None:
    """Greet each who comes as a ROUTER would, and begin a message that has no end."""
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            connection.sendall(DEALER.replace(b"DEALER", b"ROUTER"))
            while connection.recv(4096):
                for _ in range(64):
                    connection.sendall(frame(b"x" * 60_000, more=True) * 16)


def test_a_server_whose_message_never_ends_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trainer lets go of what it got, three times, and says so."""
    monkeypatch.setattr("genserver.protocol.transport.peer_link.LEAST_BACKLOG", 4 * MIB)
    monkeypatch.setattr("genserver.protocol.transport.peer_link.memory_size", lambda: 4 * MIB)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_endless, args=(listening,), daemon=True)
        thread.start()
        endpoint = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(RemoteProtocolError, match="bytes that are no whole message"):
            Client(endpoint, connect_timeout=100.0)  # three links take their time on a busy machine
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(10)
