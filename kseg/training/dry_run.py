"""kseg.train --dry-run: what a training would be, without writing anything."""

import math
import resource
import sys
import time

import keras
from rich.console import Console
from rich.table import Table

from kseg.data import pipeline
from kseg.training import build_training, summary
from kseg.training import distributed as shared


def dry_run(config, manifest, devices=1):
    """Prints the Config, the data, the model's size, a memory estimate and one timed step."""
    print(config.to_json(), end="")
    _print_data(config, manifest)
    steps = pipeline.steps_per_epoch(config, manifest)
    with shared.scope(devices, config):
        model = build_training.build_compiled_model(config, manifest, steps)
        _print_model(model, config, manifest, steps)


def _print_model(model, config, manifest, steps):
    print(summary.describe_run(config, manifest, build_training.cost(model), steps))
    state, activations = memory(model, config)
    print(
        f"memory, estimated: {state / 1e6:.0f} MB for weights, gradients and optimizer; "
        f"{activations / 1e6:.0f} MB for the outputs of all layers, kept for the way back; buffers "
        "of the convolutions come on top"
    )
    first, step = _timed_steps(model, config)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    total = steps * config.epochs
    print(
        f"one step of {config.batch_size} frames: {step:.3f} s (the first, which compiles: "
        f"{first:.1f} s), so {step * total / 3600:.2f} h for {total} steps, reading and validation "
        f"apart; this process has used {peak / 1e6:.0f} MB of main memory at most"
    )
    print("dry run: nothing was written")


def memory(model, config):
    """Estimates bytes of (state, activations).

    State: weights, one gradient for each that is trained, and the optimizer's variables, at their
    own types. Activations: each layer's output once for each frame of a batch, in the type that
    the layer computes in.
    """
    model.optimizer.build(model.trainable_variables)
    held = [*model.weights, *model.trainable_weights, *model.optimizer.variables]
    state = sum(math.prod(v.shape) * _bytes(v.dtype) for v in held)
    frame = sum(
        math.prod(layer.output.shape[1:]) * _bytes(layer.compute_dtype) for layer in model.layers
    )
    return state, frame * config.batch_size


def _bytes(dtype):
    return {"bfloat16": 2, "float16": 2, "int64": 8, "bool": 1}.get(str(dtype), 4)


def _timed_steps(model, config):
    """Returns the seconds of the first and of the second training step, on real frames."""
    timer = _Timer()
    # By fit: train_on_batch would give each of several devices the whole batch.
    frames = pipeline.training_dataset(config).take(2)
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
