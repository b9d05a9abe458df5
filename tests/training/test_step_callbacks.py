import dataclasses
import math

import keras
import numpy as np

from kseg import train
from kseg.training import callbacks, resume, step_callbacks
from kseg.training.step_callbacks import StepCallbacks


class Recorder(keras.callbacks.Callback):
    """Records the logs of each step; asks for those of the steps in `wanted`."""

    def __init__(self, wanted=()):
        super().__init__()
        self.wanted, self.steps, self.epochs = wanted, [], []

    def needs_logs(self, batch):
        return batch in self.wanted

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(dict(logs))

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(logs)


def fitted(rate=0.1, *, wanted=(), interval_s=math.inf, own=True, extra=()):
    """A model of one weight after two epochs of six steps, and the recorder."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), loss="mse", metrics=["mae"])
    recorder = Recorder(wanted)
    every = [*extra, recorder]
    if own:
        options = {"model": model, "epochs": 2, "steps": 6, "verbose": 0}
        every = StepCallbacks(every, interval_s=interval_s, **options)
    x = np.arange(24, dtype=np.float32)[:, None] / 24
    data = {"x": x, "y": 3 * x, "batch_size": 4, "shuffle": False}
    model.fit(**data, validation_data=(x, 3 * x), epochs=2, verbose=0, callbacks=every)
    return model, recorder


def test_values_are_read_only_where_a_callback_needs_them(monkeypatch):
    reads = []
    convert = keras.ops.convert_to_numpy
    monkeypatch.setattr(
        step_callbacks.keras.ops, "convert_to_numpy", lambda v: (reads.append(1), convert(v))[1]
    )
    _, recorder = fitted(wanted=(2, 5))
    present = [bool(logs) for logs in recorder.steps]
    assert present == [False, False, True, False, False, True] * 2
    assert len(reads) == 4 * 2  # Loss and mae of four steps.


def test_and_whenever_the_interval_has_passed():
    _, recorder = fitted(interval_s=0.0)
    assert len(recorder.steps) == 12 and all("loss" in logs for logs in recorder.steps)


def test_training_and_the_values_of_epochs_are_those_of_keras_own_list():
    (ours, recorder), (theirs, expected) = fitted(), fitted(own=False)
    assert all(map(np.array_equal, ours.get_weights(), theirs.get_weights()))
    assert recorder.epochs == expected.epochs and "val_mae" in recorder.epochs[0]
    assert ours.history.history == theirs.history.history


def test_a_loss_that_becomes_nan_unread_ends_training_with_the_epoch():
    _, recorder = fitted(1e30, extra=[callbacks.StopOnNaN()])
    assert len(recorder.epochs) == 1 and not any(recorder.steps)
    assert not np.isfinite(recorder.epochs[0]["loss"])


def test_a_loss_that_becomes_nan_ends_training_where_it_is_read(capsys):
    _, recorder = fitted(1e30, wanted=(3,), extra=[callbacks.StopOnNaN()])
    assert len(recorder.steps) == 4


def test_a_checkpoint_asks_for_the_loss_of_its_step(tmp_path):
    saver = callbacks.SaveProgress(tmp_path, resume.START, steps_per_epoch=6, save_steps=2)
    saver.set_model(None)
    saver.on_train_begin()
    saver.on_epoch_begin(0)
    asked = []
    for batch in range(6):
        asked.append(saver.needs_logs(batch))
        saver.on_train_batch_end(batch, {"loss": math.nan} if asked[-1] else {})
    # The end of the epoch has a checkpoint of its own.
    assert asked == [False, True, False, True, False, False]


def test_nothing_is_saved_of_a_run_that_diverges_between_two_reads(config, tmp_path, monkeypatch):
    monkeypatch.setattr(step_callbacks, "INTERVAL_S", math.inf)
    diverging = dataclasses.replace(config, learning_rate=1e30, epochs=2)
    assert train.train(diverging, tmp_path / "run", save_steps=5) == 1
    assert not (tmp_path / "run/last").exists()
    assert not (tmp_path / "run/history.csv").exists()
