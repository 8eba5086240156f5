"""`genserver peek` as a user runs it: what it prints, what it draws, what it leaves to trainers."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from genserver.client import Client
from genserver.client.peek import main
from genserver.server import Server, cli, trainer_side
from genserver.server.trainer_side import argv_of

from ..support.servers import PATIENCE, SUPPORT, Serve, eventually

COMMAND = [sys.executable, "-m", "genserver.server", "peek"]


def peek(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], capture_output=True, text=True, timeout=PATIENCE, cwd=SUPPORT,
        check=False, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.fixture
def scenes(shared: Serve) -> Server:
    return shared("generators:scenes", workers=2)


def test_it_says_what_elements_look_like(scenes: Server) -> None:
    """A line for each array, and what is wrong with one, while a trainer reads on."""
    with Client(scenes.endpoint) as client:
        elements = iter(client)
        before = [int(next(elements)["number"]) for _ in range(3)]
        done = peek(scenes.endpoint, "--elements", "5")
        after = [int(next(elements)["number"]) for _ in range(20)]
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"{scenes.endpoint}  generators:scenes"
    assert lines[1].startswith("5 elements of epoch 0, in ")
    assert [line.split()[0] for line in lines[4:7]] == ["image", "mask", "number"]
    assert lines[-1] == "! mask: all zero"
    for parity in (0, 1):  # each worker's come without a hole
        mine = [n for n in before + after if n % 2 == parity]
        assert mine == list(range(parity, parity + 2 * len(mine), 2))


def test_a_picture_is_there_as_a_whole_and_nothing_beside_it(
    scenes: Server, tmp_path: Path
) -> None:
    """Whatever MPLBACKEND says, and under any name."""
    path = tmp_path / "a $b'ü.png"
    path.write_text("old")
    done = peek(scenes.endpoint, "--save", str(path), "--json", MPLBACKEND="no-such-backend")
    assert (done.returncode, done.stderr) == (0, "")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [path]
    told = json.loads(done.stdout)
    assert (told["elements"], told["saved"]) == (8, str(path))
    assert told["arrays"][0]["shape"] == [16, 24, 1]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["--save", "x.bmp"], 64, "a picture's name ends with .png, .svg, .pdf, .jpg"),
        (["--save", "no/such/x.png"], 78, "--save no/such/x.png: No such file or directory"),
        (["--save", "/dev/null/x.png"], 78, "Not a directory"),
        (["--elements", "0"], 64, "--elements must be 1 to"),
        (["--elements", "many"], 64, "invalid int value"),
        (["--timeout", "nan"], 64, "--timeout must be more than 0"),
        (["--epoch", "-1"], 64, "--epoch must be 0 or more"),
        (["--keys", "no/such"], 78, "no/such"),
        ([], 69, "connection refused. Start one with: genserver serve"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_before_anything_is_read(
    arguments: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Nobody listens here, which would be said after it. In this process, which is cheap."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def become(module: str, options: dict[str, object]) -> NoReturn:
        monkeypatch.setattr(sys, "argv", argv_of(module, options)[-2:])
        main()

    monkeypatch.setattr(trainer_side, "become", become)
    with pytest.raises(SystemExit) as ended:
        cli.main(["peek", f"tcp://127.0.0.1:{port}", *arguments])
    printed, said = capsys.readouterr()
    assert (int(ended.value.code or 0), printed) == (code, "")
    assert sentence in said


def test_a_generator_that_fails_is_told_behind_what_it_gave(shared: Serve) -> None:
    """The table of the elements before, then its traceback, and 65."""
    server = shared("generators:failing")
    done = peek(server.endpoint)
    assert done.returncode == 65
    assert "3 elements of epoch 0" in done.stdout
    assert "(then it failed)" in done.stdout
    assert "ValueError" in done.stderr
    assert "genserver/client/" not in done.stderr


def test_time_is_bounded_and_ctrl_c_ends_it(shared: Serve) -> None:
    """What came until then is shown; without any it is a sentence and 69; Ctrl-C is 130."""
    server = shared("generators:napping", workers=1, arguments={"seconds": 0.3})
    done = peek(server.endpoint, "--elements", "1000", "--timeout", "0.9")
    assert done.returncode == 0, done.stderr
    assert "(time is up)" in done.stdout
    with subprocess.Popen(
        [*COMMAND, server.endpoint, "--elements", "1000"], cwd=SUPPORT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as waiting:  # fmt: skip
        assert eventually(lambda: "ZMQbg/IO/0" in threads_of(waiting.pid))  # it is connected
        waiting.send_signal(signal.SIGINT)
        printed, said = waiting.communicate(timeout=PATIENCE)
    assert (waiting.returncode, printed) == (130, ""), said


def threads_of(pid: int) -> list[str]:
    return [task.read_text().strip() for task in Path(f"/proc/{pid}/task").glob("*/comm")]
