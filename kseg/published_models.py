"""Models that come with kseg. Standard library only.

kseg/published/NAME/ can be read like a run:

NAME/config.json, labels.json, best.weights.h5     as in a run folder
NAME/NAME.tflite     its export: uint8 RGB in, class map out, for CPUs and LiteRT's GPU accelerator
NAME/README.md       the model card
NAME/card.json       what the card shows: scores, sizes, licence (scripts/train_published.py)
"""

import json
import os
from pathlib import Path
from typing import Any

from kseg.errors import InputError

PUBLISHED = Path(__file__).parent / "published"
DEFAULT = "lanes-base"
RUN_HELP = "run folder of kseg.train, or a published model (kseg.published lists them)"

RunPath = str | os.PathLike[str]


def names() -> list[str]:
    """Names of the models that come with this package."""
    return sorted(path.parent.name for path in PUBLISHED.glob("*/config.json"))


def find_run(run: RunPath) -> Path:
    """Returns the folder of a run, or of the published model of that name.

    NAME is a published model, ./NAME a folder. Raises InputError where the current folder has a run
    called NAME too.
    """
    if os.fspath(run) not in names():
        return Path(run)
    if Path(run, "config.json").is_file():
        raise InputError(
            f"{run}: is a run in this folder and a published model of kseg; name the run "
            f"{os.path.join('.', run)} or the model {PUBLISHED / run}"
        )
    return PUBLISHED / run


def is_published(folder: Path) -> bool:
    """Whether a folder that `find_run` returned is a published model."""
    return folder.parent == PUBLISHED


def output_folder(folder: Path) -> Path:
    """Returns where commands write by default: RUN; for a published model, the current folder.

    Raises InputError when that is itself a run, whose files would be replaced.
    """
    if not is_published(folder):
        return folder
    if Path("config.json").is_file():
        raise InputError(
            f"{folder.name}: the current folder is a run, whose files would be replaced; change to "
            "another folder"
        )
    return Path()


def check_data(folder: Path, data: str | None) -> None:
    """Raises InputError when a published model is to be scored and no data set is named."""
    if is_published(folder) and not data:
        raise InputError(
            f"{folder.name}: a published model comes without its data; name a data set of the same "
            "classes with --data (kseg.build makes one)"
        )


def tflite_file(text: str) -> str:
    """Returns the .tflite of the published model of this name, or `text` itself."""
    if text not in names() or Path(text).is_file():
        return text
    return str(PUBLISHED / text / f"{text}.tflite")


def read_card(name: str) -> dict[str, Any]:
    """Returns card.json of a published model."""
    return json.loads((PUBLISHED / name / "card.json").read_text())
