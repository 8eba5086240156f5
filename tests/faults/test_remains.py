"""What is left behind is found, whatever it is."""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import sys
import threading

import pytest

from ..support.remains import Remains
from ..support.servers import eventually

pytestmark = pytest.mark.linux


def test_nothing_is_left_where_nothing_was_made() -> None:
    """And what was there before does not count."""
    with socket.socket():
        remains = Remains()
        assert remains.since() == {}


def test_a_process_is_found() -> None:
    """Until it has ended."""
    remains = Remains()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert remains.since()["processes"] == [child.pid]
        assert child.stdin is not None
        child.stdin.close()
    assert eventually(lambda: remains.since() == {})


def test_a_descriptor_is_found() -> None:
    """Sockets and memory by their kind."""
    remains = Remains()
    with socket.socket():
        assert remains.since() == {"descriptors": {"socket:": 1}}
    memory = os.memfd_create("left")
    assert remains.since() == {"descriptors": {"/memfd:": 1}}
    os.close(memory)


def test_mapped_memory_is_found() -> None:
    """Also when its descriptor is closed."""
    remains = Remains()
    memory = os.memfd_create("left")
    os.ftruncate(memory, 2**16)
    mapped = mmap.mmap(memory, 2**16)
    os.close(memory)
    assert remains.since()["bytes of shared memory"] == 2**16
    mapped.close()
    # mmap keeps a descriptor of its own, which it closes, too.
    assert remains.since() == {}


def test_a_thread_is_found() -> None:
    """By its name."""
    remains = Remains()
    end = threading.Event()
    thread = threading.Thread(target=end.wait, args=(20,), name="left")
    thread.start()
    assert remains.since() == {"threads": ["left"]}
    end.set()
    thread.join(20)
