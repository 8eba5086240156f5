"""The thread that watches: what it tells, and that it ends."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import watchfiles
from genserver.server.watcher import Watcher

from ..support.processes import PATIENCE


class Told:
    """What a watcher told, in order."""

    def __init__(self) -> None:
        self._said = queue.SimpleQueue[tuple[str, object]]()

    def watch(self, folder: Path) -> Watcher:
        return Watcher(
            [str(folder)],
            begun=lambda: self._said.put(("begun", None)),
            changed=lambda paths: self._said.put(("changed", paths)),
            failed=lambda text: self._said.put(("failed", text)),
        )

    def next(self) -> tuple[str, object]:
        return self._said.get(timeout=PATIENCE)

    @property
    def empty(self) -> bool:
        return self._said.empty()


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "genserver-watch"]


@pytest.mark.parametrize("polls", ["", "true"], ids=["kernel", "polling"])
def test_what_changes_after_it_has_begun_is_told_and_nothing_after_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, polls: str
) -> None:
    """Python files alone, also in folders that are new; also where the files are looked at."""
    monkeypatch.setenv("WATCHFILES_FORCE_POLLING", polls)
    told = Told()
    watcher = told.watch(tmp_path)
    try:
        assert told.next() == ("begun", None)
        (tmp_path / "notes.txt").write_text("no code")
        (tmp_path / "new").mkdir()
        (tmp_path / "scans.py").write_text("code")
        assert told.next() == ("changed", {str(tmp_path / "scans.py")})
        (tmp_path / "new" / "deep.py").write_text("code")
        assert told.next() == ("changed", {str(tmp_path / "new" / "deep.py")})
    finally:
        watcher.stop()
    (tmp_path / "scans.py").write_text("other code")
    assert not watchers()
    assert told.empty


def test_a_watch_that_fails_later_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where files go while they are polled; what fails before it watched is told."""
    turns = iter([[set(), {(1, "a.py")}], [set()], [{(1, "b.py")}], []])

    def watch(*_folders: str, **_options: object) -> Iterator[set[tuple[int, str]]]:
        yield from next(turns)
        raise RuntimeError("a file is gone")

    monkeypatch.setattr(watchfiles, "watch", watch)
    told = Told()
    watcher = told.watch(tmp_path)
    assert [told.next() for _ in range(3)] == [
        ("begun", None), ("changed", {"a.py"}), ("changed", {"b.py"})
    ]  # fmt: skip
    kind, text = told.next()
    assert (kind, "a file is gone" in str(text)) == ("failed", True)
    watcher.stop()
    assert not watchers()


def test_a_folder_that_cannot_be_watched_is_told_with_what_to_do(tmp_path: Path) -> None:
    """One sentence, and the thread ends by itself."""
    told = Told()
    watcher = told.watch(tmp_path / "missing")
    kind, text = told.next()
    assert kind == "failed"
    assert str(text).startswith(f"--reload cannot watch {tmp_path}/missing: ")
    assert "--reload-dir" in str(text)
    watcher.stop()
    assert not watchers()
    assert told.empty
