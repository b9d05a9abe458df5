"""The callback that saves a run while it trains: best weights, history and checkpoints."""

import csv
import io
import json
import math
import tempfile
import time
from pathlib import Path

import keras

from kseg import files, run_folder, trained_model
from kseg.files import sha256
from kseg.training import history, resume
from kseg.training.ema import averaged


class SaveProgress(keras.callbacks.Callback):
    """Keeps RUN/best.weights.h5, RUN/history.csv and, to resume, RUN/last/.

    A checkpoint is made after every epoch, and within an epoch after every save_steps steps (0:
    never). `state` is where the run starts: its first epoch begins at state["step"] with the
    metrics and the seconds as they were, so that its line in the history covers the whole epoch.
    An epoch's seconds are those since the end of the one before: steps, validation and all that
    is written. writes: of several hosts one; what the others save is thrown away.
    """

    def __init__(self, run, state, steps, *, save_steps=0, patience=0, writes=True):
        super().__init__()
        self.start, self.steps = state, steps
        self.save_steps, self.patience = save_steps, patience
        self.best = state["best"]
        self.before = state if state["weights"] else None  # The last whole checkpoint.
        self.rows = history.read(run)[: state["epochs_done"]]
        # All hosts save: under JAX to save is to compute, which hosts do together or not at all.
        self._elsewhere = None if writes else tempfile.TemporaryDirectory()
        self.run = Path(run) if writes else Path(self._elsewhere.name)

    def on_train_begin(self, logs=None):
        self.since = time.monotonic() - self.start["seconds"]

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.step = epoch, 0
        if epoch == self.start["epochs_done"] and self.start["step"]:
            self.step = self.start["step"]
            resume.assign_all(self.model.metrics_variables, self.start["metrics"])

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        if self.step == self.steps:
            # A resumed epoch is over before Keras, which counts from 0, has done all its steps.
            self.model.stop_training = True
        elif self.save_steps and self.step % self.save_steps == 0 and math.isfinite(logs["loss"]):
            self._checkpoint(self.epoch, self.step)

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["loss"]):
            return  # Diverged: nothing worth keeping, and the last good checkpoint stays.
        score = float(logs["val_mean_iou"])
        if score > self.best:
            self.best = score
            with averaged(self.model):
                kept = trained_model.inference_model(self.model)
                trained_model.save_weights(kept, self.run / run_folder.BEST)
        rate = float(self.model.optimizer.learning_rate)
        row = {"epoch": epoch, "learning_rate": rate, "seconds": round(self._seconds(), 3)}
        self.rows.append(row | dict(sorted(logs.items())))
        _write_history(self.run, self.rows)
        self.since = time.monotonic()
        self._checkpoint(epoch + 1, 0)
        self.model.stop_training = history.is_over(self.rows, self.patience)

    def _seconds(self):
        """Of this epoch, so far."""
        return time.monotonic() - self.since

    def _checkpoint(self, epochs_done, step):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        last = self.run / "last"
        last.mkdir(exist_ok=True)
        name = f"epoch-{epochs_done:04d}" + f"-step-{step:06d}" * (step > 0) + ".weights.h5"
        trained_model.save_weights(self.model, last / name)
        state = {
            "epochs_done": epochs_done,
            "step": step,
            "best": self.best,
            "seconds": self._seconds() if step else 0.0,
            "weights": name,
            "sha256": sha256(last / name),
            # Weights files leave out the random state of dropout and stochastic depth.
            "random": resume.to_lists(resume.random_state(self.model)),
            "metrics": resume.to_lists(self.model.metrics_variables) if step else [],
        }
        # Not what state.json names: that may be a damaged one, passed over.
        if self.before:
            files.write_text(last / "previous.json", json.dumps(self.before))
        files.write_text(last / "state.json", json.dumps(state))
        kept = {name, self.before["weights"] if self.before else None}
        self.before = state
        for old in last.glob("*.weights.h5"):
            if old.name not in kept:
                old.unlink()


def _write_history(run, rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[-1], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_text(Path(run) / history.FILE_NAME, text.getvalue())
