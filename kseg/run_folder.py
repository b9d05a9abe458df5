"""The run folder: what training leaves behind and everything else reads.

RUN/config.json          the whole Config
RUN/labels.json          the classes
RUN/data.json            what the data set was built from
RUN/best.weights.h5      weights of the epoch with the best validation mean IoU
RUN/last/                the last two checkpoints, to resume (kseg.training.callbacks)
RUN/history.csv          one line per epoch
RUN/curves.png           the same as a plot
RUN/tensorboard/         the same for TensorBoard, and pictures
"""

import hashlib
import json
from pathlib import Path

from kseg import config as configs
from kseg.errors import InputError
from kseg.files import write_text
from kseg.labels import LabelSet

BEST = "best.weights.h5"


def start_run(run, config, manifest):
    """Makes RUN for a Config and the Manifest of its data, or finds it made for the very same.

    Raises InputError when the folder holds another run or anything else.
    """
    run = Path(run)
    if (run / "config.json").is_file():
        before, then = configs.read(run / "config.json"), _read_json(run / "data.json")
        if before != config or then != manifest.request or read_labels(run) != manifest.labels:
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
    write_text(run / "labels.json", json.dumps(manifest.labels.to_dict(), indent=1) + "\n")
    write_text(run / "data.json", json.dumps(manifest.request, indent=1) + "\n")
    write_text(run / "config.json", config.to_json())


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
