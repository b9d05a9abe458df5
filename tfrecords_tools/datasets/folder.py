"""Your own labels, in a plain folder.

    DATA/classes.json                   {"name": "my-task", "classes": [{"id": 0, "name": "road",
                                         "color": [219, 94, 86], "drivable": true}, ...]}
    DATA/images/[SPLIT/]KEY.{jpg,png}
    DATA/masks/[SPLIT/]KEY.png          class ids, 255 ignored

Without SPLIT folders (train, val, test) all frames are `train`; split them with --split.
"""

import json
from pathlib import Path

from kseg.errors import InputError
from kseg.labels import LabelSet
from kseg.paths import to_path
from tfrecords_tools.datasets import SPLITS, Card, Source, pair_folders, read_mask_file


def source(data: Path | str, *, skip_unpaired: bool = False) -> Source:
    """Returns the Source of a plain folder. Raises InputError."""
    root = to_path(data)
    if not root.is_dir():
        raise InputError(f"{data}: no such folder")
    labels = _read_classes(root / "classes.json")
    images, masks = root / "images", root / "masks"
    names = [name for name in SPLITS if (images / name).is_dir()]
    folders = {n: (images / n, masks / n) for n in names} or {"train": (images, masks)}
    splits = {n: pair_folders(*pair, skip_unpaired=skip_unpaired) for n, pair in folders.items()}
    return Source(labels.name, labels, splits, read_mask_file, Card(f"Labels of {data}."))


def _read_classes(path: Path) -> LabelSet:
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: no such file; it must list the classes (see tfrecords_tools/README.md)"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not valid JSON ({error})") from error
    return LabelSet.from_dict(document, where=str(path))
