"""Trainers that are killed at random steps and started again, as real processes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..support.processes import program
from ..support.servers import Serve

pytestmark = [pytest.mark.soak, pytest.mark.linux]

KILLS = 20
#: Steps of a training run: several passes, whose workers end at different elements.
STEPS = 60
#: Seconds that one life may take, TensorFlow's import with it.
LIFE = 120.0

TRAINER = """
import hashlib, os, sys
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import tensorflow as tf
from genserver.client import Progress, State, from_server

endpoint, folder, steps = sys.argv[1], sys.argv[2], int(sys.argv[3])

class Data(tf.train.experimental.PythonState):
    def serialize(self):
        return progress.state().to_json()

    def deserialize(self, text):
        progress.restore(State.from_json(text))

progress, step, digest = Progress(), tf.Variable(0), tf.Variable("")
dataset = from_server(endpoint, deterministic=True, seed=1, resume=progress)
checkpoint = tf.train.Checkpoint(step=step, digest=digest, data=Data())
manager = tf.train.CheckpointManager(checkpoint, folder, max_to_keep=2)
checkpoint.restore(manager.latest_checkpoint)
print("from", int(step), flush=True)
for values, numbers in dataset.repeat().batch(3).prefetch(4).take(steps - int(step)):
    text = digest.numpy() + values.numpy().tobytes() + numbers.numpy().tobytes()
    digest.assign(hashlib.sha256(text).hexdigest())
    progress.advance(len(numbers))
    step.assign_add(1)
    if int(step) % 5 == 0:
        manager.save()
    print("step", int(step), digest.numpy().decode(), flush=True)
    sys.stdin.readline()
"""


class Trainer:
    """One life of a training run, step by step."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.began = int(self._read()[1])

    def _read(self) -> list[str]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "it ended"
        return line.split()

    def digests(self, until: int) -> dict[int, str]:
        """What each step up to that one makes of the bytes of all steps before it."""
        assert self._process.stdin is not None
        found: dict[int, str] = {}
        while self.began + len(found) < until:
            _, step, digest = self._read()
            found[int(step)] = digest
            if int(step) < until:
                self._process.stdin.write("\n")
                self._process.stdin.flush()
        return found


@contextmanager
def living(endpoint: str, folder: Path) -> Iterator[Trainer]:
    """One life, which ends by SIGKILL, as an out-of-memory killer does it."""
    with program(TRAINER, endpoint, folder, STEPS, seconds=LIFE) as process:
        yield Trainer(process)


def test_a_run_that_is_killed_twenty_times_has_the_data_of_one_that_was_not(
    serve: Serve, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each kill, at a random step, is followed by a life to the end: its digests, which chain the
    bytes of all elements since the first, are those of the unbroken run."""
    seed = int(os.environ.get("GENSERVER_TEST_SEED", time.time_ns()))
    chance = random.Random(seed)
    endpoint = serve("uneven", workers=3).endpoint
    with living(endpoint, tmp_path / "whole") as trainer:
        whole = trainer.digests(STEPS)
    with capsys.disabled():
        sys.stdout.write(f"\nGENSERVER_TEST_SEED={seed}\n")
    for kill in range(KILLS):
        k = chance.randrange(1, STEPS)
        with living(endpoint, tmp_path / str(kill)) as first:
            assert first.digests(k) == {step: whole[step] for step in range(1, k + 1)}
        with living(endpoint, tmp_path / str(kill)) as second:
            assert second.began == k // 5 * 5
            rest = second.digests(STEPS)
        assert rest == {step: whole[step] for step in range(second.began + 1, STEPS + 1)}
        with capsys.disabled():
            sys.stdout.write(f"killed in step {k}, went on after {second.began}: bitwise equal\n")
