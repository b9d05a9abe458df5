"""Opens the runs of a report, and checks that they can be compared."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from kseg import config, labels, run_folder
from kseg.data import pipeline
from kseg.errors import InputError
from kseg.manifest import Manifest
from kseg.training import history


class Run(NamedTuple):
    """One run: `config` with the data set of the report, `history` as numbers by epoch."""

    name: str
    path: Path
    config: config.Config
    labels: labels.LabelSet
    manifest: Manifest
    history: list[dict]


def open_runs(paths: Sequence[str | Path], split: str, data_folder: str | None = None) -> list[Run]:
    """Returns a Run of each folder.

    Raises InputError where one is not a trained run, or they differ in classes or data set.
    """
    runs: list[Run] = []
    for path, name in zip(paths, short_names(paths), strict=True):
        trained, classes = run_folder.read_run(path)
        if not (Path(path) / run_folder.BEST).is_file():
            raise InputError(f"{path}: no {run_folder.BEST}; train for at least one epoch first")
        if runs and classes.names != runs[0].labels.names:
            raise InputError(
                f"{path}: its classes are {classes.names}, those of {paths[0]} "
                f"{runs[0].labels.names}; a report needs runs of the same classes"
            )
        used = dataclasses.replace(trained, data=data_folder or trained.data)
        manifest, _ = pipeline.open_split(used, split, classes)
        if not manifest.splits[split].examples:
            raise InputError(f"{used.data}: split '{split}' has no frames; choose another --split")
        if runs and _frames(manifest, split) != _frames(runs[0].manifest, split):
            raise InputError(
                f"{path}: its data set {used.data} has other frames in '{split}' than "
                f"{runs[0].config.data} of {paths[0]}; choose one for all runs with --data"
            )
        rows = history.to_numbers(history.read(path))
        runs.append(Run(name, Path(path), used, classes, manifest, rows))
    return runs


def _frames(manifest, split):
    return manifest.dataset, manifest.splits[split].examples


def short_names(paths: Sequence[str | Path]) -> list[str]:
    """Names folders by as few of their last parts as make the names unique.

    Raises InputError when a folder is given twice.
    """
    parts = [Path(path).resolve().parts for path in paths]
    if len(set(parts)) < len(parts):
        raise InputError(f"{' '.join(map(str, paths))}: the same run is given twice; remove one")
    count = 1
    while len({part[-count:] for part in parts}) < len(parts):
        count += 1
    return ["/".join(part[-count:]) for part in parts]
