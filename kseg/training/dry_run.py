"""kseg.train --dry-run: describes a training and times one step, without writing anything."""

import math
import resource
import sys
import time

import keras
from rich.console import Console
from rich.table import Table

from kseg.config import Config
from kseg.data import pipeline, training_batches
from kseg.manifest import Manifest
from kseg.training import build_training, distributed, out_of_memory, summary


def dry_run(config: Config, manifest: Manifest, devices: int = 1) -> None:
    """Prints the Config, the data, the model's size, a memory estimate and the time of a step."""
    print(config.to_json(), end="")
    _print_data(config, manifest)
    steps = pipeline.steps_per_epoch(config, manifest)
    with distributed.scope(devices, config):
        with out_of_memory.reported(config, devices=devices):
            model = build_training.build_compiled_model(config, manifest, steps)
            build_training.initialize(model, config, manifest)
        with out_of_memory.reported(config, model, devices=devices):
            _print_model(model, config, manifest, steps)


def _print_model(model, config, manifest, steps):
    print(summary.describe_run(config, manifest, build_training.cost(model), steps))
    model.optimizer.build(model.trainable_variables)
    state, activations = out_of_memory.estimate(model, config.batch_size)
    print(
        f"estimated memory: {state / 1e6:.0f} MB for weights, gradients and optimizer, "
        f"{activations / 1e6:.0f} MB for activations stored for the backward pass; convolutions "
        "need buffers in addition"
    )
    first, second = _timed_steps(model, config)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    total = steps * config.epochs
    print(
        f"one step of {config.batch_size} frames: {second:.3f} s (the first, which compiles: "
        f"{first:.1f} s), so {second * total / 3600:.2f} h for {total} steps, without reading and "
        f"validation; peak memory of this process: {peak / 1e6:.0f} MB"
    )
    print("dry run: nothing was written")


def _timed_steps(model, config):
    """Returns the seconds of the first and of the second training step, on real frames."""
    timer = _Timer()
    # With fit: train_on_batch would give the complete batch to each of several devices.
    frames = training_batches.training_dataset(config).take(2)
    model.fit(frames, steps_per_epoch=2, shuffle=False, verbose=0, callbacks=[timer])
    if not math.isfinite(timer.loss):
        print("warning: the loss of the second step is not finite", file=sys.stderr)
    return timer.seconds


class _Timer(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_train_batch_begin(self, batch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.loss = float(logs["loss"])  # Waits for the step to end.
        self.seconds.append(time.perf_counter() - self.start)


def _print_data(config, manifest):
    weights = build_training.class_weights(config, manifest)
    table = Table(title=f"{config.data}: {manifest.dataset}")
    table.add_column("")
    for name, split in manifest.splits.items():
        table.add_column(f"{name}: {split.examples}", justify="right")
    if weights:
        table.add_column("weight", justify="right")
    for i, name in enumerate(manifest.labels.names):
        shares = [f"{100 * split.shares[i]:.2f} %" for split in manifest.splits.values()]
        table.add_row(name, *shares, *([f"{weights[i]:.3g}"] if weights else []))
    Console().print(table)
