"""What goes wrong in the first hour: told in which words, and never taken for an end."""

from __future__ import annotations

import gc
import os
import re
import shlex
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
from genserver.client import Client, GeneratorError, Rejected, Unreachable, from_server
from genserver.client.lane import Lane
from genserver.client.options import PullOptions
from genserver.client.repeats import FREE, Repeats
from genserver.client.source import Source
from genserver.client.waiting import REPORT_EVERY
from genserver.protocol.codec import decode_header, encode
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.link import Numbered
from genserver.protocol.messages import Error, ErrorCode, Hello
from genserver.protocol.version import MAJOR, refusal_of
from genserver.server import ServerFailed
from genserver.server.config import ConfigError
from genserver.server.source import load_source

from ..support.servers import PATIENCE, SUPPORT, Serve, eventually

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
tf = pytest.importorskip("tensorflow")

#: Declared, so that a server starts whose generator fails at once.
SPEC = "int64[]"


def failure(client: Client) -> tuple[list[Any], GeneratorError]:
    """What one pass gives before it fails, and the failure."""
    got: list[Any] = []
    with pytest.raises(GeneratorError) as caught:
        got += client  # keeps what came before the error
    return got, caught.value


@pytest.mark.parametrize("at", [0, 2, 3])
def test_an_error_at_any_element_is_told_and_stays(serve: Serve, at: int) -> None:
    """At the first element, in the middle, after the last: all before it come, then only errors."""
    server = serve("first_hour_errors:raising", spec=SPEC, arguments={"at": at})
    with Client(server.endpoint) as client:
        got, error = failure(client)
        assert [int(n) for n in got] == list(range(at))
        assert (error.kind, error.text, error.element) == (
            "ValueError", "the scan is upside down", at,
        )  # fmt: skip
        assert "in raising" in error.traceback
    iterator = iter(from_server(server.endpoint))
    assert [int(next(iterator)) for _ in range(at)] == list(range(at))
    for _ in range(FREE + 2):
        with pytest.raises(tf.errors.UnknownError, match=f"epoch 0, element {at}"):
            next(iterator)


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("unpicklable", "Unpicklable", "holds a lock"),
        ("mute", "Mute", "(no text: its __str__ raised LookupError)"),
        ("exit", "SystemExit", "3"),
        ("interrupt", "KeyboardInterrupt", ""),
        ("surrogate", "ValueError", "file ? is not UTF-8"),
        # Raised inside a generator, Python itself makes a RuntimeError of it (PEP 479).
        ("stop", "RuntimeError", "generator raised StopIteration"),
    ],
)
def test_whatever_is_raised_arrives_as_itself(
    serve: Serve, kind: str, name: str, text: str
) -> None:
    """Its class, text and traceback, for exceptions that no pickle or print could handle too."""
    server = serve("first_hour_errors:raising", spec=SPEC, arguments={"kind": kind, "at": 1})
    with Client(server.endpoint) as client:
        for _ in range(2):  # the worker lives on
            got, error = failure(client)
            assert [int(n) for n in got] == [0]
            assert (error.kind, error.text) == (name, text)
            assert "raise make_error(kind)" in error.traceback
            assert "genserver/server" not in error.traceback


@pytest.mark.parametrize(
    ("kind", "begin"), [("huge", "no such voxel: xxx"), ("wide", "\U0001f9e0" * 1000)]
)
def test_a_message_of_any_size_leaves_the_frames_readable(
    serve: Serve, kind: str, begin: str
) -> None:
    """Of 10 MB the beginning is told, in text and traceback, and how much more there was."""
    server = serve("first_hour_errors:raising", spec=SPEC, arguments={"kind": kind, "at": 0})
    with Client(server.endpoint) as client:
        _, error = failure(client)
    assert error.text.startswith(begin)
    for said in (error.text, error.traceback):
        assert len(said.encode()) < 16_000
    assert error.traceback.startswith("Traceback (most recent call last):\n")
    assert "in raising\n    raise make_error(kind)\n" in error.traceback
    assert f"ValueError: {begin[:900]}" in error.traceback
    assert error.traceback.endswith(" characters more)\n")


def test_a_deep_failure_keeps_its_cause_and_its_frames(serve: Serve) -> None:
    """Twenty frames and a cause stay readable beside a message of 10 MB."""
    server = serve("first_hour_errors:deep")
    with Client(server.endpoint) as client:
        got, error = failure(client)
    assert len(got) == 1
    assert "OSError: disk gone" in error.traceback
    assert "direct cause of the following exception" in error.traceback
    assert "in deep\n    read_scan(20)\n" in error.traceback
    assert "raise make_error" in error.traceback


def test_a_bug_that_raises_stop_iteration_is_no_end(serve: Serve) -> None:
    """next() of an empty iterator inside the generator fails the pass, in tf.data too."""
    server = serve("first_hour_errors:exhausted_helper")
    with Client(server.endpoint) as client:
        got, error = failure(client)
    assert [int(n) for n in got] == [0, 1]
    assert (error.kind, error.element) == ("RuntimeError", 2)
    assert "yield next(empty)" in error.traceback
    with pytest.raises(tf.errors.UnknownError, match="generator raised StopIteration"):
        list(from_server(server.endpoint))


def test_a_decorated_generator_may_return_any_iterator(serve: Serve) -> None:
    """functools.wraps around a generator function is served, whatever iterator it makes."""
    server = serve("first_hour_errors:decorated")
    with Client(server.endpoint) as client:
        assert [[int(n) for n in client] for _ in range(2)] == [[10, 11, 12]] * 2


@pytest.mark.parametrize("lanes", [1, 2])
def test_ignored_errors_never_look_like_an_end(
    serve: Serve, lanes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """ignore_errors() gives what came before, then waits slowly and says why; leaving works."""
    caplog.set_level("INFO", "genserver")
    server = serve("first_hour_errors:failing_worker", workers=lanes)
    ends: list[int] = []

    def at_the_end() -> Iterator[int]:
        ends.append(1)
        yield -1

    after = tf.data.Dataset.from_generator(at_the_end, output_signature=tf.TensorSpec((), tf.int64))
    dataset = from_server(server.endpoint, cycle_length=lanes).ignore_errors().concatenate(after)
    iterator = iter(dataset.prefetch(1))  # its thread asks on when nobody calls next()
    assert sorted(int(next(iterator)) for _ in range(2 * lanes)) == list(range(2 * lanes))
    sentence = "it stays: the generator raised ValueError: the scan is upside down"
    assert eventually(lambda: sentence in caplog.text and "ignore_errors() hides" in caplog.text)
    assert ends == []
    began = time.monotonic()
    del iterator
    gc.collect()
    assert time.monotonic() - began < 5.0


class FakeTime:
    """A clock that goes on by waiting alone."""

    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []
        self.said: list[tuple[float, str]] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def test_a_repeated_error_comes_slowly_and_is_explained_every_five_seconds() -> None:
    """The first three are free, each later one waits its poll; a line every 5 s, none before."""
    time_ = FakeTime()
    repeats = Repeats(
        clock=lambda: time_.now, wait=time_.wait, tell=lambda t: time_.said.append((time_.now, t))
    )
    error = ValueError("upside down\nTraceback ...")
    for _ in range(FREE):
        repeats.again(error, 0.125)
    assert (time_.waits, time_.said) == ([], [])
    for _ in range(121):  # 15.125 s
        repeats.again(error, 0.125)
    assert time_.waits == [0.125] * 121
    assert [at for at, _ in time_.said] == [100.0 + n * REPORT_EVERY for n in (1, 2, 3)]
    assert "upside down (a failed iterator gives no more elements" in time_.said[0][1]
    assert "ignore_errors() hides that" in time_.said[0][1]
    assert "Traceback" not in time_.said[0][1]


def test_a_failed_lane_paces_whoever_asks_again(serve: Serve) -> None:
    """A lane's later calls wait as long as they were asked to, and raise the same error."""
    source = Source(serve("first_hour_errors:raising", spec=SPEC).endpoint, PullOptions())
    lane = Lane(source, number=0, expect=source.plan().spec)
    with pytest.raises(GeneratorError) as caught:
        lane.take(PATIENCE)
    time_ = FakeTime()
    lane._repeats = Repeats(clock=lambda: time_.now, wait=time_.wait, tell=lambda _: None)
    for _ in range(FREE + 2):
        with pytest.raises(GeneratorError) as again:
            lane.take(0.125)
        assert again.value is caught.value
    assert time_.waits == [0.125] * 2
    lane.close()


def test_the_relaxed_spec_works_as_it_is_pasted(serve: Serve) -> None:
    """--spec '...' of the error, read by a shell, starts a server that gives every element."""
    server = serve("first_hour_errors:odd_sized")
    with Client(server.endpoint) as client:
        got, error = failure(client)
    assert len(got) == 1
    assert error.kind == "ElementMismatch"
    assert error.text.startswith('element["it\'s $(rm)"]: the spec says float32[2,1], this eleme')
    assert str(error).startswith("an element of the generator cannot be sent: element[")
    assert str(error).endswith(" [worker 0, epoch 0, element 1]")
    flag, spec = shlex.split(error.text[error.text.index("--spec ") :])
    assert flag == "--spec"
    assert spec == "{'it\\'s $(rm)': float32[2,None], label: int64[]}"
    again = serve("first_hour_errors:odd_sized", spec=spec)
    with Client(again.endpoint) as client:
        shapes = [e["it's $(rm)"].shape for e in client]
    assert shapes == [(2, n + 1) for n in range(4)]
    rows = from_server(again.endpoint).map(lambda e: tf.shape(e["it's $(rm)"])[1])
    assert [int(n) for n in rows] == [1, 2, 3, 4]


@contextmanager
def listener(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A program that greets every connection with ``answer``: its endpoint, and what it heard."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve_all() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return  # closed: the test is over
                with connection:
                    connection.settimeout(PATIENCE)
                    try:
                        connection.sendall(answer)
                        heard.append(connection.recv(4096))
                    except OSError:
                        continue

        thread = threading.Thread(target=serve_all, daemon=True)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{server.getsockname()[1]}", heard
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        bytes(range(256)) * 64,
        b"\xff" * 10_000,  # begins as a greeting of ZeroMQ does
    ],
)
@pytest.mark.parametrize("connect", [Client, from_server])
def test_another_program_at_the_endpoint_is_one_sentence(connect: Any, answer: bytes) -> None:
    """A web server or garbage: Unreachable within the connect timeout, saying what it is not."""
    with listener(answer) as (endpoint, _):
        began = time.monotonic()
        with pytest.raises(Unreachable) as caught:
            connect(endpoint, connect_timeout=1.0)
        assert time.monotonic() - began < 5.0
    assert "what listens there is no genserver" in str(caught.value)
    assert endpoint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "noise",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(range(256)) * 256, b"\xff" + b"\0" * 8 + b"\x7f"],
)
def test_noise_on_its_port_does_not_disturb_a_server(serve: Serve, noise: bytes) -> None:
    """A scanner's or a browser's bytes: a running pass goes on, and new ones begin."""
    server = serve("generators:numbered", workers=2)
    address = ("127.0.0.1", int(server.endpoint.rpartition(":")[2]))
    with Client(server.endpoint) as client:
        running = iter(client)
        got = [next(running)]
        for _ in range(3):
            with socket.create_connection(address, PATIENCE) as stranger:
                stranger.settimeout(PATIENCE)
                stranger.sendall(noise)
        got += running
        assert sorted(int(n) for n, _ in got) == list(range(20))
    with Client(server.endpoint) as client:
        assert len(list(client)) == 20


def hello_to(endpoint: str, hello: Hello) -> Any:
    """What a real server answers to a HELLO."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as trainer:
        trainer.linger = 0
        trainer.connect(endpoint)
        trainer.send_multipart(encode(Numbered(0, hello)))
        assert trainer.poll(PATIENCE * 1000)
        return decode_header(trainer.recv_multipart()[0])[1]


@pytest.mark.parametrize("major", [MAJOR - 1, MAJOR + 1])
def test_another_protocol_is_refused_by_both_ends_and_not_retried(serve: Serve, major: int) -> None:
    """A server answers ERROR(version); the trainer raises Rejected with both versions, once."""
    server = serve("generators:whole")
    refusal = hello_to(server.endpoint, Hello(7, 1, major=major))
    assert refusal == Error(ErrorCode.VERSION.value, refusal_of(major))
    with zmq.Context() as context, context.socket(zmq.ROUTER) as fake:
        fake.linger = 0
        port = fake.bind_to_random_port("tcp://127.0.0.1")
        caught: list[BaseException] = []

        def connect() -> None:
            try:
                Client(f"tcp://127.0.0.1:{port}")
            except Rejected as error:
                caught.append(error)

        thread = threading.Thread(target=connect, daemon=True)
        thread.start()
        assert fake.poll(PATIENCE * 1000)
        peer, header = fake.recv_multipart()
        number, hello = decode_header(header)
        assert isinstance(hello, Hello)
        assert (number, hello.major) == (0, MAJOR)
        fake.send_multipart([peer, *encode(Numbered(0, refusal))])
        thread.join(5.0)
        (error,) = caught
        assert isinstance(error, Rejected)
        assert error.code == "version"
        assert f"protocol {MAJOR}, the trainer {major}; upgrade the " in str(error)
        assert not fake.poll(1500)  # no second HELLO


def test_unequal_workers_keep_their_order(serve: Serve) -> None:
    """deterministic=True passes over workers that ended or give nothing; nothing is lost."""
    server = serve("first_hour_errors:uneven", workers=3)
    expected = [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2), (2, 3), (2, 4), (2, 5)]
    with Client(server.endpoint, deterministic=True) as client:
        assert [(int(w), int(n)) for w, n in client] == expected
    dataset = from_server(server.endpoint, deterministic=True)
    for _ in range(2):
        assert [(int(w), int(n)) for w, n in dataset] == expected


def test_workers_without_elements_end_at_once(serve: Serve) -> None:
    """With a declared spec a pass in which no worker gives anything is an empty epoch."""
    server = serve("first_hour_errors:uneven", workers=1, spec="(int64[],int64[])")
    with Client(server.endpoint) as client:
        assert [list(client) for _ in range(2)] == [[], []]
    assert list(from_server(server.endpoint).repeat(2)) == []


def test_an_iterator_used_up_in_the_first_epoch_is_found_out(serve: Serve) -> None:
    """The second epoch of rows = iter(...) beside the function fails with a sentence."""
    server = serve("first_hour_errors:used_up", seed=3)
    sentence = (
        "the function gave 3 elements in an earlier pass and none in this one: it reads from an "
        "iterator that is used up; make a new one inside the function"
    )
    with Client(server.endpoint) as client:
        assert [int(n) for n in client] == [0, 1, 2]
        got, error = failure(client)
        assert (got, error.kind, error.text) == ([], "UsedUp", sentence)
        assert (error.epoch, error.element) == (1, 0)
    with pytest.raises(tf.errors.UnknownError, match="make a new one inside the function"):
        list(from_server(server.endpoint))


def test_a_worker_may_have_no_part_in_an_epoch(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where a worker is taken an empty epoch is allowed, and the server's log has a warning."""
    server = serve("first_hour_errors:used_up_by_worker", workers=1, seed=3)
    with Client(server.endpoint) as client:
        assert [len(list(client)) for _ in range(2)] == [3, 0]
    server.stop()
    said = capfd.readouterr().err
    assert re.search(
        r"\[worker 0\] genserver: worker 0 in epoch 1 gave 3 elements in an earlier pass", said
    )


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("called", "is a generator that exists already, and can be read only once: serve the "
                   "function that makes it, first_hour_errors:raising"),
        ("lines", "is a map that exists already, and can be read only once: serve a function"),
        ("MOST", "is an int: it must be a function with yield"),
        ("SPEC", "has no 'SPEC'; its generators are"),
    ],
)  # fmt: skip
def test_what_is_no_generator_function_is_said(
    target: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A generator that was called, another iterator, a class: each its own sentence."""
    monkeypatch.syspath_prepend(SUPPORT)
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        load_source(f"first_hour_errors:{target}", {})


SCANS = """
from helper import START

def cubes(n=3):
    for number in range(START, START + n):
        yield number
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project of a user: scans.py, and helper.py beside it."""
    made = tmp_path / "my project:1"
    made.mkdir()
    (made / "scans.py").write_text(SCANS)
    (made / "helper.py").write_text("START = 5\n")
    (made / "my-scans.py").write_text(SCANS)
    (made / "taken").mkdir()
    (made / "taken" / "json.py").write_text(SCANS)
    (made / "leaving.py").write_text("import sys\nsys.exit('no licence')\n")
    return made


@pytest.mark.parametrize("inside", [True, False])
def test_a_file_may_be_served(serve: Serve, folder: Path, inside: bool) -> None:
    """scans.py:cubes and path/to/scans.py:cubes, with the modules that lie beside the file."""
    target, cwd = ("scans.py:cubes", folder) if inside else (f"{folder}/scans.py:cubes", None)
    server = serve(target, cwd=None if cwd is None else str(cwd))
    with Client(server.endpoint) as client:
        assert [int(n) for n in client] == [5, 6, 7]


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("nothing.py:cubes", "there is no file /"),
        ("scans.py:squares", "module scans has no 'squares'; its generators are cubes"),
        ("my-scans.py:cubes", "'my-scans' is no name in Python"),
        ("taken/json.py:cubes", "Python knows another module 'json'; rename it"),
        ("leaving.py:cubes", "importing leaving raised SystemExit: no licence"),
    ],
)
def test_a_file_that_cannot_be_served_is_said(
    serve: Serve, folder: Path, file: str, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Missing, without that generator, of a name that cannot be imported: 78 and a sentence."""
    with pytest.raises(ServerFailed) as caught:
        serve(f"{folder}/{file}")
    assert caught.value.code == ExitCode.CONFIG
    assert sentence in capfd.readouterr().err
