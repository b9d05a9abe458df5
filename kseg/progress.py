"""Going on where a run was interrupted: RUN/last/ and RUN/history.csv, kept by one callback.

RUN/last/state.json      how far the run is, and the name of its weights
RUN/last/previous.json   the same of the checkpoint before
RUN/last/*.weights.h5    model and optimizer of both

A kill at any moment leaves whole files: weights are renamed into place before the state that
names them, and the line in history.csv is written before the state that counts it.
"""

import csv
import io
import json
import math
import sys
import tempfile
import time
from pathlib import Path

import keras

from kseg import checkpoints, history
from kseg.averages import averaged
from kseg.errors import InputError
from kseg.history import is_over
from kseg.history import read as read_history
from kseg.paths import sha256

START = {"epochs_done": 0, "step": 0, "best": -1.0, "seconds": 0.0, "weights": None}


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
        self.rows = read_history(run)[: state["epochs_done"]]
        # All hosts save: under JAX to save is to compute, which hosts do together or not at all.
        self._elsewhere = None if writes else tempfile.TemporaryDirectory()
        self.run = Path(run) if writes else Path(self._elsewhere.name)

    def on_train_begin(self, logs=None):
        self.since = time.monotonic() - self.start["seconds"]

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self.step = epoch, 0
        if epoch == self.start["epochs_done"] and self.start["step"]:
            self.step = self.start["step"]
            _assign(self.model.metrics_variables, self.start["metrics"])

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
                kept = checkpoints.inference_model(self.model)
                checkpoints.save_weights(kept, self.run / checkpoints.BEST)
        rate = float(self.model.optimizer.learning_rate)
        row = {"epoch": epoch, "learning_rate": rate, "seconds": round(self._seconds(), 3)}
        self.rows.append(row | dict(sorted(logs.items())))
        _write_history(self.run, self.rows)
        self.since = time.monotonic()
        self._checkpoint(epoch + 1, 0)
        self.model.stop_training = is_over(self.rows, self.patience)

    def _seconds(self):
        """Of this epoch, so far."""
        return time.monotonic() - self.since

    def _checkpoint(self, epochs_done, step):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        last = self.run / "last"
        last.mkdir(exist_ok=True)
        name = f"epoch-{epochs_done:04d}" + f"-step-{step:06d}" * (step > 0) + ".weights.h5"
        checkpoints.save_weights(self.model, last / name)
        state = {
            "epochs_done": epochs_done,
            "step": step,
            "best": self.best,
            "seconds": self._seconds() if step else 0.0,
            "weights": name,
            "sha256": sha256(last / name),
            # Weights files leave out the random state of dropout and stochastic depth.
            "random": _values(_random_state(self.model)),
            "metrics": _values(self.model.metrics_variables) if step else [],
        }
        # Not what state.json names: that may be a damaged one, passed over.
        if self.before:
            checkpoints.write(last / "previous.json", json.dumps(self.before))
        checkpoints.write(last / "state.json", json.dumps(state))
        kept = {name, self.before["weights"] if self.before else None}
        self.before = state
        for old in last.glob("*.weights.h5"):
            if old.name not in kept:
                old.unlink()


def resume_state(run):
    """Returns where RUN goes on: {"epochs_done", "step", "best", "weights", ...}; START when new.

    A damaged checkpoint is passed over for the one before, and said so. Raises InputError when
    there are checkpoints but no whole one.
    """
    last = Path(run) / "last"
    for name in ("state.json", "previous.json"):
        state = _read_state(last / name)
        if state and _is_whole(last, state):
            return START | state
        if (last / name).is_file():
            print(f"{last / name}: its checkpoint is damaged, passed over", file=sys.stderr)
    if list(last.glob("*.json")):
        raise InputError(f"{last}: no whole checkpoint; remove {run} to begin anew")
    return START


def restore(run, model, state):
    """Puts weights, optimizer, schedule and random state of `state` into a compiled model.

    Raises InputError when they are of another model.
    """
    if state["weights"]:
        # The optimizer's slots must exist before their values can be loaded.
        model.optimizer.build(model.trainable_variables)
        path = Path(run) / "last" / state["weights"]
        try:
            model.load_weights(path)
        except (OSError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"{path}: does not fit the model of this run ({reason}); resume with the kseg "
                f"that wrote it, or remove {run} to begin anew"
            ) from error
        _assign(_random_state(model), state["random"])


def _write_history(run, rows):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[-1], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    checkpoints.write(Path(run) / history.FILE_NAME, text.getvalue())


def _read_state(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _is_whole(last, state):
    path = last / state["weights"]
    return path.is_file() and state.get("sha256") in (None, sha256(path))


def _random_state(model):
    """The variables of a model that are no weights: states of its seed generators."""
    known = {id(w) for w in model.weights}
    return [v for v in model.variables if id(v) not in known]


def _values(variables):
    # JSON keeps float32 to the bit: each is a float64 too, written with all its digits.
    return [keras.ops.convert_to_numpy(v).tolist() for v in variables]


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
