"""A Docker engine with Compose 2 and buildx: the one that runs here, or one started for the proof.

Owns, where it starts one: the process of dockerd, a folder for its data and one for its socket, all
of which are gone at the end. It gets no bridge and no rules of iptables of its own, so that nothing
of the host's network changes but the bridges of the networks that Compose makes and removes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from shell import Failed, call, output, wait_for

__all__ = ["Engine", "NoEngine", "install", "mirror"]

#: Seconds for a started engine to answer, and to leave.
START_SECONDS, STOP_SECONDS = 60.0, 60.0
#: What images, layers and the build cache take, in bytes.
DISK = 12 * 2**30
NETWORKS = Path("/sys/class/net")
#: Debian's release that has Compose 2 and buildx.
PLUGINS_FROM = "trixie"
PLUGINS = ("docker-compose", "docker-buildx")


class NoEngine(Exception):
    """There is no engine, and none can be started here; says why."""


class Engine:
    """Sets DOCKER_HOST and DOCKER_CONFIG for everything that is run while it is entered."""

    def __init__(self, cache: Path) -> None:
        """``cache`` is a folder for what is worth keeping until the next time."""
        self._cache = cache
        self._process: subprocess.Popen[bytes] | None = None
        #: Of the engine that was started here, if one was.
        self.folder: Path | None = None
        self._bridges: set[str] = set()
        self._environment = dict(os.environ)

    @property
    def started(self) -> bool:
        """Whether it was started by us."""
        return self._process is not None

    def __enter__(self) -> Engine:
        if not (shutil.which("docker") and _answers()):
            self._start()
        try:
            self._find_plugins()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._stop()
        os.environ.clear()
        os.environ.update(self._environment)

    def version(self) -> str:
        form = "{{.ServerVersion}}, {{.Driver}}"
        engine = output(["docker", "info", "--format", form])
        compose = output(["docker", "compose", "version", "--short"])
        return f"engine {engine}, compose {compose}"

    def leavings(self) -> list[str]:
        """After the end of an engine that was started here: what is left of it."""
        if self.folder is None:
            return []
        mine = str(self.folder)
        left = [mine] if self.folder.exists() else []
        for what in (Path("/proc/self/mounts"), *Path("/proc").glob("[0-9]*/cmdline")):
            with contextlib.suppress(OSError):  # a process that ended meanwhile
                if mine in what.read_text(errors="replace"):
                    left.append(str(what))
        bridges = {path.name for path in NETWORKS.glob("br-*")} - self._bridges
        return left + sorted(bridges)

    def _start(self) -> None:
        if os.geteuid() != 0:
            raise NoEngine("no Docker engine answers, and only root can start one")
        if not shutil.which("dockerd"):
            install("docker.io")
        if not shutil.which("docker"):
            install("docker-cli")  # where that is a package of its own
        free = shutil.disk_usage(self._cache).free
        if free < DISK:
            raise NoEngine(f"an engine needs {DISK >> 30} GiB of disk here, {free >> 30} are free")
        # Not below the cache: the name of a socket may have 107 bytes.
        self._bridges = {path.name for path in NETWORKS.glob("br-*")}
        self.folder = folder = Path(tempfile.mkdtemp(prefix="genserver-engine-", dir="/var/tmp"))
        host = f"unix://{folder}/docker.sock"
        with (folder / "log").open("wb") as log:
            # setpriv: it leaves with us, however we end.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", "dockerd", "--host", host,
                 "--data-root", str(folder / "data"),
                 "--exec-root", str(folder / "exec"),
                 "--pidfile", str(folder / "pid"),
                 "--bridge", "none", "--iptables=false", "--ip6tables=false",
                 "--ip-forward=false", "--ip-masq=false"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        os.environ["DOCKER_HOST"] = host
        try:
            wait_for("dockerd answers", START_SECONDS, lambda: _answers() or self._ended())
        except Failed as error:
            self._refuse(str(error))
        if self._ended():
            self._refuse("dockerd ended")

    def _ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _refuse(self, why: str) -> None:
        assert self.folder is not None
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        self._stop()
        raise NoEngine(f"dockerd cannot be started here ({why}): {lines[-1] if lines else ''}")

    def _stop(self) -> None:
        if self._process is None or self.folder is None:
            return
        if not self._ended():
            # What a proof that was broken off left: the bridges would stay without their engine.
            for one in call(["docker", "ps", "--all", "--quiet"]).stdout.split():
                call(["docker", "rm", "--force", one])
            call(["docker", "network", "prune", "--force"])
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _find_plugins(self) -> None:
        """Compose 2 and buildx, from a later Debian where this one has none."""
        if _has_plugins():
            return
        plugins = self._cache / "config" / "cli-plugins"
        if not plugins.exists():
            _fetch_plugins(self._cache, plugins)
        os.environ["DOCKER_CONFIG"] = str(plugins.parent)
        if not _has_plugins():
            raise Failed("docker finds no Compose 2 and buildx")


def _answers() -> bool:
    return call(["docker", "version", "--format", "{{.Server.Version}}"]).returncode == 0


def _has_plugins() -> bool:
    compose = call(["docker", "compose", "version", "--short"])
    buildx = call(["docker", "buildx", "version"])
    return compose.returncode == buildx.returncode == 0 and compose.stdout.lstrip("v")[:1] >= "2"


def mirror() -> tuple[str, str]:
    """Where this machine's packages come from, and the codename of its Debian: as apt says it,
    since sources may be written down in several ways."""
    form = "$(REPO_URI) $(CODENAME) $(COMPONENT)"
    codename = output(["sh", "-c", '. /etc/os-release; echo "$VERSION_CODENAME"'])
    for line in output(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
    ).splitlines():
        uri, *release = line.split()
        if release == [codename, "main"]:
            return uri, codename
    raise Failed(f"apt knows no source for {codename} main")


def install(*packages: str) -> None:
    """With apt, where they are missing."""
    status = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}"]
    missing = [name for name in packages if call([*status, name]).stdout != "installed"]
    if missing:
        output(["apt-get", "update", "-q"], seconds=300)
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *missing]
        output(command, seconds=600, env=quiet)


def _fetch_plugins(cache: Path, plugins: Path) -> None:
    """Out of Debian's packages, without installing them: apt with a configuration of its own, which
    takes the same mirror and the other release."""
    uri, _ = mirror()
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    with tempfile.TemporaryDirectory(dir=cache) as name:
        folder = Path(name)
        for part in ("lists/partial", "cache/archives/partial", "parts", "out"):
            (folder / part).mkdir(parents=True)
        (folder / "sources").write_text(f"deb [signed-by={keyring}] {uri} {PLUGINS_FROM} main\n")
        apt = [
            "apt-get", "-q", "-o", f"Dir::Etc::SourceList={folder}/sources",
            "-o", f"Dir::Etc::SourceParts={folder}/parts",
            "-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache",
            "-o", "APT::Sandbox::User=root",
        ]  # fmt: skip
        output([*apt, "update"], seconds=300)
        output([*apt, "download", *PLUGINS], seconds=300, cwd=name)
        for package in folder.glob("*.deb"):
            output(["dpkg-deb", "-x", str(package), str(folder / "out")])
        found = list((folder / "out").glob("usr/libexec/docker/cli-plugins/*"))
        if {path.name for path in found} < set(PLUGINS):
            raise Failed(f"the packages of {PLUGINS_FROM} hold {[p.name for p in found]}")
        plugins.mkdir(parents=True)
        for path in found:
            shutil.copy(path, plugins)
