"""What Python adds to a training step, in two checkouts of kseg, on TensorFlow and on JAX.

    python scripts/benchmarks/step_overhead.py --before CHECKOUT [--steps 200] [--rounds 5]

Trains a network of two convolutions on batches of four 64x64 frames, so small that Python shows,
with kseg's loss, metrics, optimizer and progress bar, as on a terminal. The rounds of both
checkouts are interleaved, each in a process of its own that stays. A round is an epoch of --steps
steps, with the callbacks of kseg.train and without any ("bare"). Prints minimum and median
milliseconds per step of wall and CPU time, and ratios.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
SIZE, BATCH = (64, 64), 4


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", required=True, metavar="CHECKOUT", help="the other checkout")
    parser.add_argument("--steps", type=int, default=200, help="steps per round (default: 200)")
    parser.add_argument("--rounds", type=int, default=5, help="of each checkout (default: 5)")
    parser.add_argument("--backends", nargs="+", default=["tensorflow", "jax"])
    args = parser.parse_args()
    for backend in args.backends:
        children = [start(folder, backend, args.steps) for folder in (args.before, ROOT)]
        times = [[], []]
        for number in range(args.rounds + 1):
            for child, rounds in zip(children, times, strict=True):
                print("round", file=child.stdin, flush=True)
                ms = json.loads(child.stdout.readline())
                if number:  # The first compiles.
                    rounds.append(ms)
        for child in children:
            child.stdin.close()
            child.wait()
        report(backend, times)


def start(folder, backend, steps):
    environment = os.environ | {"PYTHONPATH": str(folder), "KERAS_BACKEND": backend}
    command = [sys.executable, __file__, "--child", str(steps)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment, cwd=folder, text=True, **pipes)


def report(backend, times):
    for clock in ("wall", "CPU"):
        for function in (min, statistics.median):
            (before, bare), (after, bare_after) = (
                [function(ms[kind][clock] for ms in rounds) for kind in ("train", "bare")]
                for rounds in times
            )
            print(
                f"{backend}, {clock} time, {function.__name__}: before {before:.2f} ms a step, "
                f"after {after:.2f}, before / after {before / after:.2f}; without callbacks "
                f"{bare:.2f} and {bare_after:.2f}",
                flush=True,
            )


def child(steps):
    """Times one epoch for each line of stdin."""
    import numpy as np
    import tensorflow as tf

    results = os.fdopen(os.dup(1), "w")
    model = tiny_model()
    images = np.zeros((BATCH, *SIZE, 3), np.uint8)
    masks = np.zeros((BATCH, *SIZE), np.uint8)
    batches = tf.data.Dataset.from_tensors((images, masks)).repeat()

    def milliseconds(callbacks):
        wall, cpu = time.perf_counter(), time.process_time()
        model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0, callbacks=callbacks)
        seconds = {"wall": time.perf_counter() - wall, "CPU": time.process_time() - cpu}
        return {clock: 1000 * value / steps for clock, value in seconds.items()}

    for _ in sys.stdin:
        sys.stdout = Terminal()
        ms = {
            "train": milliseconds(training_callbacks(model, steps)),
            "bare": milliseconds(no_callbacks(model, steps)),
        }
        print(json.dumps(ms), file=results, flush=True)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def tiny_model():
    import keras

    from kseg.config import Config
    from kseg.labels import BDD100K_DRIVABLE
    from kseg.training import losses, metrics, optimizers

    image = keras.Input((*SIZE, 3))
    x = keras.layers.Rescaling(1 / 255)(image)
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(x)
    x = keras.layers.UpSampling2D(4)(keras.layers.Conv2D(3, 1)(x))
    model = keras.Model(image, x)
    config = Config()
    model.compile(
        optimizers.build(config, config.learning_rate),
        losses.build(config.loss),
        metrics=[metrics.SegmentationMetrics(BDD100K_DRIVABLE)],
        jit_compile=keras.backend.backend() == "jax",
    )
    return model


def training_callbacks(model, steps):
    """Those of kseg.train that act after each step."""
    import keras

    from kseg.labels import BDD100K_DRIVABLE
    from kseg.training.progress_bar import ProgressBar

    callbacks = [keras.callbacks.TerminateOnNaN(), ProgressBar(BDD100K_DRIVABLE)]
    params = {"model": model, "epochs": 1, "steps": steps, "verbose": "auto"}
    try:
        from kseg.training.step_callbacks import StepCallbacks
    except ImportError:  # A checkout before it.
        return keras.callbacks.CallbackList(callbacks, add_history=True, **params)
    return StepCallbacks(callbacks, **params)


def no_callbacks(model, steps):
    import keras

    class Silent(keras.callbacks.CallbackList):
        def on_train_batch_end(self, batch, logs=None):
            pass

    return Silent([], add_history=True, model=model, epochs=1, steps=steps, verbose=0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]))
    else:
        main()
