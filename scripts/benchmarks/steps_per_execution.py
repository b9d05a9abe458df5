"""What Keras' steps_per_execution gains: several steps per call of the compiled function.

    KERAS_BACKEND=tensorflow python scripts/benchmarks/steps_per_execution.py [--steps 8]

Trains the network of step_overhead.py, so small that Python shows, with 1 and with --steps steps
per execution, in interleaved rounds. Prints milliseconds per step: minimum and median.
"""

import argparse
import statistics
import time

import keras
import numpy as np
import step_overhead
import tensorflow as tf

STEPS_PER_ROUND = 96


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8, help="per execution (default: 8)")
    parser.add_argument("--rounds", type=int, default=8, help="of each (default: 8)")
    args = parser.parse_args()
    counts = (1, args.steps)
    models = {count: compiled(count) for count in counts}
    image = np.zeros((step_overhead.BATCH, *step_overhead.SIZE, 3), np.uint8)
    batches = tf.data.Dataset.from_tensors((image, image[..., 0])).repeat()
    rounds = {count: [] for count in counts}
    for _ in range(args.rounds + 1):
        for count in counts:
            rounds[count].append(milliseconds(models[count], batches))
    for count in counts:
        for clock, times in zip(("wall", "CPU"), zip(*rounds[count][1:], strict=True), strict=True):
            print(
                f"{keras.backend.backend()}, {count} steps per execution, {clock} time: "
                f"{min(times):.2f} / {statistics.median(times):.2f} ms per step"
            )


def compiled(count):
    model = step_overhead.tiny_model()
    model.compile(
        model.optimizer,
        model.loss,
        steps_per_execution=count,
        jit_compile=keras.backend.backend() == "jax",
    )
    return model


def milliseconds(model, batches):
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(batches, steps_per_epoch=STEPS_PER_ROUND, shuffle=False, verbose=0)
    seconds = time.perf_counter() - wall, time.process_time() - cpu
    return [1000 * value / STEPS_PER_ROUND for value in seconds]


if __name__ == "__main__":
    main()
