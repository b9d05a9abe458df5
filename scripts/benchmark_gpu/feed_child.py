"""Runs kseg.train with a clock, then times its input and its training step alone.

python -m benchmark_gpu.feed_child ARGUMENTS OF kseg.train...
"""

import sys
import time

import keras
import tensorflow as tf

from benchmark_gpu import steps
from benchmark_gpu.children import emit

SECONDS = 3.0


class Clock(keras.callbacks.Callback):
    """Emits the time that the steps of each epoch take, without validation and checkpoints."""

    def on_epoch_begin(self, epoch, logs=None):
        self.start, self.steps = time.perf_counter(), 0

    def on_train_batch_end(self, batch, logs=None):
        self.steps += 1

    def on_test_begin(self, logs=None):
        int(self.model.optimizer.iterations.numpy())  # Waits for the last step.
        seconds = time.perf_counter() - self.start
        emit(epoch={"steps": self.steps, "seconds": seconds, "batch": self.batch})


def main(argv: list[str]) -> None:
    from kseg import train

    fit, clock = keras.Model.fit, Clock()
    fitted: dict = {}

    def timed_fit(model, x, *args, callbacks, **options):
        fitted.update(model=model, dataset=x)
        clock.batch = x.element_spec[0].shape[0]
        clock.set_model(model)
        callbacks.callbacks.append(clock)
        return fit(model, x, *args, callbacks=callbacks, **options)

    keras.Model.fit = timed_fit
    if code := train.main(argv):
        sys.exit(code)
    emit(input_frames_per_s=input_rate(fitted["dataset"]))
    images, masks = next(iter(fitted["dataset"].as_numpy_iterator()))
    step, wait, _ = steps.compile_step(fitted["model"], images, masks)
    emit(step_ms=steps.time_steps(step, wait, SECONDS))


def input_rate(dataset: tf.data.Dataset) -> float:
    """Returns the frames per second of the input pipeline when nothing trains."""
    batches = iter(dataset)
    for _ in range(4):
        images, _ = next(batches)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        next(batches)
        count += 1
    return count * len(images) / (time.perf_counter() - start)


if __name__ == "__main__":
    main(sys.argv[1:])
