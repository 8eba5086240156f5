"""Rule T2, row by row: data for the right key, and for everybody else a named error."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
from genserver.client import Client, KeyFileError, KeyRejected
from genserver.protocol.codec import decode_header, encode
from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.errors import NotGuarded
from genserver.protocol.handshake import Shake
from genserver.protocol.keys import TrainerKeys
from genserver.protocol.link import Numbered
from genserver.protocol.messages import Hello, Status, Welcome
from genserver.protocol.transport.guard import Guard
from genserver.protocol.transport.key_files import find_server_keys, find_trainer_keys, make_keys
from genserver.protocol.transport.loop import Loop
from genserver.protocol.transport.process import acquire_loop, release_loop
from genserver.protocol.transport.sockets import HANDSHAKE_MS, Door, Monitor, Router
from genserver.server import Server

from ..support.servers import Serve, eventually
from ..support.status import status_of

#: What a refusal may take (design 8), and what nobody may get anything within (rule T2), seconds.
REFUSED_WITHIN, SILENT_FOR = 5.0, 2.0


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the server and its trainer; in ``others`` those of another server."""
    folder = tmp_path_factory.mktemp("keys")
    make_keys(str(folder))
    make_keys(str(folder / "others"))
    return folder


@pytest.fixture
def server(shared: Serve, keys: Path) -> Server:
    """With keys, at tcp."""
    return shared("generators:numbered", workers=2, keys=str(keys))


def trainer(folder: Path) -> TrainerKeys:
    found = find_trainer_keys(str(folder), {})
    assert found is not None
    return found


def stranger_of(keys: Path) -> TrainerKeys:
    """The right server's key, and a key of its own that nobody knows."""
    other = trainer(keys / "others")
    return TrainerKeys(other.public, other.secret, trainer(keys).server)


def curve(keys: TrainerKeys) -> dict[str, bytes]:
    return {
        "curve_serverkey": keys.server.encode(), "curve_publickey": keys.public.encode(),
        "curve_secretkey": keys.secret.encode(),
    }  # fmt: skip


#: How somebody connects, and how libzmq's handshake tells him that he may not: the connection may
#: be closed before that is said.
ROWS: dict[str, tuple[Callable[[Path], dict[str, Any]], Shake]] = {
    "right key": (lambda keys: curve(trainer(keys)), Shake.SUCCEEDED),
    "unknown key": (lambda keys: curve(stranger_of(keys)), Shake.REFUSED),
    "no keys": (lambda _: {}, Shake.MISMATCH),
    "PLAIN": (lambda _: {"plain_username": b"a", "plain_password": b"b"}, Shake.MISMATCH),
    "wrong server key": (lambda keys: curve(trainer(keys / "others")), Shake.CLOSED),
}


@pytest.mark.parametrize("plane", ["control", "data"])
@pytest.mark.parametrize("row", ROWS)
def test_only_the_right_key_gets_anything(server: Server, keys: Path, row: str, plane: str) -> None:
    """On both planes: a HELLO is answered, or its sender hears why not, and nothing else."""
    options, expected = ROWS[row]
    status = status_of(server.endpoint, keys=trainer(keys))
    port = parse_endpoint(server.endpoint).port if plane == "control" else status.workers[0].port
    context = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.linger = 0
    for name, value in options(keys).items():
        setattr(dealer, name, value)
    monitor = Monitor(dealer)
    try:
        dealer.connect(f"tcp://127.0.0.1:{port}")
        with contextlib.suppress(zmq.Again):  # who is refused by then has nowhere to send it
            dealer.send_multipart(encode(Numbered(0, Hello(7, 1))), zmq.DONTWAIT)
        told = _next(monitor)
        assert told is expected or (told, expected) == (Shake.CLOSED, Shake.MISMATCH)
        if expected is Shake.SUCCEEDED:
            assert dealer.poll(int(REFUSED_WITHIN * 1000))
            _, message = decode_header(dealer.recv(zmq.DONTWAIT))
            assert isinstance(message, Welcome | Status)
        else:
            assert not dealer.poll(int(SILENT_FOR * 1000))
    finally:
        monitor.close()
        dealer.close()
        context.term()


def _next(monitor: Monitor, within: float = REFUSED_WITHIN) -> Shake | None:
    deadline = time.monotonic() + within
    while (shake := monitor.shake()) is None and (left := deadline - time.monotonic()) > 0:
        monitor.raw.poll(int(left * 1000) + 1)
    return shake


def test_a_trainer_with_the_right_key_gets_the_elements(server: Server, keys: Path) -> None:
    """Over tcp, encrypted, and through shared memory after a handshake with keys."""
    for transport in ("tcp", "auto"):
        with Client(server.endpoint, keys=str(keys), transport=transport) as client:
            assert sorted(int(number) for number, _ in client) == list(range(20))


@pytest.mark.parametrize(
    ("of", "code"),
    [("stranger", "unknown_key"), ("others", "wrong_server_key"), (None, "keys_needed")],
)
def test_a_trainer_is_told_why_he_is_refused(
    server: Server, keys: Path, tmp_path: Path, of: str | None, code: str
) -> None:
    """`KeyRejected` with its code, within 5 s."""
    folder: str | None = None if of is None else str(keys / "others")
    if of == "stranger":
        make_keys(str(tmp_path), "trainer")
        right = (keys / "trainer" / "server.key").read_text()
        (tmp_path / "trainer" / "server.key").write_text(right)
        folder = str(tmp_path)
    began = time.monotonic()
    with pytest.raises(KeyRejected) as caught:
        Client(server.endpoint, keys=folder)
    assert time.monotonic() - began < REFUSED_WITHIN
    assert caught.value.code == code
    assert caught.value.endpoint == server.endpoint


def test_keys_at_a_server_without_are_said(shared: Serve, keys: Path) -> None:
    """Whoever expects encryption gets none in silence."""
    server = shared("generators:numbered", workers=2)
    with pytest.raises(KeyRejected) as caught:
        Client(server.endpoint, keys=str(keys))
    assert caught.value.code == "keys_unused"


def test_who_is_taken_out_of_the_folder_is_out(serve: Serve, tmp_path: Path) -> None:
    """Within a second, and without a restart; who is put in is in."""
    make_keys(str(tmp_path))
    make_keys(str(tmp_path), "second")
    server = serve("numbered", workers=1, keys=str(tmp_path))
    known = tmp_path / "server" / "trainers" / "second.key"
    away = known.rename(tmp_path / "second.key")
    assert eventually(lambda: not lets_in(server, tmp_path / "second"))
    away.rename(known)
    assert eventually(lambda: lets_in(server, tmp_path / "second"))


def lets_in(server: Server, keys: Path) -> bool:
    try:
        with Client(server.endpoint, keys=str(keys), transport="tcp") as client:
            return len(list(client)) == 20
    except KeyRejected as error:
        return error.code != "unknown_key"


# The rows in which the server itself is at fault: it does not start.


@pytest.fixture
def guard(keys: Path) -> Iterator[Guard]:
    acquire_loop()  # whose end would close the process's sockets
    loop = Loop()
    made = Guard(loop, find_server_keys(str(keys), {}))
    yield made
    made.close()
    loop.close()
    release_loop()


def _unasked(self: Router, secret: str) -> None:
    """The empty domain, and that enforced: libzmq asks nobody, and lets everybody in."""
    self.raw.curve_server = True
    self.raw.curve_secretkey = secret.encode()
    self.raw.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def test_an_empty_domain_is_found_before_anybody_is_let_in(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CURVE without ZAP is encryption for strangers: the trial at the start gets in."""
    monkeypatch.setattr(Router, "guard", _unasked)
    router = Router()
    try:
        with pytest.raises(NotGuarded, match="the handshake succeeded"):
            guard.bind(router, parse_endpoint("tcp://127.0.0.1:0"))
    finally:
        router.close()


def test_an_authenticator_that_is_gone_is_found(
    guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody answers the trial: everybody would be refused, and nobody told why."""
    monkeypatch.setattr(Door, "receive", lambda self: None)
    monkeypatch.setattr("genserver.protocol.transport.guard.TRIAL_SECONDS", 0.5)
    router = Router()
    try:
        with pytest.raises(NotGuarded, match="no answer"):
            guard.bind(router, parse_endpoint("tcp://127.0.0.1:0"))
    finally:
        router.close()


def test_an_authenticator_that_stops_lets_nobody_in(guard: Guard, keys: Path) -> None:
    """A door that is closed while the socket is bound: ZAP_ENFORCE_DOMAIN refuses."""
    router = Router()
    try:
        endpoint = guard.bind(router, parse_endpoint("tcp://127.0.0.1:0"))
        guard.close()
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            for name, value in curve(trainer(keys)).items():
                setattr(dealer, name, value)
            monitor = Monitor(dealer)
            try:
                dealer.connect(str(endpoint))
                dealer.send(b"let me in", zmq.DONTWAIT)
                # libzmq may still ask a door that is being closed; then its time is up first.
                assert _next(monitor, within=2 * HANDSHAKE_MS / 1000) is Shake.CLOSED
                assert not router.raw.poll(int(SILENT_FOR * 1000))
            finally:
                monitor.close()
    finally:
        router.close()


OPEN_DOOR = """
import zmq
from genserver.protocol.transport.sockets import Router
def unasked(self, secret):
    self.raw.curve_server = True
    self.raw.curve_secretkey = secret.encode()
    self.raw.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
Router.guard = unasked
from genserver.server.cli import main
main()
"""


def test_a_server_whose_door_is_open_does_not_start(keys: Path) -> None:
    """Exit code 78, and the sentence."""
    done = subprocess.run(
        [sys.executable, "-c", OPEN_DOOR, "serve", "generators:numbered", "--workers", "1",
         "--bind", "tcp://127.0.0.1:0", "--keys", str(keys)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 78, done.stderr
    assert "a stranger is not refused as he must be" in done.stderr


def test_unusable_keys_are_an_error_before_anything_is_tried(tmp_path: Path) -> None:
    """Also where nobody listens."""
    with pytest.raises(KeyFileError, match="genserver keygen"):
        Client("tcp://127.0.0.1:1", keys=str(tmp_path))
