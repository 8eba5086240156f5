"""The wheel: what it holds, and what a fresh environment gets from it."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel, built from a copy: building leaves folders behind."""
    import shutil

    source = tmp_path_factory.mktemp("source")
    for name in ("server", "client", "protocol"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source / name)
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    subprocess.run(
        [*build, "-o", str(target), str(source)], check=True, capture_output=True, timeout=120
    )
    (built,) = target.glob("*.whl")
    return built


def test_the_wheel_has_the_three_packages_and_no_more(wheel: Path) -> None:
    """genserver.protocol, .server and .client with their marker files; genserver is a namespace."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"genserver", next(t for t in tops if t.endswith(".dist-info"))}
    assert "genserver/__init__.py" not in names
    for package in ("protocol", "server", "client"):
        assert f"genserver/{package}/__init__.py" in names
        assert f"genserver/{package}/py.typed" in names
    assert "genserver/protocol/transport/sockets.py" in names
    assert "genserver/protocol/child/server_process.py" in names


def test_a_base_install_needs_no_tensorflow(wheel: Path) -> None:
    """Outside the extras the wheel asks for what a producer needs, which is light."""
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (n for n in archive.namelist() if n.endswith("METADATA"))
    lines = archive.read(metadata).decode().splitlines()
    base = {
        line.split(":")[1].split(">")[0].strip()
        for line in lines
        if line.startswith("Requires-Dist:") and "extra ==" not in line
    }
    assert base == {"numpy", "pyzmq", "msgpack", "msgpack-numpy", "cloudpickle"}


def test_the_installed_command_works(wheel: Path, tmp_path: Path) -> None:
    """A fresh environment with the wheel has the command and the packages, outside the tree."""
    home = tmp_path / "env"
    # The dependencies come from this environment: no index is asked.
    venv.create(home, with_pip=False, symlinks=True)
    site = next((home / "lib").glob("python*")) / "site-packages"
    here = Path(next(p for p in sys.path if p.endswith("site-packages")))
    for package in ("numpy", "zmq", "msgpack", "msgpack_numpy.py", "numpy.libs", "pyzmq.libs"):
        if (here / package).exists():
            (site / package).symlink_to(here / package)
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install",
         "--no-deps", "--no-index", str(wheel)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    version = subprocess.run(
        [home / "bin" / "genserver", "--version"],
        capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert version.stdout.startswith("genserver 0.")
    code = "import genserver.server, genserver.client as c; print(c.__file__)"
    done = subprocess.run(
        [home / "bin" / "python", "-c", code],
        capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert str(home) in done.stdout
