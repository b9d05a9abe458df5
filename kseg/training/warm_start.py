"""Starting a training from a trained network: its weights, layer by layer.

A class layer fits other classes only if they have the same names. Else it keeps its fresh weights.
"""

from pathlib import Path

import h5py
import keras
import numpy as np

from kseg import init_source
from kseg.config import Config
from kseg.errors import InputError
from kseg.init_source import ARCHITECTURE
from kseg.labels import LabelSet

CLASS_LAYERS = ("logits_conv", "auxiliary_logits_conv")
AUXILIARY = "auxiliary"  # Begins the names of the layers that exist in training only.

Arrays = list[np.ndarray]


def warm_start(model: keras.Model, config: Config, labels: LabelSet) -> str:
    """Copies the weights that config.init names into a model. Returns a line that says which.

    model: of `config`, for the classes `labels`. Raises InputError, before any weight is changed,
    when the source is missing, corrupt, or of another architecture.
    """
    source = init_source.find(config.init)
    stored = read_weights(source.weights)
    taken: list[tuple[keras.Variable, np.ndarray]] = []
    notes: dict[str, list[str]] = {"fresh": [], "mapped": [], "not used": []}
    for name, variables in _variables_by_layer(model).items():
        arrays, kind, note = stored.pop(name, None), "fresh", ""
        if arrays and name in CLASS_LAYERS:
            arrays, note = _for_classes(arrays, source.labels, labels)
            kind = "mapped" if arrays else "fresh"
        elif not arrays and name.startswith(AUXILIARY):
            note = "only in training"
        fits = [a.shape for a in arrays or ()] == [tuple(v.shape) for v in variables]
        if not fits and (arrays or not note):
            raise InputError(f"init {config.init}: {_mismatch(source, config, name)}")
        if note:
            notes[kind].append(f"{name} ({note})")
        taken += zip(variables, arrays, strict=True) if arrays else ()
    unknown = [name for name in stored if not name.startswith(AUXILIARY)]
    if unknown:
        raise InputError(f"init {config.init}: {_mismatch(source, config, unknown[0])}")
    notes["not used"] += stored
    for variable, array in taken:
        variable.assign(array)
    said = "".join(f"; {kind}: {', '.join(texts)}" for kind, texts in notes.items() if texts)
    return (
        f"init: {config.init}, {_describe(config)}: {len(taken)} of {len(model.weights)} weight "
        f"tensors taken{said}"
    )


def read_weights(path: Path) -> dict[str, Arrays]:
    """Returns {layer path: its arrays, in Keras' order} of a .weights.h5 file, without optimizer.

    A layer path is that of Keras' weights, such as head/fuse. Raises InputError.
    """
    stored: dict[str, Arrays] = {}
    try:
        with h5py.File(path) as file:
            _collect(file.get("layers", {}), "", stored)
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as weights ({error})") from error
    if not stored:
        raise InputError(
            f"{path}: holds no model of kseg; for encoder weights use --encoder-weights"
        )
    return stored


def _collect(group, prefix, stored):
    """Adds the arrays of all layers below an HDF5 group, in which Keras nests layers."""
    for child in group.values():
        own = child.get("vars")
        name = prefix
        if own is not None and "name" in own.attrs:
            name = f"{prefix}{own.attrs['name']}/"
            if len(own):
                stored[name[:-1]] = [own[str(number)][()] for number in range(len(own))]
        if isinstance(child, h5py.Group):
            _collect({k: v for k, v in child.items() if k != "vars"}, name, stored)


def _variables_by_layer(model):
    """{layer path: its variables, in Keras' order}."""
    layers: dict[str, list] = {}
    for variable in model.weights:
        layers.setdefault(variable.path.rpartition("/")[0], []).append(variable)
    return layers


def _for_classes(arrays, theirs, ours):
    """Returns (arrays of a class layer for our classes, or None, and what to say about it).

    theirs, ours: LabelSets; theirs is None for a file outside a run.
    """
    count, names = arrays[0].shape[-1], ours.names
    if theirs is None and count == len(names):
        return arrays, "the file has no class names; taken in its order"
    if theirs is not None and sorted(theirs.names) == sorted(names):
        order = [theirs.names.index(name) for name in names]
        moved = "classes reordered by name" if order != sorted(order) else ""
        return [array[..., order] for array in arrays], moved
    if count != len(names):
        return None, f"{count} -> {len(names)} classes"
    return None, f"other classes: {', '.join(theirs.names)}"


def _mismatch(source, config, layer):
    """Says why the weights of a source do not fit, by the Config keys that differ."""
    different = [
        key
        for key in ARCHITECTURE
        if source.config and getattr(source.config, key) != getattr(config, key)
    ]
    if not different:
        return (
            f"its weights of {layer} do not fit {_describe(config)}; give --model, "
            "--encoder-alpha, --output-stride and --decoder-channels as it was trained with"
        )
    found = ", ".join(
        f"{key} {getattr(source.config, key)} instead of {getattr(config, key)}"
        for key in different
    )
    flags = " ".join(
        f"--{key.replace('_', '-')} {getattr(source.config, key)}" for key in different
    )
    return f"was trained with {found}; use {flags}, or leave the flags out"


def _describe(config):
    return (
        f"{config.model} (encoder_alpha {config.encoder_alpha:g}, output_stride "
        f"{config.output_stride}, decoder_channels {config.decoder_channels})"
    )
