"""`genserver bench` as a user runs it: real processes, and what is left of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.servers import PATIENCE, SUPPORT, alive, eventually, processes_of

#: Where TensorFlow is not installed; with it, it takes another 10 s.
WITHOUT = """
import sys
sys.modules["tensorflow"] = None
from genserver.server.cli import main
main(["bench", *sys.argv[1:]])
"""


def command(*arguments: str, tensorflow: bool = False) -> list[str]:
    if tensorflow:
        return [sys.executable, "-m", "genserver.server", "bench", *arguments]
    return [sys.executable, "-c", WITHOUT, *arguments]


def run(*arguments: str, tensorflow: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, tensorflow=tensorflow),
        cwd=SUPPORT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_a_slow_generator_is_worth_it(runtime_folder: Path) -> None:
    """The rates are those of its naps, alone and with two workers that divide the items, in the
    given spec; JSON is all that is printed."""
    done = run(
        "generators:resting", "--arg", "seconds=0.05", "--items", "left", "right", "--spec",
        "int64[None]", "--workers", "2", "--seconds", "3", "--step", "0.03", "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    one, two = told["reads"]
    assert (one["into"], one["workers"], two["workers"]) == ("numpy", 1, 2)
    assert 10 < told["alone"]["rate"] <= 20
    assert 10 < one["rate"] < 1.3 * 20
    assert 1.3 < two["rate"] / one["rate"] < 2.6
    assert (told["alone"]["spec"], told["alone"]["divisible"]) == ("int64[None]", True)
    assert told["alone"]["cpu"] < 0.5
    assert (told["worth"], told["workers"], told["workers_for_step"]) == (True, 2, 2)
    assert list(runtime_folder.iterdir()) == []


def test_whole_copies_are_read_pass_after_pass(runtime_folder: Path) -> None:
    """As a table and in words, although a process that it forked holds all that was open."""
    done = run("generators:forking", "--sharding", "off", "--workers", "2", "--seconds", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "served, into numpy         1" in done.stdout
    assert "served, into numpy         2" in done.stdout
    assert "A pass is short, 10 elements" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["generators:nothing_like_it"], 78, "has no 'nothing_like_it'"),
        (["generators:whole", "--arg", "what=1"], 78, "what"),
        (["generators:failing"], 65, "generators:failing failed: "),
        (["generators:whole", "--seconds", "0"], 64, "--seconds"),
    ],
)
def test_what_is_wrong_is_one_sentence(arguments: list[str], code: int, says: str) -> None:
    """With the exit code of `serve`, and nothing on standard output."""
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("genserver: ")
    assert says in done.stderr


def test_ctrl_c_leaves_nothing(runtime_folder: Path) -> None:
    """While a server and a trainer run: 130, and none of the processes is left."""
    bench = subprocess.Popen(
        command("generators:napping", "--workers", "2", "--seconds", "10"),
        cwd=SUPPORT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    found: list[int] = []

    def serving() -> bool:
        found[:] = processes_of(bench.pid)
        return any(runtime_folder.iterdir())

    assert eventually(serving)
    found += processes_of(bench.pid)
    bench.send_signal(signal.SIGINT)
    assert bench.wait(PATIENCE) == 130
    assert eventually(lambda: not any(map(alive, found)))
    assert list(runtime_folder.iterdir()) == []


def test_sigterm_leaves_nothing() -> None:
    """Neither of a process that the generator started, whose Python may be another: it is given
    the search path of bench's environment, and no more."""
    bench = subprocess.Popen(
        command("generators:parental", "--seconds", "10"),
        cwd=SUPPORT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    found: list[int] = []

    def making() -> bool:
        found[:] = processes_of(bench.pid)
        found.extend(child for pid in list(found) for child in processes_of(pid))
        return len(found) == 2

    assert eventually(making)
    given = Path(f"/proc/{found[0]}/environ").read_bytes().split(b"\0")
    paths = [entry for entry in given if entry.startswith(b"PYTHONPATH=")]
    ours = os.environ.get("PYTHONPATH")
    assert paths == ([] if ours is None else [b"PYTHONPATH=" + os.fsencode(ours)])
    bench.send_signal(signal.SIGTERM)
    assert bench.wait(PATIENCE) == 130
    assert eventually(lambda: not any(map(alive, found)))


@pytest.mark.soak
def test_into_tf_data(runtime_folder: Path) -> None:
    """Served, and plain from_generator beside it, in batches."""
    done = run(
        "generators:napping", "--arg", "seconds=0.02", "--workers", "2", "--seconds", "5",
        "--batch", "4", "--json", tensorflow=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert [read["into"] for read in told["reads"]] == ["numpy", "numpy", "tf", "plain"]
    assert told["reads"][2]["rate"] > 1.2 * told["reads"][3]["rate"]
    assert list(runtime_folder.iterdir()) == []
