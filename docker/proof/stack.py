"""The stack under proof: Compose with its files, and what its containers say of themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ground import BASE
from shell import Failed, call, output, wait_for

__all__ = ["PROJECT", "Stack"]

FOLDER = Path(__file__).parent.parent
PROJECT = "genserver-proof"


class Stack:
    """Commands of `docker compose` for the proof's own project. ``variables`` are the shell's."""

    def __init__(self, *overrides: str, **variables: str) -> None:
        files = ("compose.yaml", *overrides)
        self._command = ["docker", "compose", *(w for name in files for w in ("--file", name))]
        self._variables = variables

    @contextmanager
    def standing(self, *arguments: str) -> Iterator[Stack]:
        """Up with these arguments, and down at the end with its volumes and networks."""
        try:
            self.up(*arguments)
            yield self
        finally:
            self.run("down", "--volumes", "--remove-orphans", "--timeout", "2")

    def up(self, *arguments: str) -> None:
        self.run("up", "--detach", "--no-build", "--no-recreate", *arguments)

    def run(self, *arguments: str, seconds: float = 90) -> str:
        return output(
            [*self._command, *arguments], seconds=seconds, env=self._variables, cwd=str(FOLDER)
        )

    def attempt(self, *arguments: str, seconds: float = 90) -> tuple[int, str]:
        """The exit code, and what was printed."""
        done = call(
            [*self._command, *arguments], seconds=seconds, env=self._variables, cwd=str(FOLDER)
        )
        return done.returncode, done.stdout

    def containers(self, service: str) -> list[str]:
        return self.run("ps", "--all", "--quiet", service).split()

    def inspect(self, container: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(output(["docker", "inspect", container]))
        return found[0]

    def state(self, container: str) -> dict[str, Any]:
        state: dict[str, Any] = self.inspect(container)["State"]
        return state

    def inside(self, service: str, *command: str) -> str:
        """What a command prints in the first container of a service."""
        return self.run("exec", "-T", service, *command)

    def log(self, service: str) -> str:
        """Of all its containers, one after the other; Compose's own command adds escape codes."""
        return "\n".join(output(["docker", "logs", one]) for one in self.containers(service))

    def says(self, service: str, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Wait until the log has it; `Failed` at once when a container of it has ended without."""

        def look() -> re.Match[str] | None:
            over = not any(self.state(c)["Running"] for c in self.containers(service))
            log = self.log(service)
            found = re.search(pattern, log, re.MULTILINE)
            if over and found is None and service == "trainer":
                raise Failed(f"{service} has ended and did not say {pattern!r}:\n{log[-1500:]}")
            return found

        return wait_for(f"{service} says {pattern!r}", seconds, look)

    def healthy(self, seconds: float = 90) -> None:
        """Wait until every producer's health check has passed."""

        def look() -> bool:
            states = [self.state(c) for c in self.containers("producer")]
            return all(s.get("Health", {}).get("Status") == "healthy" for s in states)

        wait_for("all producers are healthy", seconds, look)

    def exit_code(self, service: str = "trainer", seconds: float = 120) -> int:
        """Of the container of a service, when it has ended."""
        (container,) = self.containers(service)
        return int(output(["docker", "wait", container], seconds=seconds))

    def kill_main_process(self, container: str) -> None:
        """As the kernel does when memory is short; after `docker kill`, which counts as a stop, it
        would not be started again. From beside the engine: nobody in the container can."""
        pid = self.state(container)["Pid"]
        there = ["docker", "run", "--rm", "--pid", "host", "--network", "none", "--cap-add", "KILL"]
        output([*there, BASE, "sh", "-c", f"kill -9 {pid}"])
