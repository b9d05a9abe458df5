"""The run folder: what training leaves behind and everything else reads.

RUN/config.json          the whole Config
RUN/labels.json          the classes
RUN/data.json            what the data set was built from
RUN/best.weights.h5      weights of the epoch with the best validation mean IoU
RUN/last/                weights, optimizer and progress of the last whole epoch, to resume
RUN/history.csv          one line per epoch
RUN/curves.png           the same as a plot
"""

import dataclasses
import json
import math
import os
from pathlib import Path

import keras

from kseg import config as configs
from kseg import models
from kseg.errors import InputError
from kseg.labels import LabelSet
from kseg.models import weights

BEST = "best.weights.h5"


def build_model(config, labels, encoder_weights="none"):
    """Returns the untrained model of a Config."""
    return models.build(
        config.model,
        config.size,
        len(labels.classes),
        encoder_alpha=config.encoder_alpha,
        output_stride=config.output_stride,
        decoder_channels=config.decoder_channels,
        encoder_weights=encoder_weights,
        freeze_encoder=config.freeze_encoder,
    )


def start_run(run, config, whole):
    """Makes RUN for a Config and the Manifest of its data, or finds it made for the very same.

    Raises InputError when the folder holds another run or anything else.
    """
    run = Path(run)
    if (run / "config.json").is_file():
        before, then = configs.read(run / "config.json"), _read_json(run / "data.json")
        if before != config or then != whole.request or read_labels(run) != whole.labels:
            raise InputError(
                f"{run}: holds a run with another config or other data ("
                f"{_difference(before, config)}); choose another --out or remove it first"
            )
        return
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise InputError(f"{run}: already exists and is no run of kseg; choose another --out")
    run.mkdir(parents=True, exist_ok=True)
    write(run / "labels.json", json.dumps(whole.labels.to_dict(), indent=1) + "\n")
    write(run / "data.json", json.dumps(whole.request, indent=1) + "\n")
    write(run / "config.json", config.to_json())


def read_run(run):
    """Returns (Config, LabelSet) of RUN. Raises InputError when it is no run folder."""
    path = Path(run) / "config.json"
    if not path.is_file():
        raise InputError(
            f"{run}: no config.json here, so this is no run; python -m kseg.train makes one"
        )
    return configs.read(path), read_labels(run)


def read_labels(run):
    path = Path(run) / "labels.json"
    return LabelSet.from_dict(_read_json(path), where=str(path))


def _read_json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error


def load(run, size=None):
    """Returns (model with its best weights, Config, LabelSet) of RUN. Raises InputError.

    size (height, width): another input size for the same weights, in model and Config.
    """
    config, labels = read_run(run)
    config = dataclasses.replace(config, size=size or config.size)
    path = Path(run) / BEST
    if not path.is_file():
        raise InputError(f"{path}: not there; train RUN for at least one epoch first")
    model = build_model(config, labels)
    wanted = (
        f"the weights of {config.model} (encoder_alpha {config.encoder_alpha:g}, decoder_channels "
        f"{config.decoder_channels}) that its config.json asks for"
    )
    weights.load(model, path, wanted)
    return model, config, labels


class SaveProgress(keras.callbacks.Callback):
    """Keeps RUN/best.weights.h5 and, after every epoch, all that resuming needs.

    A kill at any moment leaves the state of a whole epoch: state.json, renamed into place last,
    names the weights it belongs to.
    """

    def __init__(self, run, best=-1.0, monitor="val_mean_iou"):
        super().__init__()
        self.run, self.best, self.monitor = Path(run), best, monitor

    def on_epoch_end(self, epoch, logs=None):
        if not math.isfinite(logs["loss"]):
            return  # Diverged: nothing worth keeping, and the last good epoch stays.
        score = float(logs[self.monitor])
        if score > self.best:
            self.best = score
            # A bare twin on the same layers: the file holds no optimizer state.
            bare = keras.Model(self.model.inputs, self.model.outputs)
            _save_weights(bare, self.run / BEST)
        last = self.run / "last"
        last.mkdir(exist_ok=True)
        name = f"epoch-{epoch + 1:04d}.weights.h5"
        _save_weights(self.model, last / name)
        state = {
            "epochs_done": epoch + 1,
            "best": self.best,
            "weights": name,
            # Weights files leave out the random state of dropout and stochastic depth.
            "random": [keras.ops.convert_to_numpy(v).tolist() for v in _random_state(self.model)],
        }
        write(last / "state.json", json.dumps(state))
        for old in last.glob("*.weights.h5"):
            if old.name != name:
                old.unlink()


def resume_state(run):
    """Returns {"epochs_done", "best", "weights"} of RUN; zero epochs when nothing was saved yet."""
    path = Path(run) / "last" / "state.json"
    if not path.is_file():
        return {"epochs_done": 0, "best": -1.0, "weights": None}
    return json.loads(path.read_text())


def resume(run, model):
    """Restores weights, optimizer and schedule of a compiled model. Returns the resume_state."""
    state = resume_state(run)
    if state["weights"]:
        # The optimizer's slots must exist before their values can be loaded.
        model.optimizer.build(model.trainable_variables)
        model.load_weights(Path(run) / "last" / state["weights"])
        for variable, value in zip(_random_state(model), state["random"], strict=True):
            variable.assign(value)
    return state


def _random_state(model):
    """The variables of a model that are no weights: states of its seed generators."""
    known = {id(w) for w in model.weights}
    return [v for v in model.variables if id(v) not in known]


def write(path, text):
    """Writes a text file as a whole or not at all."""
    partial = Path(f"{path}.partial")
    partial.write_text(text)
    os.replace(partial, path)


def _save_weights(model, path):
    partial = path.with_name("partial-" + path.name)
    model.save_weights(partial)
    os.replace(partial, path)


def _difference(before, now):
    before, now = json.loads(before.to_json()), json.loads(now.to_json())
    changed = [
        f"{key} {before[key]} then, {now[key]} now" for key in now if before[key] != now[key]
    ]
    return "; ".join(changed) or "the data set was built anew from other files"
