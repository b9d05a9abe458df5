"""The Keras model of a run: building it from its Config, loading and saving its weights."""

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
from kseg.preprocess import Size


def load(run: run_folder.RunPath, size: Size | None = None) -> tuple[keras.Model, Config, LabelSet]:
    """Returns (model with its best weights, Config, LabelSet) of RUN. Raises InputError.

    size: another input size (height, width) for the model and the Config.
    """
    config, labels = run_folder.read_run(run)
    config = dataclasses.replace(config, size=size or config.size)
    path = Path(run) / run_folder.BEST
    if not path.is_file():
        raise InputError(f"{path}: no such file; train {run} for at least one epoch first")
    model = build_model(config, labels)
    expected = (
        f"the weights of {config.model} (encoder_alpha {config.encoder_alpha:g}, decoder_channels "
        f"{config.decoder_channels}) that its config.json specifies"
    )
    weight_files.load(model, path, expected)
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


def inference_model(model: keras.Model) -> keras.Model:
    """Returns the same layers without optimizer and auxiliary head; the output is the logits."""
    return keras.Model(model.inputs, model.outputs[0])


def save_weights(model: keras.Model, path: str | os.PathLike[str]) -> None:
    """Writes a .weights.h5 file atomically; with the optimizer, if the model is compiled.

    Raises InputError when it cannot be written.
    """
    optimizer = getattr(model, "optimizer", None)
    variables = [*model.weights, *(optimizer.variables if optimizer else ())]
    with atomic_write(path) as partial:
        # HDF5 may crash the process when the disk becomes full while it writes. So the space it
        # needs is allocated before: four bytes per number, and about 4 KB of overhead per variable.
        # HDF5 frees it when it opens the file, so a disk that others fill meanwhile still fails.
        _allocate(partial, sum(4 * math.prod(v.shape) + 4096 for v in variables))
        model.save_weights(partial)


def _allocate(path, size):
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
