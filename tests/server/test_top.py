"""`genserver top` between its connection and what it shows, without either."""

from __future__ import annotations

import importlib.util

import pytest
from genserver.protocol.endpoint import parse_endpoint
from genserver.protocol.errors import PeerLost
from genserver.protocol.exit_codes import ExitCode
from genserver.protocol.messages import Status
from genserver.protocol.telemetry import Snapshot
from genserver.server import top
from genserver.server.config import ConfigError
from genserver.server.top_page import Scene, plain

READY = Status("ready", "scans:cubes", "static", 5, -2, "", None)


class Told:
    """A connection whose server says one more thing of the script at every look."""

    def __init__(self, script: list[str]) -> None:
        self._script = script
        self.status = READY
        self.absence = ""
        self.snapshots: tuple[Snapshot, ...] = ()

    def wait(self, enough: object, seconds: float) -> None:
        if not self._script:
            raise PeerLost(endpoint="tcp://127.0.0.1:5555", peer="the server", seconds=120.0)
        word = self._script.pop(0)
        self.absence = word if word == "away" else ""
        if word == "figures":
            at = len(self.snapshots) * 1_000_000
            self.snapshots = (*self.snapshots, Snapshot(at=at, cores=1, memory=1))


def viewer(script: list[str]) -> top._Viewer:
    return top._Viewer(parse_endpoint("tcp://127.0.0.1:5555"), Told(script), READY)  # type: ignore[arg-type]  # a fake


def shown(script: list[str], interval: float = 0.0) -> list[str]:
    """What `watch` shows until the script is over."""
    lines: list[str] = []
    with pytest.raises(PeerLost):
        viewer(script).watch(lambda scene: lines.append(plain(scene)), interval)
    return lines


def test_what_is_not_new_is_not_shown_again() -> None:
    """But for a server that is away, of which the time is the news."""
    lines = shown(["figures", "", "figures", "", "", "away", "away"])
    assert lines[0] == "ready, no figures yet"
    assert "nobody reads" in lines[1]
    assert lines[2:] == ["the server is away"] * 2


def test_between_two_looks_is_the_interval() -> None:
    """However much is new."""
    assert len(shown(["figures"] * 9, interval=3600.0)) == 1


def test_once_waits_for_as_many_seconds_as_a_verdict_takes() -> None:
    """Three of them lie between four snapshots."""
    patient = viewer(["", "figures", "figures", "", "figures", "figures"])
    patient.until_judged()
    scene: Scene = patient.scene
    assert scene.history.span is not None
    assert scene.history.span.seconds == 3.0


def test_a_server_without_figures_is_of_an_older_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says so, and what to do. One that is away is waited for."""
    monkeypatch.setattr(top, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(top, "FIGURES_SECONDS", 0.0)
    assert shown(["away", "away"]) == ["the server is away"] * 2
    with pytest.raises(ConfigError, match="of an older version; start it again") as raised:
        viewer([""] * 9).until_judged()
    assert raised.value.code is ExitCode.UNAVAILABLE


@pytest.mark.parametrize("interval", [0.0, -1.0, float("nan"), float("inf")])
def test_an_interval_is_a_second_or_more(interval: float) -> None:
    """Nothing is new earlier; said before anybody is asked."""
    with pytest.raises(ConfigError, match="--interval must be") as raised:
        top.top("tcp://nobody", keys=None, insecure_network=False, interval=interval, once=False)
    assert raised.value.code is ExitCode.USAGE


def test_without_rich_one_sentence_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And lines are shown in the place of the table."""
    assert top._has_rich()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert not top._has_rich()
    assert capsys.readouterr().err.count("pip install 'genserver-data[top]'") == 1
