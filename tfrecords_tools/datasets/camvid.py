"""CamVid, the 367 / 101 / 233 split of SegNet (arXiv:1511.00561).

    DATA/images/{train,val,test}/KEY.{jpg,png}
    DATA/labels/{train,val,test}/KEY.png   0 Sky ... 10 Bicyclist, 11 Unlabelled (ignored)

Task `road` is BDD100K's shape of problem on it: road 0, pavement 1, everything else 2.
"""

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from kseg.errors import InputError
from kseg.labels import CAMVID_11, CAMVID_ROAD, IGNORE_ID
from tfrecords_tools.datasets import Card, Source, pair, read_ids

CARD = Card(
    description="CamVid: 701 frames of driving in Cambridge, labelled by pixel.",
    homepage="http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/",
    license="non-commercial research",
    citation="""@article{camvid,
  title={Semantic object classes in video: A high-definition ground truth database},
  author={Brostow, Gabriel J. and Fauqueur, Julien and Cipolla, Roberto},
  journal={Pattern Recognition Letters},
  year={2009}
}""",
    download="The 367/101/233 split at 480x360 with 11 classes that SegNet published.",
)

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
    return Source(f"camvid-{task}", labels, splits, partial(_read_mask, table=table), CARD)


def id_table(task):
    """Returns (256,) uint8: CamVid's file id -> our id of `task`."""
    table = np.full(256, IGNORE_ID, np.uint8)
    if task == "road":
        table[:_UNLABELLED] = 2
        table[_ROAD], table[_PAVEMENT] = 0, 1
    else:
        table[:_UNLABELLED] = np.arange(_UNLABELLED)
    return table


def _read_mask(frame, size, table):
    ids = read_ids(frame.label)
    if ids.max() > _UNLABELLED:
        raise InputError(
            f"{frame.label}: id {ids.max()} in the mask; CamVid's are 0 to {_UNLABELLED}"
        )
    return cv2.LUT(ids, table)
