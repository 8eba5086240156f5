"""Notebooks, IPython and scripts: interrupts, output in the cell, edited modules, what is left."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from genserver.client import Client
from genserver.server import Server
from jupyter_client.manager import KernelManager

from ..support.servers import PATIENCE, SUPPORT, Serve, eventually, processes_of

#: Its generator is at work from element 0 until `go_on`, so that interrupts come in between. One
#: that has begun its next element before it hears that nobody wants it is done with that soon.
MAKE = """
from genserver.client import Client, from_server
from genserver.server import Server
options = {{"folder": "{folder}", "patience": 10.0}}
server = Server("generators:told", workers=1, arguments=options, spec="int64[]", quiet=True)
"""


def go_on(folder: Path) -> None:
    """Let the generator of `MAKE` make its next element."""
    go = folder / "go"
    go.touch()
    assert eventually(lambda: not go.exists())


class Kernel:
    """A Jupyter kernel and its one client."""

    def __init__(self, folder: Path) -> None:
        # By files: the ports that it would choose may be taken before the kernel binds them.
        self.manager = KernelManager(
            kernel_name="python3", transport="ipc", ip=os.path.join(folder, "kernel")
        )
        self.manager.start_kernel()
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str, *, interrupt_after: str = "") -> str:
        """What a cell prints and how it fails; the interrupt comes after a text was printed."""
        cell = self.client.execute(textwrap.dedent(code))
        printed = ""
        while True:
            message = self.client.get_iopub_msg(timeout=60)
            content = message["content"]
            if message["parent_header"].get("msg_id") != cell:
                continue
            if message["msg_type"] == "stream":
                printed += content["text"]
            elif message["msg_type"] == "error":
                printed += content["ename"]
            elif content.get("execution_state") == "idle":
                return printed
            if interrupt_after and interrupt_after in printed:
                interrupt_after = ""
                self.manager.interrupt_kernel()

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def kernel(runtime_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    """A kernel whose cells find the test generators; its servers end with it."""
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), inherited]))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    started = Kernel(runtime_folder)
    started.run("%xmode Minimal")
    yield started
    started.run("server.stop()")
    started.close()


@pytest.mark.parametrize("made", ["Client(server.endpoint)", "from_server(server.endpoint)"])
def test_a_kernel_interrupt_ends_the_wait_and_the_cell_runs_again(
    kernel: Kernel, tmp_path: Path, made: str
) -> None:
    """Interrupted while the generator is at work: before its next element, and twice; the server
    of the notebook is not hit."""
    kernel.run(MAKE.format(folder=tmp_path))
    assert "Error" not in kernel.run(f"elements = {made}")
    for _ in range(2):
        printed = kernel.run(
            """
            for element in elements:
                print("got", int(element))
            """,
            interrupt_after="got 0",
        )
        assert "got 1" not in printed
        assert printed.endswith("KeyboardInterrupt")
        go_on(tmp_path)
    kernel.run("again = next(iter(elements))")
    assert kernel.run("print(int(again))") == "0\n"
    (tmp_path / "go").touch()  # if it waits already


@pytest.mark.soak
def test_a_function_of_a_cell_is_sent_with_what_it_refers_to(kernel: Kernel) -> None:
    """Defined again, it is another one; nobody imports the notebook."""
    kernel.run("from genserver.client import from_generator")
    for scale in (2, 3):
        kernel.run(f"""
            SCALE = {scale}
            def numbers(worker):
                yield from range(worker.index * SCALE, 4 * SCALE, worker.count * SCALE)
            dataset = from_generator(numbers, workers=2, deterministic=True)
        """)
        printed = kernel.run("print([int(number) for number in dataset])")
        assert printed == f"{list(range(0, 4 * scale, scale))}\n"


def test_what_workers_print_appears_in_the_cell(kernel: Kernel) -> None:
    """Start-up lines and the workers' prints and logs come out below the cell that runs."""
    printed = kernel.run(
        """
        from genserver.client import Client
        from genserver.server import Server
        server = Server("generators:talking", workers=2, sharding="off")
        with Client(server.endpoint) as client:
            print(f"{len(list(client))} elements")
        server.stop()
        """
    )
    assert "genserver: generators:talking at tcp://127.0.0.1:" in printed
    for worker in (0, 1):
        assert f"[worker {worker}] printed 2\n" in printed
        assert f"[worker {worker}] mine says logged 2\n" in printed
    assert "6 elements" in printed  # the workers' threads may write before the line's end


@pytest.mark.soak
def test_ctrl_c_in_ipython_is_heard_in_every_cell(
    runtime_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IPython's prompt takes the wake-up descriptor between two cells; we take it back."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setenv("PROMPT_TOOLKIT_NO_CPR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("IPYTHONDIR", str(runtime_folder / "ipython"))
    command = ["-m", "IPython", "--no-banner", "--colors=NoColor", "--no-confirm-exit"]
    shell = pexpect.spawn(
        sys.executable, command, cwd=str(SUPPORT), timeout=60, encoding="utf8",
        dimensions=(50, 200),
    )  # fmt: skip
    make = MAKE.format(folder=tmp_path).strip().splitlines()
    lines = ["%xmode Minimal", *make, "ds = from_server(server.endpoint)"]
    for number, line in enumerate(lines, start=1):
        shell.expect(rf"In \[{number}\]:")
        shell.sendline(line)
    for number in range(len(lines) + 1, len(lines) + 3):
        shell.expect(rf"In \[{number}\]:")
        shell.sendline("for element in ds: print('got', int(element))\n")
        shell.expect("got 0")
        shell.sendintr()
        assert shell.expect(["KeyboardInterrupt", "got 1"]) == 0
        go_on(tmp_path)
    shell.expect(rf"In \[{number + 1}\]:")
    shell.sendline("server.stop()")
    shell.expect(rf"In \[{number + 2}\]:")
    shell.sendline("exit")
    shell.expect(pexpect.EOF)
    shell.close()


def test_edited_modules_are_read_again(tmp_path: Path, serve: Serve) -> None:
    """A new server of a module that was changed serves what it says now."""
    module = tmp_path / "edited.py"
    for value in (1, 2):
        module.write_text(f"def values():\n    yield {value} * 10\n")
        with (
            Server("edited:values", cwd=str(tmp_path), quiet=True) as server,
            Client(server.endpoint) as client,
        ):
            assert [int(e) for e in client] == [value * 10]


def test_a_script_in_another_folder_finds_its_neighbours(
    tmp_path: Path, runtime_folder: Path
) -> None:
    """`python jobs/train.py` serves jobs/scans.py, wherever it is started."""
    (tmp_path / "scans.py").write_text("def numbers():\n    yield from range(3)\n")
    script = tmp_path / "train.py"
    script.write_text(
        "from genserver.client import Client\nfrom genserver.server import Server\n"
        "with Server('scans:numbers') as server, Client(server.endpoint) as client:\n"
        "    print([int(e) for e in client])\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], cwd="/", capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[0, 1, 2]", done.stderr


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def threads() -> list[threading.Thread]:
    """Without those of TensorFlow that have called Python in an earlier test."""
    return [t for t in threading.enumerate() if not isinstance(t, threading._DummyThread)]


def names() -> set[str]:
    return {thread.name for thread in threads()}


@pytest.mark.soak
def test_twenty_datasets_leave_nothing_behind(serve: Serve, tmp_path: Path) -> None:
    """Made, read three elements of, deleted: threads, descriptors, streams and processes are back
    where they were."""
    pytest.importorskip("tensorflow")
    from genserver.client import from_server

    server = serve("tidy", workers=2, arguments={"folder": str(tmp_path)})
    workers = processes_of(server.pid)

    def once() -> None:
        iterator = iter(from_server(server.endpoint))
        for _ in range(3):
            next(iterator)

    once()
    gc.collect()  # an earlier test's iterator, kept by a cycle of references
    assert eventually(lambda: "genserver-io" not in names() and not list(tmp_path.iterdir()))
    before = descriptors(), names()
    for _ in range(20):
        once()
    gc.collect()
    assert eventually(lambda: not list(tmp_path.iterdir()))  # every generator was closed
    # Less than before is what an earlier test had left.
    assert eventually(lambda: descriptors() <= before[0] and names() <= before[1])
    assert processes_of(server.pid) == workers


@pytest.mark.soak
def test_ten_servers_leave_nothing_behind(serve: Serve, runtime_folder: Path) -> None:
    """Server, dataset, three elements, stop: descriptors, threads and files are back."""

    def once() -> None:
        with (
            Server("generators:whole", cwd=str(SUPPORT), quiet=True) as server,
            Client(server.endpoint) as client,
        ):
            iterator = iter(client)
            assert [int(next(iterator)) for _ in range(3)] == [0, 1, 2]

    once()
    # An earlier test's iterator, kept by a cycle of references, may have its thread still.
    assert eventually(lambda: gc.collect() >= 0 and "genserver-io" not in names()), threads()
    before = descriptors(), set(threads())
    for _ in range(10):
        once()
    assert eventually(lambda: (descriptors(), set(threads())) == before), threads()
    assert list(runtime_folder.iterdir()) == []


def read_all(endpoint: str, numbers: Any) -> None:
    with Client(endpoint) as client:
        numbers.put(sorted(int(n) for n, _ in client))


def test_a_process_that_forks_reads_before_after_and_in_the_child(serve: Serve) -> None:
    """The forked child has its own connections; the parent's go on."""
    server = serve("numbered", workers=2)
    expected = list(range(20))
    with Client(server.endpoint) as client:
        iterator = iter(client)
        first = int(next(iterator)[0])
        context = multiprocessing.get_context("fork")
        numbers = context.Queue()
        child = context.Process(target=read_all, args=(server.endpoint, numbers))
        child.start()
        assert numbers.get(timeout=PATIENCE) == expected
        child.join(PATIENCE)
        assert child.exitcode == 0
        assert sorted([first, *(int(n) for n, _ in iterator)]) == expected
        assert sorted(int(n) for n, _ in client) == expected


def test_a_forked_child_does_not_stop_its_parents_server(serve: Serve) -> None:
    """multiprocessing's children end without touching the server that they inherited."""
    with Server("generators:numbered", workers=1, quiet=True, cwd=str(SUPPORT)) as server:
        child = multiprocessing.get_context("fork").Process(target=sys.exit)
        child.start()
        child.join(PATIENCE)
        with Client(server.endpoint) as client:
            assert len(list(client)) == 20


FIT = """
import keras
from genserver.client import from_server
from genserver.server import Server

class Tell(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        print("batch", batch, flush=True)

server = Server("first_hour_keras:slow_pairs", workers=2, quiet=True)
dataset = from_server(server.endpoint).batch(4).prefetch(2)
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(dataset, steps_per_epoch=10**6, verbose=0, callbacks=[Tell()], shuffle=False)
"""


def test_ctrl_c_ends_a_script_that_trains(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `fit` it is a KeyboardInterrupt, and the process ends with its server, although threads of
    TensorFlow wait for the generator inside Python."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    with subprocess.Popen(
        [sys.executable, "-c", FIT], cwd=SUPPORT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    ) as script:  # fmt: skip
        assert script.stdout is not None
        assert script.stderr is not None
        assert script.stdout.readline() == "batch 0\n"
        script.send_signal(signal.SIGINT)
        _, said = script.communicate(timeout=PATIENCE)
    assert script.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in said.splitlines()
    assert "pybind11" not in said
    assert list(runtime_folder.iterdir()) == []


@pytest.mark.soak
@pytest.mark.parametrize(("target", "workers"), [("dying", 2), ("failing", 1)])
def test_an_error_ends_a_script(
    runtime_folder: Path, monkeypatch: pytest.MonkeyPatch, target: str, workers: int
) -> None:
    """A worker that is killed or raises ends the loop with its error, and then the process."""
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    program = (
        "from genserver.client import from_server\nfrom genserver.server import Server\n"
        f"server = Server('generators:{target}', workers={workers}, quiet=True, max_restarts=0)\n"
        "for element in from_server(server.endpoint).batch(2).prefetch(2): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=SUPPORT, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert {"dying": "SIGKILL", "failing": "upside down"}[target] in done.stderr
    assert list(runtime_folder.iterdir()) == []
