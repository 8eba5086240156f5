"""Which folders --reload watches, which changes count, and how they are named."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from genserver.protocol.exit_codes import ExitCode
from genserver.server.config import ConfigError
from genserver.server.watched import (
    counts,
    described,
    folders_of,
    forget_compiled,
    outermost,
    watched_folders,
)
from genserver.server.watcher import check_installed


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of code on the search path; its modules tell if they are imported."""
    for name in ("alone.py", "whole/__init__.py", "whole/inner/deep.py"):
        file = tmp_path / "code" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("raise SystemExit('imported')")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(str(tmp_path / "code"))
    return tmp_path.resolve() / "code"


def test_the_folder_of_a_target_is_found_without_importing_it(project: Path) -> None:
    """A module's, a package's own, a file's, and none where nothing is found."""
    assert folders_of("alone:cubes") == [str(project)]
    assert folders_of("whole.inner.deep:cubes") == [str(project / "whole")]
    assert folders_of(f"{project}/whole/inner/deep.py:cubes") == [str(project / "whole" / "inner")]
    for target in ("nowhere:cubes", "sys:path", ":"):
        assert folders_of(target) == []
    assert not {"alone", "whole"} & set(sys.modules)


def test_the_current_folder_is_watched_beside_the_target_s(project: Path) -> None:
    """Once, where one is inside the other; --reload-dir takes the place of both."""
    here = str(project.parent / "elsewhere")
    assert watched_folders("alone:cubes", []) == (str(project), here)
    os.chdir(project.parent)
    assert watched_folders("whole.inner.deep:cubes", []) == (str(project.parent),)
    assert watched_folders("alone:cubes", ["elsewhere", here]) == (here,)
    with pytest.raises(ConfigError, match="--reload-dir nowhere: there is no such folder"):
        watched_folders("alone:cubes", ["nowhere"])


def test_the_whole_system_is_not_watched(project: Path) -> None:
    """Started in /, as many containers are, a server watches its module's folder alone."""
    os.chdir("/")
    assert watched_folders("alone:cubes", []) == (str(project),)
    with pytest.raises(ConfigError, match="say it with --reload-dir DIR"):
        watched_folders("nowhere:cubes", [])


def test_a_folder_inside_another_is_watched_once(tmp_path: Path) -> None:
    """Links count as what they lead to, and a name that only begins alike is another folder."""
    for name in ("a/b", "ab"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    given = [str(tmp_path / name) for name in ("a/b", "link", "ab", "a")]
    real = tmp_path.resolve()
    assert outermost(given) == (str(real / "a"), str(real / "ab"))
    assert outermost(["/", *given]) == ("/",)


@pytest.mark.parametrize(
    ("path", "counted"),
    [
        ("scans.py", True), ("inner/deep.py", True), ("notes.txt", False), ("scans.pyc", False),
        ("__pycache__/scans.py", False), (".git/hooks/x.py", False), (".#scans.py", False),
        ("env/lib/python3.11/site-packages/numpy/x.py", False), (".venv/x.py", False),
        ("scans.py~", False),
    ],
)  # fmt: skip
def test_only_the_user_s_own_python_files_count(path: str, counted: bool) -> None:
    """Wherever the watched folder itself lies: what is above it does not matter."""
    for folder in ("/code", "/home/me/.local/site-packages/code"):
        assert counts(f"{folder}/{path}", ["/other", folder]) == counted


def test_changes_are_named_from_here_in_one_line() -> None:
    """The first three, and how many more."""
    paths = [f"/code/{name}.py" for name in "abcde"]
    assert described(paths, "/code") == "a.py, b.py, c.py and 2 more"
    assert described(["/code/a.py", "/data/x.py"], "/code") == "a.py, /data/x.py"


def test_a_missing_library_is_one_sentence_that_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before anything starts, with the code of what another start would not mend."""
    check_installed()
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(ConfigError, match=r"pip install 'genserver-data\[reload\]'") as caught:
        check_installed()
    assert caught.value.code is ExitCode.CONFIG


def test_what_python_compiled_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two versions of one size and time are two versions; without it the second is not seen."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "versioned.py"
    seen = []
    for version in (1, 2, 3):
        file.write_text(f"VERSION = {version}")
        os.utime(file, (1_000_000_000, 1_000_000_000))
        if version == 3:
            forget_compiled([str(file), str(tmp_path / "missing.py")])
        monkeypatch.delitem(sys.modules, "versioned", raising=False)
        seen.append(__import__("versioned").VERSION)
    assert seen == [1, 1, 3]
    monkeypatch.delitem(sys.modules, "versioned")
