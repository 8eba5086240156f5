"""--http of real servers: what they tell of themselves, to us and to a real Prometheus."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import urlopen

import pytest
from genserver.server import Server, ServerFailed
from prometheus_client.parser import text_string_to_metric_families

from ..support.ports import free_from
from ..support.servers import PATIENCE, Serve, being_read, eventually, processes_of

PROMETHEUS = shutil.which("prometheus") or ""

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guides" / "metrics.md"

CONFIGURATION = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
- job_name: genserver
  static_configs: [{{targets: ["{target}"]}}]
"""


def queries() -> list[str]:
    """Those of the guide."""
    cells = re.findall(r"^\| [^`|]+ \| (`.*`) \|$", GUIDE.read_text(), re.MULTILINE)
    found = [query for cell in cells for query in re.findall(r"`(.*?)`", cell)]
    assert len(found) > 9
    return found


def url_from(capture: pytest.CaptureFixture[str]) -> str:
    """Where the server's own lines say that its figures are."""
    said = ""

    def found() -> re.Match[str] | None:
        return re.search(r"^  metrics at (http://127\.0\.0\.1:\d+)/metrics$", said, re.MULTILINE)

    def reads() -> bool:  # what a server prints is shown a moment later
        nonlocal said
        said += capture.readouterr().out
        return found() is not None

    assert eventually(reads), said
    match = found()
    assert match is not None
    return match[1]


def told(url: str) -> dict[tuple[str, str], float]:
    """By name and worker."""
    with urlopen(f"{url}/metrics", timeout=PATIENCE) as answer:
        text = answer.read().decode()
    return {
        (sample.name, sample.labels.get("worker", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Prometheus:
    """Debian's, scraping one target every second, in a folder of its own."""

    def __init__(self, target: str, folder: Path) -> None:
        configuration = folder / "prometheus.yml"
        configuration.write_text(CONFIGURATION.format(target=target))
        self._log = (folder / "log").open("w")
        self._port = free_from([0])
        self._process = subprocess.Popen(
            [PROMETHEUS, f"--config.file={configuration}", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{self._port}", "--log.level=warn"],
            cwd=folder, stdout=self._log, stderr=self._log,
        )  # fmt: skip

    def value(self, query: str) -> float | None:
        """Of a query with one result; None as long as it has none."""
        url = f"http://127.0.0.1:{self._port}/api/v1/query?query={quote(query)}"
        try:
            with urlopen(url, timeout=PATIENCE) as answer:
                result = json.load(answer)["data"]["result"]
        except (URLError, ConnectionError):  # it is starting
            return None
        return float(result[0]["value"][1]) if result else None

    def accepts(self, query: str) -> bool:
        """Whether it is a query at all."""
        url = f"http://127.0.0.1:{self._port}/api/v1/query?query={quote(query)}"
        try:
            with urlopen(url, timeout=PATIENCE) as answer:
                return bool(json.load(answer)["status"] == "success")
        except HTTPError:
            return False

    def comes_to(self, query: str, least: float, most: float) -> bool:
        """Whether its value is between these soon."""

        def within() -> bool:
            value = self.value(query)
            return value is not None and least <= value <= most

        return eventually(within)

    def complaints(self) -> str:
        """What it found wrong with what it read."""
        return Path(self._log.name).read_text()

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE)
        self._log.close()


@pytest.mark.skipif(not PROMETHEUS, reason="no prometheus here: apt-get install prometheus")
def test_a_real_prometheus_scrapes_a_server(
    serve: Serve, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Up, with rates and the verdict while a client reads, and the guide's queries are some; a
    server that it scrapes stops in time, and is down then."""
    server = serve("napping", workers=2, arguments={"seconds": 0.02}, http="127.0.0.1:0")
    url = url_from(capfd)
    prometheus = Prometheus(url.removeprefix("http://"), tmp_path)
    try:
        with being_read(server.endpoint):
            for query, least, most in [
                ("up", 1, 1),
                ('genserver_state{state="ready"}', 1, 1),
                ("sum(rate(genserver_worker_elements_total[5s]))", 20, 120),
                ("sum(rate(genserver_trainer_elements_total[5s]))", 20, 120),
                ("avg(rate(genserver_worker_making_seconds_total[5s]))", 0.5, 1.1),
                ('avg(genserver_worker_element_seconds{quantile="0.5"})', 0.018, 0.2),
                ('genserver_verdict{bottleneck="producer-bound"}', 1, 1),
                ('genserver_info{generator="generators:napping"}', 1, 1),
            ]:
                assert prometheus.comes_to(query, least, most), (query, prometheus.value(query))
            for query in queries():
                assert prometheus.accepts(query), query
            assert not prometheus.accepts("genserver_workers >")
        begun = time.monotonic()
        assert server.stop() in (0, 130)
        assert time.monotonic() - begun < 5.0
        assert prometheus.comes_to("up", 0, 0)
        assert prometheus.complaints() == ""
    finally:
        prometheus.close()


def test_counters_go_on_over_a_workers_death(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    """A worker that is killed under a reader: no counter falls, and the restart is told."""
    server = serve("napping", workers=2, arguments={"seconds": 0.02}, http="127.0.0.1:0")
    url = url_from(capfd)
    names = [("genserver_worker_elements_total", "0"), ("genserver_worker_cpu_seconds_total", "0"),
             ("genserver_worker_making_seconds_total", "0")]  # fmt: skip
    with being_read(server.endpoint):
        assert eventually(lambda: all(told(url)[name] > 0 for name in names))
        seen = [told(url)]
        for pid in processes_of(server.pid):
            os.kill(pid, signal.SIGKILL)

        def restarted() -> bool:
            seen.append(told(url))
            restarts = seen[-1]["genserver_worker_restarts_total", "0"]
            made = seen[-1]["genserver_worker_elements_total", "0"]
            return restarts == 1 and made > seen[0]["genserver_worker_elements_total", "0"] + 20

        assert eventually(restarted)
    for name in names:
        values = [moment[name] for moment in seen]
        assert values == sorted(values)
    assert ("genserver_worker_last_error_info", "0") in seen[-1]


def test_a_server_says_that_it_lives_and_leaves_its_port(
    serve: Serve, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ready and alive as soon as it says so; another server is refused the port until it is gone,
    which a connection that stays does not hold up."""
    server = serve("whole", http="127.0.0.1:0")
    url = url_from(capfd)
    place = url.removeprefix("http://")
    for path, text in (("/healthz", b"ok\n"), ("/readyz", b"ready\n")):
        with urlopen(url + path, timeout=PATIENCE) as answer:
            assert answer.read() == text
    with pytest.raises(ServerFailed, match="in use by another program"):
        serve("whole", http=place)
    held = HTTPConnection(place, timeout=PATIENCE)
    held.connect()
    begun = time.monotonic()
    assert server.stop() in (0, 130)
    assert time.monotonic() - begun < 5.0
    held.close()
    serve("whole", http=place)
    with urlopen(f"{url}/readyz", timeout=PATIENCE) as answer:
        assert answer.status == 200


def test_a_server_without_processes_has_no_figures(runtime_folder: Path) -> None:
    """workers=0 refuses http=, as it refuses other options of processes."""
    with pytest.raises(ServerFailed, match="--workers 0 has none"):
        Server("generators:whole", workers=0, http="127.0.0.1:0")
