"""The steps of the proof, in order. Each leaves nothing to the next but the images and the keys."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ground import BASE
from report import Report
from shell import Failed, call, output
from stack import FOLDER, PROJECT, Stack

__all__ = ["STEPS"]

#: Most MB (of a million bytes, as Docker counts) that a producer has over its base.
MOST_MB = 250
#: Most seconds of `docker compose stop`.
MOST_STOP = 10.0
PLAIN = "genserver-proof-plain"
#: Whose processes the images run.
USER = 10001


def one_command(report: Report) -> None:
    """One command from a clean checkout: images, keys, training"""
    began = time.monotonic()
    done = call([str(FOLDER / "up.sh")], seconds=900, env={"EPOCHS": "3", "STEPS": "16"})
    lines = done.stdout.splitlines()
    report.must(
        "docker/up.sh ends with the trainer's exit code, 0", done.returncode == 0,
        f"{done.returncode}, {time.monotonic() - began:.0f} s",
    )  # fmt: skip
    fell = [line for line in lines if "the loss fell" in line]
    report.must("the loss fell", len(fell) == 1, _last(fell).partition("| ")[2])
    codes = [s["ExitCode"] for s in _states(Stack())]
    report.must("and stops the producer, which ends with 0", codes == [0, 0], codes)
    Stack().run("down", "--volumes")


def images(report: Report) -> None:
    """What is in the images"""
    base = _size(BASE)
    stack = Stack()
    chosen = json.loads(stack.run("config", "--format", "json"))["services"]
    build = chosen["producer"]["build"]
    secrets = [
        word
        for one in build["secrets"]
        for word in ("--secret", f"id={one['source']},src={_file(stack, one['source'])}")
    ]
    output(
        ["docker", "buildx", "build", "--network", build["network"], *secrets,
         "--build-arg", f"BASE={BASE}", "--file", "docker/producer.Dockerfile",
         "--target", "producer", "--tag", PLAIN, "."],
        seconds=600, cwd=str(FOLDER.parent),
    )  # fmt: skip
    plain = _size(PLAIN) - base
    report.must(
        f"producer: less than {MOST_MB} MB over its base", plain < MOST_MB, f"{plain:.0f} MB"
    )
    for name in ("producer", "trainer"):
        image = chosen[name]["image"]
        user = output(["docker", "inspect", "--format", "{{.Config.User}}", image])
        said = f"{_size(image) - base:.0f} MB over its base, user {user}"
        report.must(f"{name} of the example: not root", user == f"{USER}:{USER}", said)
    asked = ["docker", "run", "--rm", "--network", "none", "--entrypoint", "python3", PLAIN, "-c"]
    code = "import importlib.util as u; print([n for n in ('tensorflow', 'pip') if u.find_spec(n)])"
    found = output([*asked, code])
    report.must("producer: no TensorFlow and no pip", found == "[]", found)
    code = "import os; print([p for p in ('/etc/pip.conf', '/run/secrets') if os.path.exists(p)])"
    found = output([*asked, code])
    report.must("producer: nothing of what pip was told", found == "[]", found)


def trainer_first(report: Report) -> None:
    """The trainer starts first, the producer later"""
    stack = _counting(COUNT="200")
    with stack.standing("trainer"):
        stack.says("trainer", "nobody is behind the name")
        report.must("the trainer says what it waits for", True)
        stack.up("producer")
        code = stack.exit_code()
        report.must("it finishes with exit code 0", code == 0, code)
        stack.healthy()
        report.must("the producer's health check passes", True)
        _hardened(report, stack)


def _hardened(report: Report, stack: Stack) -> None:
    first = stack.inside("producer", "cat", "/proc/1/cmdline").split("\0")
    report.must("process 1 is the supervisor itself", "serve" in first, " ".join(first[1:4]))
    status = stack.inside("producer", "cat", "/proc/1/status")
    caps = [line.split()[1] for line in status.splitlines() if line.startswith("CapBnd")]
    report.must("it has no capability", caps == ["0" * 16], *caps)
    code, said = stack.attempt("exec", "-T", "producer", "touch", "/code/new")
    report.must("its file system cannot be written to", code != 0, _last(said.splitlines()))


def three_producers(report: Report) -> None:
    """Scaled to 3 while it trains; one is killed in the middle of an epoch; stop"""
    stack = _counting(COUNT="600", PRODUCERS="3", EPOCHS="3")
    with stack.standing():
        stack.says("trainer", r'"epoch": 1,')
        began = time.monotonic()
        stack.up("--scale", "producer=3")
        stack.says("trainer", r'"epoch": \d+, .*"hosts": \["\w+", "\w+", "\w+"\]')
        report.must("the trainer uses all 3", True, f"{time.monotonic() - began:.1f} s")
        epoch = len(_lines(stack, "epoch")) + 1
        stack.says("trainer", rf'"half": {epoch},')
        victim = stack.containers("producer")[1]
        stack.kill_main_process(victim)
        code = stack.exit_code()
        report.must("one is killed: training finishes with exit code 0", code == 0, code)
        lines = _lines(stack, "epoch")
        hit = lines[epoch - 1] if len(lines) >= epoch else {}
        report.must("the epoch that was hit has each element once", hit.get("exact") is True,
                    f"{hit.get('elements')} from {len(hit.get('hosts', ()))}")  # fmt: skip
        report.must("and so have all others", all(line["exact"] for line in lines), len(lines))
        again = stack.inspect(victim)["RestartCount"]
        report.must("it was started again, by its restart policy", again == 1, again)


def stopped(report: Report) -> None:
    """`docker compose stop` in the middle of training, with 3 producers"""
    stack = _counting(COUNT="100000", PRODUCERS="3", EPOCHS="3")
    with stack.standing("--scale", "producer=3"):
        stack.says("trainer", r"\d workers? over tcp|\d workers over tcp")
        stack.healthy()
        began = time.monotonic()
        stack.run("stop")
        seconds = time.monotonic() - began
        report.must(
            f"it takes less than {MOST_STOP:.0f} s", seconds < MOST_STOP, f"{seconds:.1f} s"
        )
        codes = {s["Name"]: s["ExitCode"] for s in _states(stack)}
        trainer = [code for name, code in codes.items() if "trainer" in name]
        producers = [code for name, code in codes.items() if "producer" in name]
        report.must("no container was killed (137)", 137 not in codes.values(), [*codes.values()])
        report.must("the producers drained: exit code 0", producers == [0, 0, 0], producers)
        report.must("the trainer ended by SIGTERM: exit code 143", trainer == [143], trainer)


def memory(report: Report) -> None:
    """Through shared memory on a shared volume, and over tcp without"""
    for files, way in (((), "over tcp"), (("compose.memory.yaml",), "through shared memory")):
        stack = _counting(*files, COUNT="200")
        with stack.standing():
            said = stack.says("trainer", r"\d workers? (over|through) .*?(?=,)").group()
            code = stack.exit_code()
            name = files[0] if files else "compose.yaml"
            good = code == 0 and said.endswith(way)
            report.must(f"{name}: the elements come {way}", good, f"{said}, exit code {code}")
            shm = stack.inside("producer", "df", "-m", "--output=size", "/dev/shm").split()[-1]
            report.must("with the usual /dev/shm", shm == "64", f"{shm} MB")


def reloading(report: Report) -> None:
    """The code of a producer is edited while it trains"""
    with tempfile.TemporaryDirectory(prefix="genserver-code-") as code:
        shutil.copytree(FOLDER.parent / "examples" / "mri", code, dirs_exist_ok=True)
        os.chmod(code, 0o755)  # the user of the container reads it
        stack = Stack("compose.dev.yaml", GENSERVER_CODE=code, EPOCHS="2", STEPS="120")
        with stack.standing():
            stack.says("trainer", "epoch 2 of 2: half", 120)
            named = Path(code, "named.py")
            named.write_text(named.read_text().replace("platform.node()", "'the-new-code'"))
            began = time.monotonic()
            stack.says("producer", "the new code serves")
            report.must("the producer reloads it", True, f"{time.monotonic() - began:.1f} s")
            exit_code = stack.exit_code()
            report.must("training finishes with exit code 0", exit_code == 0, exit_code)
            log = stack.log("trainer")
            mixed = re.search("epoch 2 .* from 2 producers: .*the-new-code.*", log)
            report.must("the epoch that ran has elements of the new code, too", bool(mixed),
                        mixed.group().partition(", ")[2] if mixed else log[-500:])  # fmt: skip
            lost = re.findall("another life of the server|serves again", log)
            report.must("the trainer kept its connection to the server", not lost, *lost)
            (producer,) = stack.containers("producer")
            again = stack.inspect(producer)["RestartCount"]
            report.must("and the container was not started again", again == 0, again)


def wrong_inputs(report: Report) -> None:
    """What is wrong ends in one sentence"""
    stack = Stack(GENSERVER_KEYS="./no-such-keys")
    try:
        code, said = stack.attempt("up", "--detach", "--no-build")
        lines = [line for line in said.splitlines() if "no-such-keys" in line]
        report.must("no keys: refused, with the path", code != 0 and len(lines) == 1, _last(lines))
        secret = "GENSERVER_SECRET_KEY_FILE=/etc/passwd"
        once = ("run", "--rm", "--no-deps")
        code, said = Stack().attempt(*once, "--env", secret, "producer")
        report.must("a key that is none: exit code 78", code == 78, _sentence(said))
        code, said = Stack().attempt(*once, "producer", "named:volumes")
        report.must("a generator that is not there: exit code 78", code == 78, _sentence(said))
        if os.geteuid() == 0:  # who may give files to others
            _owners_of_secrets(report, once)
    finally:
        stack.run("down", "--volumes")


def _owners_of_secrets(report: Report, once: Sequence[str]) -> None:
    """What is taken below /run/secrets; that it was is seen from the next mistake being named."""
    with tempfile.TemporaryDirectory(prefix="genserver-secret-") as folder:
        secret = Path(folder, "secret")
        shutil.copyfile(Path(os.environ["GENSERVER_KEYS"], "server", "secret.key"), secret)
        mounted = ("--volume", f"{secret}:/run/secrets/other:ro")
        named = ("--env", "GENSERVER_SECRET_KEY_FILE=/run/secrets/other")
        for owner, mode, said in (
            (0, 0o444, "has no 'volumes'"),
            (USER, 0o400, "has no 'volumes'"),
            (USER, 0o420, "others may read"),
            (USER + 1, 0o444, "belongs to another user"),
        ):
            os.chown(secret, owner, owner)
            os.chmod(secret, mode)
            _, log = Stack().attempt(*once, *mounted, *named, "producer", "named:volumes")
            sentence = _sentence(log)
            report.must(f"a secret of user {owner}, mode {mode:o}", said in sentence, sentence)


def nothing_left(report: Report) -> None:
    """Nothing is left"""
    label = f"label=com.docker.compose.project={PROJECT}"
    listings = {
        "containers": ["ps", "--all"],
        "networks": ["network", "ls"],
        "volumes": ["volume", "ls"],
    }
    for what, command in listings.items():
        left = output(["docker", *command, "--quiet", "--filter", label]).split()
        report.must(f"no {what}", not left, len(left))


STEPS = (
    one_command,
    images,
    trainer_first,
    three_producers,
    stopped,
    memory,
    reloading,
    wrong_inputs,
    nothing_left,
)


def _counting(*files: str, **variables: str) -> Stack:
    return Stack(*files, "proof/compose.proof.yaml", **variables)


def _lines(stack: Stack, key: str) -> list[dict[str, Any]]:
    """What count.py said of its epochs, or of their halves."""
    log = [line for line in stack.log("trainer").splitlines() if line.startswith(f'{{"{key}"')]
    return [json.loads(line) for line in log]


def _states(stack: Stack) -> list[dict[str, Any]]:
    names = [c for service in ("producer", "trainer") for c in stack.containers(service)]
    return [{"Name": stack.inspect(c)["Name"], **stack.state(c)} for c in names]


def _size(image: str) -> float:
    """In MB."""
    return int(output(["docker", "inspect", "--format", "{{.Size}}", image])) / 1e6


def _file(stack: Stack, secret: str) -> str:
    chosen = json.loads(stack.run("config", "--format", "json"))
    found: str = chosen["secrets"][secret]["file"]
    return found


def _last(lines: list[str]) -> str:
    return lines[-1] if lines else ""


def _sentence(said: str) -> str:
    """What genserver said, without what Compose says around it."""
    lines = [line for line in said.splitlines() if line.startswith("genserver: ")]
    if len(lines) != 1:
        raise Failed(f"not one sentence, but {said!r}")
    return lines[0]
