"""The run folder: written by training, read by all other commands.

RUN/config.json          the Config
RUN/labels.json          the classes
RUN/data.json            the request from which the data set was built; `also`: those of others
RUN/best.weights.h5      weights of the epoch with the best validation mean IoU
RUN/last/                the last two checkpoints, to resume from (kseg.training.resume)
RUN/history.csv          scores, one row per epoch
RUN/curves.png           the same as a plot
RUN/tensorboard/         the same for TensorBoard, and images
RUN/.lock                held by the process that trains here
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from kseg import config as configs
from kseg import files, published_models
from kseg.config import Config
from kseg.errors import InputError
from kseg.labels import LabelSet
from kseg.manifest import Manifest
from kseg.mixture import read_mixture

RunPath = str | os.PathLike[str]

BEST = "best.weights.h5"
BUSY = "another kseg.train is running in it; wait for it, stop it, or choose another --out"


@contextlib.contextmanager
def hold(run: RunPath) -> Iterator[None]:
    """Locks RUN for one training; creates the folder, and removes it again if no run began in it.

    Raises InputError when another training holds it, or when it cannot be created.
    """
    run = Path(run)
    created = [folder for folder in (run, *run.parents) if not folder.exists()]
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "is a file" if run.is_file() else f"cannot be created ({error.strerror})"
        raise InputError(f"{run}: {reason}, so it is not a run; choose another --out") from error
    with files.lock(run, BUSY):
        try:
            yield
        finally:
            if not (run / "config.json").is_file():
                (run / files.LOCK).unlink(missing_ok=True)
                for folder in created:
                    with contextlib.suppress(OSError):
                        folder.rmdir()


def _check(run: RunPath, config: Config, manifest: Manifest) -> None:
    """Raises InputError when RUN holds another run than this one, or anything that is no run.

    A start that was killed is accepted: files that `start_run` would write again as they are.
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
    texts = _texts(config, manifest)
    for path in run.iterdir() if run.is_dir() else ():
        ours = path.name == files.LOCK or path.name.startswith(files.TEMPORARY)
        if not ours and not (path.name in texts and path.read_text("utf-8") == texts[path.name]):
            raise InputError(
                f"{run}: already exists and is not a run of kseg; choose another --out"
            )


def start_run(run: RunPath, config: Config, manifest: Manifest) -> None:
    """Creates RUN for a Config and the Manifest of its data, or accepts RUN if it has the same.

    config.json is written last: a folder that has it is complete. Raises InputError when RUN holds
    another run, or anything that is no run.
    """
    _check(run, config, manifest)
    run = Path(run)
    if not (run / "config.json").is_file():
        run.mkdir(parents=True, exist_ok=True)
        for name, text in _texts(config, manifest).items():
            files.write_text(run / name, text)


def undo_start(run: RunPath) -> None:
    """Removes what `start_run` created in RUN, unless training has saved anything there since."""
    run = Path(run)
    started = ("config.json", "labels.json", "data.json")  # The first makes RUN a run.
    if all(path.name in (*started, files.LOCK) for path in run.iterdir()):
        for name in started:
            (run / name).unlink(missing_ok=True)


def read_run(run: RunPath) -> tuple[Config, LabelSet]:
    """Returns (Config, LabelSet) of RUN. Raises InputError when it is not a run folder."""
    path = Path(run) / "config.json"
    if not path.is_file():
        raise InputError(
            f"{run}: no config.json here, so this is not a run; python -m kseg.train creates one "
            f"(models that come with kseg: {', '.join(published_models.names())})"
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


def _texts(config, manifest):
    """The files that make a folder a run: {name: text}, in the order of writing."""
    return {
        "labels.json": json.dumps(manifest.labels.to_dict(), indent=1) + "\n",
        "data.json": json.dumps(read_mixture(config, manifest).request, indent=1) + "\n",
        "config.json": config.to_json(),
    }


def _read_json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
