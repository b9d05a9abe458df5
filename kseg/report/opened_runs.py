"""The runs of a report: opened, and found fit to be held against each other."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from kseg import config, labels, run_folder
from kseg.data import pipeline
from kseg.errors import InputError
from kseg.manifest import Manifest
from kseg.training import history


class Run(NamedTuple):
    """One run: `config` with the data it is measured on, `history` as numbers by epoch."""

    name: str
    path: Path
    config: config.Config
    labels: labels.LabelSet
    manifest: Manifest
    history: list[dict]


def open_runs(paths, split, data_folder=None):
    """Returns a Run of each folder.

    Raises InputError where one is no trained run, or they differ in classes or data set.
    """
    opened = []
    for path, name in zip(paths, short_names(paths), strict=True):
        trained, classes = run_folder.read_run(path)
        if not (Path(path) / run_folder.BEST).is_file():
            raise InputError(f"{path}: no {run_folder.BEST}; train it for at least one epoch first")
        if opened and classes.names != opened[0].labels.names:
            raise InputError(
                f"{path}: its classes are {classes.names}, those of {paths[0]} "
                f"{opened[0].labels.names}; a report holds runs of the same classes"
            )
        used = dataclasses.replace(trained, data=data_folder or trained.data)
        manifest, _ = pipeline.open_split(used, split, classes)
        if not manifest.splits[split].examples:
            raise InputError(f"{used.data}: split '{split}' has no frames; name another by --split")
        if opened and _frames(manifest, split) != _frames(opened[0].manifest, split):
            raise InputError(
                f"{path}: its data set {used.data} has other frames in '{split}' than "
                f"{opened[0].config.data} of {paths[0]}; name one for all by --data"
            )
        rows = history.to_numbers(history.read(path))
        opened.append(Run(name, Path(path), used, classes, manifest, rows))
    return opened


def _frames(manifest, split):
    return manifest.dataset, manifest.splits[split].examples


def short_names(paths):
    """Names folders by their last parts, as many as tell them apart. Raises InputError on twins."""
    parts = [Path(path).resolve().parts for path in paths]
    if len(set(parts)) < len(parts):
        raise InputError(f"{' '.join(map(str, paths))}: the same run twice; name it once")
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
