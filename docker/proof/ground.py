"""What the images are built on where no image registry can be reached: a base image made of this
machine's own packages, and what pip is told here, as secrets for the build.

Nothing of it is written into the repository or stays in an image.
"""

from __future__ import annotations

import configparser
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from engine import install, mirror
from shell import call, output

__all__ = ["BASE", "make_base", "pip_files"]

BASE = "genserver-proof-base"
PACKAGES = "python3,python3-venv,ca-certificates"
#: What pip may be told that holds in a container, too; files of this machine are not there.
PIP_KEYS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "retries")
#: Where pip looks for its settings, the last one counts.
PIP_FILES = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")


def make_base(cache: Path) -> str:
    """The base image: there already, out of the ``cache``, or made. Says which."""
    if call(["docker", "image", "inspect", BASE]).returncode == 0:
        return "there already"
    packed = cache / "base.tar"
    said = "out of build/"
    if not packed.exists():
        said = "made by debootstrap"
        _bootstrap(packed)
    output(["docker", "import", str(packed), BASE], seconds=300)
    return said


def _bootstrap(packed: Path) -> None:
    install("debootstrap")
    uri, codename = mirror()
    folder = Path(tempfile.mkdtemp(prefix="genserver-base-", dir="/var/tmp"))
    try:
        root = folder / "root"
        chosen = ["--variant=minbase", f"--include={PACKAGES}"]
        output(["debootstrap", *chosen, codename, str(root), uri], seconds=600)
        for waste in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(root / waste)
            (root / waste).mkdir()
        (root / "etc/apt/sources.list").unlink()
        made = folder / "base.tar"
        output(["tar", "-C", str(root), "-cf", str(made), "."], seconds=300)
        shutil.move(made, packed)
    finally:
        shutil.rmtree(folder)


@contextmanager
def pip_files() -> Iterator[dict[str, str]]:
    """The variables of compose.yaml for the build, and while it is entered the files they name."""
    settings = _pip_settings(os.environ)
    bundle = settings.pop("cert", "")
    with tempfile.TemporaryDirectory(prefix="genserver-pip-") as name:
        variables = {}
        parser = configparser.RawConfigParser()
        parser["global"] = settings
        if bundle and Path(bundle).is_file():
            shutil.copyfile(bundle, f"{name}/ca")
            variables["GENSERVER_PIP_CA"] = f"{name}/ca"
            parser["global"]["cert"] = "/run/secrets/pip_ca"
        with open(f"{name}/pip.conf", "w") as file:
            parser.write(file)
        os.chmod(f"{name}/pip.conf", 0o600)  # an index may be named with a password
        yield {"GENSERVER_PIP_CONF": f"{name}/pip.conf", **variables}


def _pip_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What pip is told on this machine, as far as it means something in a container."""
    told: dict[str, str] = {}
    named = environment.get("PIP_CONFIG_FILE")
    for file in (*PIP_FILES, *([named] if named else [])):
        parser = configparser.RawConfigParser()
        parser.read(os.path.expanduser(file))
        if parser.has_section("global"):
            told.update(parser["global"])
    told["cert"] = told.get("cert") or environment.get("REQUESTS_CA_BUNDLE", "")
    for key in (*PIP_KEYS, "cert"):
        said = environment.get("PIP_" + key.upper().replace("-", "_"))
        told |= {key: said} if said is not None else {}
    kept = {key: _reachable(told[key]) for key in (*PIP_KEYS, "cert") if key in told}
    return {key: value for key, value in kept.items() if value}


def _reachable(value: str) -> str:
    """Without the indexes that are folders here."""
    return " ".join(word for word in value.split() if not word.startswith("file:"))
