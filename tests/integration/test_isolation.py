"""Producers stay light: no TensorFlow in a live supervisor or worker, no numpy in a supervisor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ..support.servers import Serve, processes_of


def test_no_process_of_a_server_maps_tensorflow(serve: Serve) -> None:
    """/proc/PID/maps name no file of TensorFlow in any process, and of numpy in workers alone."""
    server = serve("numbered", workers=2)
    pids = [server.pid, *processes_of(server.pid)]
    assert len(pids) == 3
    for pid in pids:
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert "/zmq/" in maps
        assert ("/numpy/" in maps) is (pid != server.pid)
        assert "tensorflow" not in maps


def test_importing_server_and_client_loads_no_tensorflow() -> None:
    """sys.modules stays free of it until from_server is called."""
    code = (
        "import sys, genserver.server, genserver.server.cli, genserver.server.supervisor, "
        "genserver.server.worker_main, genserver.client; "
        "print([m for m in sys.modules if m.startswith(('tensorflow', 'keras'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
