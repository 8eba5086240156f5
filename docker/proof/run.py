"""The proof that the stack works, on a real engine: `make docker-test`.

Uses the engine that runs here, or starts one for itself; makes a base image, since no registry may
be reachable; builds the images, and takes the stack through what docker/README.md promises. Needs
Python's standard library alone, and for its own engine root on a Debian. The exit code is 0 if
everything is as it must be, or if there can be no engine here, which is then said.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from engine import Engine, NoEngine
from ground import BASE, make_base, pip_files
from report import Report, Step
from shell import Failed, output
from stack import PROJECT
from steps import STEPS

CACHE = Path(__file__).parent.parent.parent / "build" / "docker"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = {step.__name__: step for step in STEPS}
    parser.add_argument("steps", nargs="*", help=f"only these: {', '.join(names)}")
    chosen = parser.parse_args().steps
    if unknown := set(chosen) - set(names):
        parser.error(f"no such step: {', '.join(unknown)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    CACHE.mkdir(parents=True, exist_ok=True)
    began, report = time.monotonic(), Report()
    engine = Engine(CACHE)
    try:
        with engine:
            prove(engine, report, [names[n] for n in chosen] or STEPS)
    except NoEngine as error:
        print(f"docker-test: skipped: {error}")
        return 0
    except Failed as error:
        print(f"docker-test: {error}")
        return 1
    if engine.folder is not None:
        left = engine.leavings()
        report.must("the engine that was started here is gone", not left, " ".join(left))
    print(f"docker-test: {report.passed} yes, {report.failed} NO, {time.monotonic() - began:.0f} s")
    return 1 if report.failed else 0


def prove(engine: Engine, report: Report, steps: Sequence[Step]) -> None:
    print(f"{engine.version()}{', started for this' if engine.started else ''}", flush=True)
    began = time.monotonic()
    said = make_base(CACHE)
    print(f"base image: {said}, {time.monotonic() - began:.0f} s", flush=True)
    keys = tempfile.mkdtemp(prefix="genserver-keys-")
    try:
        with pip_files() as variables:
            os.environ.update(variables)
            os.environ.update(
                COMPOSE_PROJECT_NAME=PROJECT,
                GENSERVER_BASE=BASE,
                GENSERVER_BUILD_NETWORK="host",
                GENSERVER_KEYS=keys,
                GENSERVER_PRODUCER_IMAGE=f"{PROJECT}-producer",
                GENSERVER_TRAINER_IMAGE=f"{PROJECT}-trainer",
            )
            report.run(steps)
    finally:
        shutil.rmtree(keys)
        if not engine.started:
            remove_images()


def remove_images() -> None:
    """Of an engine that stays; its base image stays, too, for the next time."""
    form = "{{.Repository}}:{{.Tag}}"
    listed = output(["docker", "images", "--format", form, f"{PROJECT}-*"]).splitlines()
    ours = [name for name in listed if not name.startswith(f"{BASE}:")]
    if ours:
        output(["docker", "rmi", *ours])


if __name__ == "__main__":
    sys.exit(main())
