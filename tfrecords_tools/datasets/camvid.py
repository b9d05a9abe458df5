"""CamVid, the 367 / 101 / 233 split of SegNet (arXiv:1511.00561).

    DATA/images/{train,val,test}/KEY.{jpg,png}
    DATA/labels/{train,val,test}/KEY.png   0 Sky ... 10 Bicyclist, 11 Unlabelled (ignored)

Task `road` is BDD100K's shape of problem on it: road 0, pavement 1, everything else 2.
"""

from pathlib import Path

import cv2
import numpy as np

from kseg.errors import InputError
from kseg.labels import CAMVID_11, CAMVID_ROAD, IGNORE_ID
from tfrecords_tools.datasets import Source, pair, read_ids

_UNLABELLED = 11
_ROAD, _PAVEMENT = 3, 4

TASKS = ("road", "11")


def source(data, task="road", skip_unpaired=False):
    """Returns the Source of a CamVid folder for one of TASKS. Raises InputError."""
    images, masks = Path(data) / "images", Path(data) / "labels"
    if not images.is_dir() or not masks.is_dir():
        raise InputError(f"{data}: --data must hold images/ and labels/ with train/, val/ in them")
    names = [name for name in ("train", "val", "test") if (images / name).is_dir()]
    if not names:
        raise InputError(f"{images}: none of train/, val/, test/ in it")
    splits = {n: pair(images / n, masks / n, skip_unpaired=skip_unpaired) for n in names}
    table = id_table(task)
    labels = CAMVID_ROAD if task == "road" else CAMVID_11
    return Source(f"camvid-{task}", labels, splits, lambda path: _read_mask(path, table))


def id_table(task):
    """Returns (256,) uint8: CamVid's file id -> our id of `task`."""
    table = np.full(256, IGNORE_ID, np.uint8)
    if task == "road":
        table[:_UNLABELLED] = 2
        table[_ROAD], table[_PAVEMENT] = 0, 1
    else:
        table[:_UNLABELLED] = np.arange(_UNLABELLED)
    return table


def _read_mask(path, table):
    ids = read_ids(path)
    if ids.max() > _UNLABELLED:
        raise InputError(f"{path}: id {ids.max()} in the mask; CamVid's are 0 to {_UNLABELLED}")
    return cv2.LUT(ids, table)
