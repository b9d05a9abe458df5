"""The run folder: what training leaves behind and everything else reads.

RUN/config.json          the whole Config
RUN/labels.json          the classes
RUN/data.json            what the data set was built from
RUN/best.weights.h5      weights of the epoch with the best validation mean IoU
RUN/last/                the last two checkpoints, to resume (kseg.progress)
RUN/history.csv          one line per epoch
RUN/curves.png           the same as a plot
RUN/tensorboard/         the same for TensorBoard, and pictures
"""

import contextlib
import dataclasses
import hashlib
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


def inference_model(model):
    """The same layers without optimizer and auxiliary head: logits are its one output."""
    return keras.Model(model.inputs, model.outputs[0])


def start_run(run, config, whole):
    """Makes RUN for a Config and the Manifest of its data, or finds it made for the very same.

    Raises InputError when the folder holds another run or anything else.
    """
    run = Path(run)
    if (run / "config.json").is_file():
        before, then = configs.read(run / "config.json"), _read_json(run / "data.json")
        if before != config or then != whole.request or read_labels(run) != whole.labels:
            told = configs.difference(before, config) or (
                "the data set was built anew from other files"
            )
            raise InputError(
                f"{run}: holds a run with another config or other data ({told}); choose another "
                "--out or remove it first"
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


def config_hash(run):
    """First 12 hex digits of the SHA-256 of RUN/config.json: that of Config.hash when it was made.

    Of the file, so that a run keeps its hash when Config gets new fields.
    """
    return hashlib.sha256((Path(run) / "config.json").read_bytes()).hexdigest()[:12]


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


def write(path, text):
    """Writes a text file as a whole or not at all."""
    with whole(path) as partial:
        partial.write_text(text)


def save_weights(model, path):
    """Writes a .weights.h5 file as a whole or not at all; with the optimizer, if compiled."""
    optimizer = getattr(model, "optimizer", None)
    held = [*model.weights, *(optimizer.variables if optimizer else ())]
    with whole(path) as partial:
        # HDF5 may crash the process when the disk fills while it writes, so about the room that it
        # takes is asked for before: four bytes a number, and 4 KB a variable for what it adds. It
        # is given back when HDF5 opens the file, so a disk that others fill meanwhile still fails.
        _claim(partial, sum(4 * math.prod(v.shape) + 4096 for v in held))
        model.save_weights(partial)


def _claim(path, size):
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)


@contextlib.contextmanager
def whole(path):
    """Gives a name to write under; the file moves to `path` once it is written and on the disk.

    Raises InputError when it cannot be written; what was at `path` before is then untouched.
    """
    path = Path(path)
    partial = path.with_name(f"partial-{path.name}")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # Else a power cut can leave the new name with no content.
        os.replace(partial, path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); make room there and run the "
            "same command again"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
