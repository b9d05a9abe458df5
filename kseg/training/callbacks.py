"""Callbacks that save a run while it trains, and that resume and end its epochs."""

import math
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import keras

from kseg import run_folder, trained_model
from kseg.errors import InputError
from kseg.training import history, resume


class RequireScores(keras.callbacks.Callback):
    """Raises InputError at the end of an epoch whose scores are NaN; goes before SaveProgress.

    The metrics are NaN when the ground truth has unknown ids: then no score can be trusted. Nothing
    of such an epoch is saved. data: folder of the data set.
    """

    def __init__(self, data: str):
        super().__init__()
        self.data = data

    def on_epoch_end(self, epoch, logs=None):
        for split, name in (("train", "mean_iou"), ("val", "val_mean_iou")):
            if math.isfinite(logs["loss"]) and math.isnan(logs[name]):
                raise InputError(
                    f"{self.data}: split '{split}' has no score, because its masks have ids that "
                    "are neither a class nor 255 (ignored); find them with python -m "
                    f"tfrecords_tools.verify {self.data}, and build the data set again"
                )


class StopOnNaN(keras.callbacks.TerminateOnNaN):
    """Ends training when the loss is NaN, at the latest at the end of the epoch.

    Within an epoch it sees the losses that kseg.training.step_callbacks reads. Their mean over the
    epoch stays NaN.
    """

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["loss"]):
            self.model.stop_training = True


class SaveProgress(keras.callbacks.Callback):
    """Saves RUN/best.weights.h5, RUN/history.csv and the checkpoints in RUN/last/.

    A checkpoint is saved after every epoch and, within an epoch, after every save_steps of its
    steps (0: never). state: the checkpoint from which training starts (kseg.training.resume). Its
    first epoch continues the seconds from there, so that the row in the history covers the complete
    epoch. The seconds of an epoch count from the end of the epoch before and include validation and
    writing.

    folder: where to save instead of RUN. averaged: a context in which the model has the weights
    that were validated.
    """

    def __init__(
        self,
        run: str | os.PathLike[str],
        state: resume.State,
        *,
        steps_per_epoch: int,
        save_steps: int = 0,
        folder: str | os.PathLike[str] | None = None,
        averaged: Callable[[], AbstractContextManager] = nullcontext,
    ):
        super().__init__()
        self.start, self.steps_per_epoch, self.save_steps = state, steps_per_epoch, save_steps
        self.best, self.averaged = state["best"], averaged
        self.rows = history.read(run)[: state["epochs_done"]]
        self.run = Path(folder or run)
        self.checkpoints = resume.CheckpointWriter(self.run, state)

    def on_train_begin(self, logs=None):
        self.epoch_start = time.monotonic() - self.start["seconds"]

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch
        self.step = self.start["step"] if epoch == self.start["epochs_done"] else 0

    def needs_logs(self, batch: int) -> bool:
        """Whether a checkpoint is due after this step, whose loss must be known then."""
        return self._is_due(self.step + 1)

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self._is_due(self.step) and math.isfinite(logs["loss"]):
            self._save_checkpoint(self.epoch, self.step)

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["loss"]):
            return  # Diverged: nothing worth saving, and the last good checkpoint stays.
        if logs["val_mean_iou"] > self.best:
            self.best = float(logs["val_mean_iou"])
            with self.averaged():
                model = trained_model.inference_model(self.model)
                trained_model.save_weights(model, self.run / run_folder.BEST)
        rate = float(self.model.optimizer.learning_rate)
        row = {"epoch": epoch, "learning_rate": rate, "seconds": round(self._seconds(), 3)}
        self.rows.append(row | dict(sorted(logs.items())))
        history.write(self.run, self.rows)
        self.epoch_start = time.monotonic()
        self._save_checkpoint(epoch + 1, 0)

    def _is_due(self, step):
        return 0 < step < self.steps_per_epoch and bool(
            self.save_steps and step % self.save_steps == 0
        )

    def _seconds(self):
        return time.monotonic() - self.epoch_start

    def _save_checkpoint(self, epochs_done, step):
        self.checkpoints.save(
            self.model,
            epochs_done=epochs_done,
            step=step,
            best=self.best,
            seconds=self._seconds(),
        )


class ResumeEpoch(keras.callbacks.Callback):
    """Completes the epoch in which training resumes: restores its metrics and ends it in time.

    Keras counts the steps of this epoch from 0 too. Its only way to end an epoch early is
    stop_training, which ends the training as well unless it is reset at the end of the epoch.
    """

    def __init__(self, state: resume.State, steps_per_epoch: int):
        super().__init__()
        self.epoch, self.metrics = state["epochs_done"], state.get("metrics")
        self.remaining = steps_per_epoch - state["step"] if state["step"] else 0

    def on_epoch_begin(self, epoch, logs=None):
        if self.remaining and epoch == self.epoch:
            resume.assign_all(self.model.metrics_variables, self.metrics)

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.remaining:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if self.remaining and math.isfinite(logs["loss"]):  # Else StopOnNaN stops.
            self.model.stop_training = False
        self.remaining = 0


class StopByPatience(keras.callbacks.Callback):
    """Stops training when the best validation mean IoU is `patience` epochs old (0: never).

    Unlike keras.callbacks.EarlyStopping it reads the history, so it also works after resuming.
    """

    def __init__(self, progress: SaveProgress, patience: int):
        super().__init__()
        self.progress, self.patience = progress, patience

    def on_epoch_end(self, epoch, logs=None):
        if history.is_over(self.progress.rows, self.patience):
            self.model.stop_training = True
