"""Loading all weights of a model, from a file or from keras.applications."""

import warnings
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path

import keras
import numpy as np

from kseg.errors import InputError

_NOT_LOADED = r"Skipping |A total of \d+ objects could not be loaded"  # Keras' warnings begin so.


def load(model: keras.Model, path: str | PathLike, expected: str) -> None:
    """Loads a .weights.h5 file into a model.

    Raises InputError, which says that `path` does not hold `expected`, when the file is corrupt or
    belongs to another architecture.
    """
    try:
        with warnings.catch_warnings():
            # Keras only warns of a layer that it finds no weights for, and leaves it random.
            warnings.filterwarnings("error", _NOT_LOADED, UserWarning)
            model.load_weights(path)
    except (ValueError, KeyError, OSError, UserWarning) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: does not hold {expected} ({reason})") from error


def assign(model: keras.Model, values: Mapping[str, np.ndarray], where: str) -> None:
    """Copies `values`, {weight path: array}, into a model; every weight needs exactly one array.

    Raises InputError, which names `where`, before any weight is changed.
    """
    weights = {weight.path: weight for weight in model.weights}
    missing, extra = sorted(weights.keys() - values), sorted(values.keys() - weights)
    if missing or extra:
        problem = f"has no weights for {missing[0]}" if missing else f"has unknown {extra[0]}"
        raise InputError(
            f"{where}: {problem} ({len(missing)} missing, {len(extra)} unknown); it belongs to "
            "another architecture"
        )
    for path, weight in weights.items():
        if values[path].shape != tuple(weight.shape):
            raise InputError(
                f"{where}: {path} is {values[path].shape}, expected {tuple(weight.shape)}"
            )
    for path, weight in weights.items():
        weight.assign(values[path])


def load_keras_applications(
    encoder: keras.Model, source: str, application: Callable[..., keras.Model], expected: str
) -> None:
    """Copies the weights of a keras.applications model into an encoder with the same layer names.

    source: "none" (does nothing); "imagenet" (keras.applications downloads its file once); or the
    path of a weights file of that model without top.
    application: a function that takes `weights` (None or "imagenet") and returns the
    keras.applications model; expected: its name for error messages.
    Raises InputError.
    """
    if source == "none":
        return
    if source == "imagenet":
        reference = _download(application, expected)
    else:
        if not Path(source).is_file():
            raise InputError(
                f"{source}: no such encoder weights; give none, imagenet or a .weights.h5 file"
            )
        reference = application(weights=None)
        load(reference, source, expected)
    copy_by_layer(reference, encoder)


def copy_by_layer(source: keras.Model, target: keras.Model) -> None:
    """Copies the weights of all layers of `target` from those of the same name in `source`."""
    for layer in target.layers:
        if layer.weights:
            layer.set_weights(source.get_layer(layer.name).get_weights())


def _download(application, expected):
    try:
        return application(weights="imagenet")
    except Exception as error:  # keras.utils.get_file raises a plain Exception without network.
        raise InputError(
            f"ImageNet weights of {expected} could not be downloaded ({error}); give a local "
            "file with --encoder-weights FILE or train from scratch with --encoder-weights none"
        ) from error
