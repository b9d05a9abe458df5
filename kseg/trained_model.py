"""The Keras model of a run: built from its Config, with its weights loaded or saved."""

import dataclasses
import math
import os
from pathlib import Path

import keras

from kseg import models, run_folder
from kseg.config import Config
from kseg.errors import InputError
from kseg.files import atomic_write
from kseg.labels import LabelSet
from kseg.models.pretrained import weight_files


def load(run, size=None):
    """Returns (model with its best weights, Config, LabelSet) of RUN. Raises InputError.

    size (height, width): another input size for the same weights, in model and Config.
    """
    config, labels = run_folder.read_run(run)
    config = dataclasses.replace(config, size=size or config.size)
    path = Path(run) / run_folder.BEST
    if not path.is_file():
        raise InputError(f"{path}: not there; train RUN for at least one epoch first")
    model = build_model(config, labels)
    wanted = (
        f"the weights of {config.model} (encoder_alpha {config.encoder_alpha:g}, decoder_channels "
        f"{config.decoder_channels}) that its config.json asks for"
    )
    weight_files.load(model, path, wanted)
    return model, config, labels


def build_model(config: Config, labels: LabelSet, encoder_weights: str = "none") -> keras.Model:
    """Returns the untrained model of a Config."""
    return build_model_and_encoder(config, labels, encoder_weights)[0]


def build_model_and_encoder(
    config: Config, labels: LabelSet, encoder_weights: str = "none"
) -> tuple[keras.Model, keras.Model | None]:
    """Returns the untrained model of a Config and its encoder, whose layers the model shares."""
    options = models.Options(
        encoder_alpha=config.encoder_alpha,
        output_stride=config.output_stride,
        decoder_channels=config.decoder_channels,
        encoder_weights=encoder_weights,
        freeze_encoder=config.freeze_encoder,
    )
    return models.build_with_encoder(config.model, config.size, len(labels.classes), options)


def inference_model(model):
    """The same layers without optimizer and auxiliary head: logits are its one output."""
    return keras.Model(model.inputs, model.outputs[0])


def save_weights(model, path):
    """Writes a .weights.h5 file as a whole or not at all; with the optimizer, if compiled."""
    optimizer = getattr(model, "optimizer", None)
    held = [*model.weights, *(optimizer.variables if optimizer else ())]
    with atomic_write(path) as partial:
        # HDF5 may crash the process when the disk fills while it writes, so about the room that it
        # takes is asked for before: four bytes a number, and 4 KB a variable for what it adds. It
        # is given back when HDF5 opens the file, so a disk that others fill meanwhile still fails.
        _claim(partial, sum(4 * math.prod(v.shape) + 4096 for v in held))
        model.save_weights(partial)


def _claim(path, size):
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
