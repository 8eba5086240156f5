"""Train a small 3D segmentation network from genserver, beside plain `from_generator`.

Run it with `make demo`, or `python train.py` in this folder. Everything is real: the scan, the
augmentation, the training. TensorFlow and BLAS get one thread each, for both ways, so that the
seconds of G and C are core seconds and two cores give the bound on the gain.
"""

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import keras
import numpy as np
import tensorflow as tf
from cores import Others, keep_to_two_cores
from cubes import Label, Volume, cubes, load_half, tissue
from genserver.client import from_server
from genserver.server import Server, Worker
from model import ClockedModel, small_unet
from picture import Slices, save_picture
from report import Dice, Report, Way

WORKERS, BATCH, SEED = 2, 4, 7
ROUNDS, EPOCHS_A_ROUND = 4, 2  # a round has a segment of each kind: noise hits them alike
WARM_UP = 8  # steps at the start of a segment that are not counted
SHORT = 32  # steps of a segment that only measures
SLICE = 40  # of the held-out half, from its back end


@dataclass
class Clock:
    """The segments of one kind of training; the median of them is what counts."""

    first_s: list[float] = field(default_factory=list)
    step_s: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)

    def fit(
        self,
        model: ClockedModel,
        dataset: tf.data.Dataset,
        steps: int,
        began: float,
        **fit: int,
    ) -> list[float]:
        """Train on the dataset and return the mean loss of each epoch."""
        model.clear_clock()
        history = model.fit(dataset, steps_per_epoch=steps, shuffle=False, **fit)
        total_s = model.ends[-1] - model.ends[WARM_UP - 1]
        self.first_s.append(model.first_batch_at - began)
        self.step_s.append(total_s / len(model.ends[WARM_UP:]))
        self.waited.append(sum(model.waits[WARM_UP:]) / total_s)
        gc.collect()  # the dataset's iterator: nothing of it may run beside the next segment
        return [float(loss) for loss in history.history["loss"]]

    def way(self) -> Way:
        return Way(median(self.first_s), median(self.step_s), median(self.waited))


@dataclass
class Measured:
    """What the rounds measure."""

    element_s: list[float] = field(default_factory=list)
    step: Clock = field(default_factory=Clock)
    plain: Clock = field(default_factory=Clock)
    served: Clock = field(default_factory=Clock)
    losses: list[float] = field(default_factory=list)


def same_cubes(epoch: int) -> Iterator[tuple[Volume, Label]]:
    """In this process, the cubes that the workers generate, one from each in turn."""
    workers = (Worker(index=i, count=WORKERS, epoch=epoch, seed=SEED) for i in range(WORKERS))
    return map(next, cycle([cubes(worker) for worker in workers]))


def fixed_dataset() -> tf.data.Dataset:
    """One batch again and again, for the bare cost of a step."""
    batch = [np.stack(part) for part in zip(*islice(same_cubes(0), BATCH), strict=True)]
    return tf.data.Dataset.from_tensors(tuple(batch)).repeat()


def fed(elements: tf.data.Dataset) -> tf.data.Dataset:
    """The rest of the pipeline, the same for both ways.

    tf.data gets threads of its own: TensorFlow's only thread is busy with the training step,
    and without them the plain way could not generate meanwhile.
    """
    options = tf.data.Options()
    options.threading.private_threadpool_size = 2
    return elements.batch(BATCH).prefetch(tf.data.AUTOTUNE).with_options(options)


def plain_dataset(epoch: int, spec: tuple[tf.TensorSpec, ...]) -> tf.data.Dataset:
    """The usual way."""
    return fed(tf.data.Dataset.from_generator(lambda: same_cubes(epoch), output_signature=spec))


@contextmanager
def served_dataset(epoch: int) -> Iterator[tf.data.Dataset]:
    """The same from genserver, whose processes end with the context."""
    here = str(Path(__file__).parent)
    with Server("cubes:cubes", workers=WORKERS, cwd=here) as server:
        yield fed(from_server(server.endpoint, seed=SEED, epoch=epoch))


def seconds_an_element(epoch: int, count: int) -> float:
    """What the generator needs alone, with nothing beside it."""
    generator = same_cubes(epoch)
    for _ in range(WORKERS):
        next(generator)
    began = time.perf_counter()
    for _ in range(count):
        next(generator)
    return (time.perf_counter() - began) / count


def measure_alone(
    epoch: int, fixed: tf.data.Dataset, model: ClockedModel, measured: Measured
) -> None:
    """G and C: the generator and the trainer, each with the machine to itself."""
    measured.element_s.append(seconds_an_element(epoch, count=SHORT * BATCH // 2))
    measured.step.fit(model, fixed, SHORT, time.perf_counter(), verbose=0)


def measure_round(
    epoch: int,
    steps: int,
    fixed: tf.data.Dataset,
    models: tuple[ClockedModel, ClockedModel],
    measured: Measured,
) -> None:
    """G, C, the plain way and the served way, one after the other; only the last one trains."""
    trained, throwaway = models
    spec = tuple(tf.TensorSpec(part.shape[1:], part.dtype) for part in fixed.element_spec)
    say(f"Round {epoch + 1} of {ROUNDS}: generator alone, trainer alone, plain from_generator")
    measure_alone(epoch, fixed, throwaway, measured)
    began = time.perf_counter()
    measured.plain.fit(throwaway, plain_dataset(epoch, spec), SHORT, began, verbose=0)
    say(f"Round {epoch + 1} of {ROUNDS}: training from genserver")
    began, first = time.perf_counter(), epoch * EPOCHS_A_ROUND
    until = {"initial_epoch": first, "epochs": first + EPOCHS_A_ROUND}
    with served_dataset(epoch) as dataset:
        per_epoch = steps // EPOCHS_A_ROUND
        measured.losses += measured.served.fit(trained, dataset, per_epoch, began, **until)


def say(line: str) -> None:
    print(f"\n{line}", flush=True)


def traced_model(steps: int, fixed: tf.data.Dataset) -> ClockedModel:
    """A new network, traced on one batch, with its weights put back."""
    keras.utils.set_random_seed(SEED)
    model = small_unet(steps)
    weights = model.get_weights()
    model.fit(fixed, steps_per_epoch=2, shuffle=False, verbose=0)
    model.set_weights(weights)
    return model


def predict(model: ClockedModel, scan: Volume) -> Label:
    """The label of every voxel of a volume, at once: the network has no fixed size."""
    margins = [(0, -side % 4) for side in scan.shape]
    scores = model(np.pad(scan, margins)[None, ..., None], training=False)[0]
    labels: Label = tf.argmax(scores, axis=-1).numpy().astype(np.uint8)
    return labels[tuple(slice(side) for side in scan.shape)]


def dice(truth: Label, prediction: Label) -> Dice:
    """Twice the overlap over the sum, for each tissue."""

    def overlap(label: int) -> float:
        a, b = np.equal(truth, label), np.equal(prediction, label)
        return float(2 * (a & b).sum() / (a.sum() + b.sum()))

    return Dice(grey=overlap(1), white=overlap(2))


def run(steps: int, picture: Path) -> Report:
    """The whole demo."""
    began, others = time.perf_counter(), Others()
    scan, grey, white = load_half("front")
    truth, measured, fixed = tissue(grey, white), Measured(), fixed_dataset()
    models = traced_model(steps, fixed), traced_model(steps, fixed)
    untrained = dice(truth, predict(models[0], scan))
    for epoch in range(ROUNDS):
        measure_round(epoch, steps // ROUNDS, fixed, models, measured)
    measure_alone(ROUNDS, fixed, models[1], measured)
    prediction = predict(models[0], scan)
    trained = dice(truth, prediction)
    shown = Slices(scan[:, SLICE], truth[:, SLICE], prediction[:, SLICE])
    save_picture(picture, shown, f"Dice {trained.mean:.2f}")
    return Report(
        batch=BATCH,
        steps=steps,
        losses=measured.losses,
        trained=trained,
        untrained=untrained,
        background=dice(truth, np.zeros_like(truth)),
        element_s=median(measured.element_s),
        step_s=median(measured.step.step_s),
        plain=measured.plain.way(),
        served=measured.served.way(),
        others=others.cores(),
        total_s=time.perf_counter() - began,
        picture=str(picture),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=384, help="served training steps")
    parser.add_argument("--out", type=Path, default=Path("demo-out/mri.png"), help="the picture")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    options = parser.parse_args()
    if options.steps < 4 * ROUNDS * WARM_UP:
        parser.error(f"--steps must be at least {4 * ROUNDS * WARM_UP}: most of them are counted")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keep_to_two_cores()
    report = run(options.steps, options.out)
    print(report)
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=2) + "\n")
    return 0 if report.good else 1


if __name__ == "__main__":
    sys.exit(main())
