"""CamVid, the 367 / 101 / 233 split of SegNet (arXiv:1511.00561).

    DATA/images/{train,val,test}/KEY.{jpg,png}
    DATA/labels/{train,val,test}/KEY.png   0 Sky ... 10 Bicyclist, 11 Unlabelled (ignored)

Task `road` is BDD100K's shape of problem on it: road 0, pavement 1, everything else 2.
"""

from functools import partial
from pathlib import Path

from kseg.errors import InputError
from kseg.labels import CAMVID_11, CAMVID_ROAD, IGNORE_ID
from tfrecords_tools.datasets import Source, pair, read_table, split_folders

_UNLABELLED = 11
_ROAD, _PAVEMENT = 3, 4

# {task: (LabelSet, {id in the file: class id})}; the first is the default.
TASKS = {
    "road": (
        CAMVID_ROAD,
        dict.fromkeys(range(_UNLABELLED), 2) | {_ROAD: 0, _PAVEMENT: 1, _UNLABELLED: IGNORE_ID},
    ),
    "11": (CAMVID_11, {i: i for i in range(_UNLABELLED)} | {_UNLABELLED: IGNORE_ID}),
}


def source(data, task="road", skip_unpaired=False):
    """Returns the Source of a CamVid folder for one of TASKS. Raises InputError."""
    images, masks = Path(data) / "images", Path(data) / "labels"
    if not images.is_dir() or not masks.is_dir():
        raise InputError(f"{data}: --data must hold images/ and labels/ with train/, val/ in them")
    splits = {
        n: pair(images / n, masks / n, skip_unpaired=skip_unpaired) for n in split_folders(images)
    }
    return Source(f"camvid-{task}", TASKS[task][0], splits, partial(read_mask, task=task))


def read_mask(frame, size, task):
    return read_table(frame.label, TASKS[task][1], "CamVid")
