"""Any labels of your own, as a plain folder.

    DATA/classes.json                   {"name": "my-task", "classes": [{"id": 0, "name": "road",
                                         "color": [219, 94, 86], "drivable": true}, ...]}
    DATA/images/[SPLIT/]KEY.{jpg,png}
    DATA/masks/[SPLIT/]KEY.png          class ids, 255 ignored

Without SPLIT folders (train, val, test) everything is `train`; divide it with --split.
"""

import json

from kseg.errors import InputError
from kseg.labels import LabelSet
from kseg.paths import to_path
from tfrecords_tools.datasets import SPLITS, Card, Source, pair, read_mask_file


def source(data, skip_unpaired=False):
    """Returns the Source of a plain folder. Raises InputError."""
    data = to_path(data)
    if not data.is_dir():
        raise InputError(f"{data}: no such folder")
    labels = _read_classes(data / "classes.json")
    images, masks = data / "images", data / "masks"
    names = [name for name in SPLITS if (images / name).is_dir()]
    pairs = {n: (images / n, masks / n) for n in names} or {"train": (images, masks)}
    splits = {n: pair(i, m, skip_unpaired=skip_unpaired) for n, (i, m) in pairs.items()}
    return Source(labels.name, labels, splits, read_mask_file, Card(f"Labels of {data}."))


def _read_classes(path):
    try:
        document = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; it names the classes (see --help)") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error})") from error
    return LabelSet.from_dict(document, where=str(path))
