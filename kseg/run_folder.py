"""The run folder: written by training, read by all other commands.

RUN/config.json          the Config
RUN/labels.json          the classes
RUN/data.json            the request from which the data set was built; `also`: those of others
RUN/best.weights.h5      weights of the epoch with the best validation mean IoU
RUN/last/                the last two checkpoints, to resume from (kseg.training.resume)
RUN/history.csv          scores, one row per epoch
RUN/curves.png           the same as a plot
RUN/tensorboard/         the same for TensorBoard, and images
"""

import hashlib
import json
import os
from pathlib import Path

from kseg import config as configs
from kseg.config import Config
from kseg.errors import InputError
from kseg.files import write_text
from kseg.labels import LabelSet
from kseg.manifest import Manifest
from kseg.mixture import read_mixture

RunPath = str | os.PathLike[str]

BEST = "best.weights.h5"


def start_run(run: RunPath, config: Config, manifest: Manifest) -> None:
    """Creates RUN for a Config and the Manifest of its data, or accepts RUN if it has the same.

    Raises InputError when the folder holds another run or anything else.
    """
    run, request = Path(run), read_mixture(config, manifest).request
    if (run / "config.json").is_file():
        existing, recorded = configs.read(run / "config.json"), _read_json(run / "data.json")
        same_data = recorded == request and read_labels(run) == manifest.labels
        if existing != config or not same_data:
            difference = configs.difference(existing, config)
            raise InputError(
                f"{run}: holds a run with another config or other data "
                f"({difference or 'the data set was rebuilt from other files'}); choose another "
                "--out or remove it first; to train it further with other settings, use "
                f"--init {run} --out NEW"
            )
        return
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise InputError(f"{run}: already exists and is not a run of kseg; choose another --out")
    run.mkdir(parents=True, exist_ok=True)
    write_text(run / "labels.json", json.dumps(manifest.labels.to_dict(), indent=1) + "\n")
    write_text(run / "data.json", json.dumps(request, indent=1) + "\n")
    write_text(run / "config.json", config.to_json())


def read_run(run: RunPath) -> tuple[Config, LabelSet]:
    """Returns (Config, LabelSet) of RUN. Raises InputError when it is not a run folder."""
    path = Path(run) / "config.json"
    if not path.is_file():
        raise InputError(
            f"{run}: no config.json here, so this is not a run; python -m kseg.train creates one"
        )
    return configs.read(path), read_labels(run)


def config_hash(run: RunPath) -> str:
    """Returns the first 12 hex digits of the SHA-256 of RUN/config.json.

    It hashes the file, so that a run keeps its hash when Config gets new fields.
    """
    return hashlib.sha256((Path(run) / "config.json").read_bytes()).hexdigest()[:12]


def read_labels(run: RunPath) -> LabelSet:
    """Returns the LabelSet in RUN/labels.json. Raises InputError when it cannot be read."""
    path = Path(run) / "labels.json"
    return LabelSet.from_dict(_read_json(path), where=str(path))


def _read_json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
